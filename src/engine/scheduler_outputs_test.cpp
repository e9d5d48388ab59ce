// What a request may ask for beside its tokens, and what bounds them.

#include <gtest/gtest.h>

#include <string>

#include "engine/constraint_harness.h"
#include "engine/log_probability.h"
#include "engine/scheduler_harness.h"

namespace kvasir::engine {
namespace {

void expect_samples_as_alone(const Harness& harness, RequestId id, const Request& request) {
  for (int i = 0; i < request.num_samples; ++i) expect_as_alone(harness.samples.at(id).at(i), request, i);
}

Request samples_of(std::vector<TokenId> prompt, int num_samples) {
  Request result = request(std::move(prompt), 20);
  result.num_samples = num_samples;
  result.sampling = {.temperature = 1, .seed = 5};
  return result;
}

TEST(Outputs, LogprobsAreThoseOfTheModel) {
  Request prompt = request(tokens(30, 1), 10);
  prompt.num_logprobs = 3;
  const Outcome plain = alone(prompt);
  EXPECT_EQ(plain.logprobs.front(), token_logprobs(plain.first_logits, plain.reply[0], 3));
  // Whatever changes the choice does not change them.
  prompt.sampling = {.repetition_penalty = 2, .logit_bias = {{plain.reply[0], -100.0f}}};
  const Outcome biased = alone(prompt);
  ASSERT_NE(biased.reply[0], plain.reply[0]);
  EXPECT_EQ(biased.logprobs.front(), token_logprobs(plain.first_logits, biased.reply[0], 3));
  EXPECT_EQ(biased.logprobs.front().top, plain.logprobs.front().top);
  EXPECT_EQ(biased.logprobs.size(), 10u);
}

TEST(Outputs, NoStopTokenComesBeforeTheLeastNumberOfTokens) {
  Request prompt = request(tokens(40, 1), 30);
  const Outcome whole = alone(prompt);
  prompt.stop_token_ids = {whole.reply[0], whole.reply[3]};
  prompt.min_new_tokens = 7;
  const Outcome outcome = alone(prompt);
  EXPECT_GE(outcome.reply.size(), 7u);
  for (const TokenId stop : prompt.stop_token_ids) {
    EXPECT_EQ(std::count(outcome.reply.begin(), outcome.reply.end(), stop), 0);
  }
  // Where only a stop token may come, it does.
  prompt.sampling.allowed_token_ids = {prompt.stop_token_ids[1]};
  const Outcome stopped = alone(prompt);
  EXPECT_EQ(stopped.finish, FinishReason::kStop);
  EXPECT_EQ(stopped.stop_token, prompt.stop_token_ids[1]);
  EXPECT_TRUE(stopped.reply.empty());
}

// With the prefix cache and without, also where the prompt is too short to be kept.
TEST(Outputs, ThePromptOfSamplesIsComputedOnce) {
  for (const int num_prompt_tokens : {1, 7, 16, 100}) {
    for (const bool use_prefix_cache : {true, false}) {
      Request prompt = samples_of(tokens(num_prompt_tokens, 1), 5);
      prompt.use_prefix_cache = use_prefix_cache;
      Harness harness;
      const RequestId id = harness.add(prompt);
      harness.run();
      EXPECT_EQ(harness.model.num_tokens, num_prompt_tokens + 5 * 19);
      EXPECT_EQ(harness.scheduler().stats().prompt_tokens, num_prompt_tokens);
      EXPECT_EQ(harness.scheduler().stats().requests_finished, 5);
      expect_samples_as_alone(harness, id, prompt);
    }
  }
}

TEST(Outputs, SamplesOfACachedPromptRunNoPromptAtAll) {
  const Request prompt = samples_of(tokens(100, 1), 4);
  Harness harness;
  harness.run_one(request(prompt.prompt, 1));
  const int num_tokens = harness.model.num_tokens;
  const RequestId id = harness.add(prompt);
  harness.run();
  EXPECT_EQ(harness.model.num_tokens, num_tokens + 4 * 19);
  expect_samples_as_alone(harness, id, prompt);
  for (const Outcome& sample : harness.samples.at(id)) EXPECT_EQ(sample.timings.num_cached_tokens, 100);
}

TEST(Outputs, ASampleThatEndsAtOnceLeavesThePromptToTheOthers) {
  Request prompt = samples_of(tokens(40, 1), 4);
  prompt.use_prefix_cache = false;
  const TokenId first = alone(prompt, 0).reply[0];
  prompt.stop_token_ids = {first};
  Harness harness;
  const RequestId id = harness.add(prompt);
  harness.run();
  EXPECT_EQ(harness.samples.at(id)[0].stop_token, first);
  EXPECT_TRUE(harness.samples.at(id)[0].reply.empty());
  EXPECT_EQ(harness.scheduler().stats().prompt_tokens_computed, 40);
  expect_samples_as_alone(harness, id, prompt);
}

TEST(Outputs, SamplesThatDoNotFitTogetherFollowOneAnother) {
  for (const bool use_prefix_cache : {true, false}) {
    for (const int max_running : {1, 2, 100}) {
      Options options;
      options.num_blocks = 12;
      options.scheduler.max_running_sequences = max_running;
      Harness harness(options);
      Request prompt = samples_of(tokens(70, 1), 6);
      prompt.max_new_tokens = 50;
      prompt.use_prefix_cache = use_prefix_cache;
      const RequestId id = harness.add(prompt);
      harness.run();
      expect_samples_as_alone(harness, id, prompt);
      EXPECT_EQ(harness.cache().stats().blocks_pinned, 0);
    }
  }
}

TEST(Outputs, CancellingARequestEndsAllItsSamples) {
  for (const int num_steps : {0, 1, 2, 10}) {
    Harness harness;
    const RequestId id = harness.add(samples_of(tokens(90, 1), 3));
    for (int i = 0; i < num_steps; ++i) harness.step();
    harness.scheduler().cancel(id);
    harness.scheduler().send_events();
    EXPECT_TRUE(harness.scheduler().idle());
    for (const Outcome& sample : harness.samples.at(id)) EXPECT_EQ(sample.finish, FinishReason::kCancelled);
    EXPECT_EQ(harness.cache().stats().blocks_pinned, 0);
  }
}

// Whichever it is and whenever it goes, the other samples get their replies.
TEST(Outputs, OneSampleMayBeCancelledAlone) {
  const Request prompt = samples_of(tokens(90, 1), 3);
  for (const int victim : {0, 1, 2}) {
    for (const int num_steps : {0, 1, 2, 10}) {
      Harness harness;
      const RequestId id = harness.add(prompt);
      for (int i = 0; i < num_steps; ++i) harness.step();
      harness.scheduler().cancel(id, victim);
      harness.run();
      for (int i = 0; i < 3; ++i) {
        const Outcome& sample = harness.samples.at(id).at(i);
        if (i == victim) {
          EXPECT_EQ(sample.finish, FinishReason::kCancelled);
        } else {
          expect_as_alone(sample, prompt, i);
        }
      }
      EXPECT_EQ(harness.scheduler().stats().prompt_tokens_computed, 90);
    }
  }
}

TEST(Outputs, SamplesOutliveAClearedCache) {
  Harness harness;
  const Request prompt = samples_of(tokens(70, 1), 3);
  const RequestId id = harness.add(prompt);
  harness.step();
  harness.cache().clear();
  harness.run();
  expect_samples_as_alone(harness, id, prompt);
}

TEST(Outputs, OfAPromptsTokensAllButTheFirstHaveLogprobs) {
  Request prompt = request(tokens(100, 1), 5);
  prompt.num_prompt_logprobs = 2;
  const Outcome outcome = alone(prompt);
  ASSERT_EQ(outcome.prompt_logprobs.size(), 99u);
  for (std::size_t i = 0; i < 99; ++i) {
    // A prompt that ends before the token: its first logits are what the token was likely by.
    const std::vector<TokenId> before(prompt.prompt.begin(), prompt.prompt.begin() + i + 1);
    EXPECT_EQ(outcome.prompt_logprobs[i],
              token_logprobs(alone(request(before, 1)).first_logits, prompt.prompt[i + 1], 2));
  }
}

// What is cached is run for its logits, but neither written nor counted as computed.
TEST(Outputs, PromptLogprobsUseTheCache) {
  Request prompt = request(tokens(100, 1), 3);
  Harness harness;
  harness.run_one(prompt);
  const int num_stored = harness.model.num_tokens_stored;
  const auto num_computed = harness.scheduler().stats().prompt_tokens_computed;
  prompt.num_prompt_logprobs = 1;
  const Outcome outcome = harness.run_one(prompt);
  EXPECT_EQ(outcome.timings.num_cached_tokens, 100);
  EXPECT_EQ(harness.model.num_tokens_stored, num_stored + 2);
  EXPECT_EQ(harness.scheduler().stats().prompt_tokens_computed, num_computed);
  expect_as_alone(outcome, prompt);
}

// As a benchmark asks for them: one context, several continuations.
TEST(Outputs, LogprobsOfARepeatedContextAreComputedOnce) {
  const std::vector<TokenId> context = tokens(150, 1);
  Harness harness;
  for (int i = 0; i < 5; ++i) {
    Request prompt = request(context + tokens(10, 10 + i), 0);
    prompt.num_prompt_logprobs = i % 2;
    const int num_tokens = harness.model.num_tokens;
    expect_as_alone(harness.run_one(prompt), prompt);
    // The context's last token is run for the probabilities after it.
    EXPECT_EQ(harness.model.num_tokens - num_tokens, i == 0 ? 160 : 11);
  }
  // More likeliest tokens than are kept: all is run.
  Request prompt = request(context, 0);
  prompt.num_prompt_logprobs = 2;
  const int num_tokens = harness.model.num_tokens;
  expect_as_alone(harness.run_one(prompt), prompt);
  EXPECT_EQ(harness.model.num_tokens - num_tokens, 150);
}

// Blocks whose tokens were computed without log-probabilities, or overwritten, have none.
TEST(Outputs, LogprobsAreKnownOnlyOfTheSameText) {
  Options options;
  options.num_blocks = 12;
  Harness harness(options);
  for (int i = 0; i < 30; ++i) {
    Request prompt = request(tokens(40 + i, i % 3) + tokens(20, i % 5), 3);
    if (i % 2 == 0) prompt.num_prompt_logprobs = 1;
    expect_as_alone(harness.run_one(prompt), prompt);
  }
}

TEST(Outputs, AStepHasABoundedNumberOfPromptLogits) {
  Options options;
  options.scheduler.max_prompt_logits = 10;
  Harness harness(options);
  Request prompt = request(tokens(35, 1), 1);
  prompt.num_prompt_logprobs = 0;
  const RequestId id = harness.add(prompt);
  harness.step();
  EXPECT_EQ(harness.last_slices, (std::vector<int>{10}));
  harness.run();
  expect_as_alone(harness.outcome(id), prompt);
}

TEST(Outputs, WithoutNewTokensThePromptWarmsTheCache) {
  Harness harness;
  const Outcome outcome = harness.run_one(request(tokens(100, 1), 0));
  EXPECT_EQ(outcome.finish, FinishReason::kLength);
  EXPECT_TRUE(outcome.reply.empty());
  EXPECT_EQ(harness.run_one(request(tokens(100, 1), 0)).timings.num_cached_tokens, 100);
  EXPECT_EQ(harness.model.num_tokens, 100);
}

TEST(Outputs, AnEmbeddingIsTheMeanOfTheHiddenStates) {
  Request prompt = request(tokens(50, 1), 0);
  prompt.wants_embedding = true;
  Harness harness({.scheduler = {.max_batch_tokens = 50, .vocab_size = kVocabSize}});
  const Outcome outcome = harness.run_one(prompt);
  ASSERT_EQ(harness.model.hidden.size(), std::size_t{50 * kHiddenSize});
  ASSERT_EQ(outcome.embedding.size(), std::size_t{kHiddenSize});
  for (int i = 0; i < kHiddenSize; ++i) {
    double sum = 0;
    for (int token = 0; token < 50; ++token) sum += harness.model.hidden[token * kHiddenSize + i];
    EXPECT_EQ(outcome.embedding[i], static_cast<float>(sum / 50));
  }
  // In chunks, and with its beginning cached.
  Options options;
  options.scheduler.max_batch_tokens = 7;
  Harness chunks(options);
  chunks.run_one(request(std::vector<TokenId>(prompt.prompt.begin(), prompt.prompt.begin() + 33), 1));
  EXPECT_EQ(chunks.run_one(prompt).embedding, outcome.embedding);
}

TEST(Outputs, AConstraintHoldsForEverySample) {
  Request prompt = samples_of(tokens(40, 1), 3);
  prompt.constraint = std::make_unique<SumConstraint>(5, 12);
  Harness harness;
  const RequestId id = harness.add(prompt);
  harness.run();
  for (const Outcome& sample : harness.samples.at(id)) {
    EXPECT_EQ(sample.finish, FinishReason::kStop);
    EXPECT_EQ(sample.stop_token, std::nullopt);
    EXPECT_EQ(sample.reply.size(), 12u);
  }
  expect_samples_as_alone(harness, id, prompt);
}

TEST(Outputs, WhereNothingMayComeTheRequestFails) {
  Request prompt = request(tokens(40, 1));
  prompt.constraint = std::make_unique<DeadEnd>();
  const Outcome outcome = alone(prompt);
  EXPECT_EQ(outcome.finish, FinishReason::kError);
  EXPECT_NE(outcome.status.message().find("constraint"), std::string::npos) << outcome.status.message();
}

TEST(Outputs, TheMoreUrgentIsScheduledFirst) {
  Options options;
  options.scheduler.max_running_sequences = 1;
  Harness harness(options);
  std::vector<RequestId> ids;
  for (const int priority : {5, 0, 5, -1, 0}) {
    Request next = request(tokens(10, 1), 3);
    next.priority = priority;
    ids.push_back(harness.add(next));
  }
  std::vector<RequestId> ended;
  while (harness.step()) {
    for (const RequestId id : ids) {
      const bool is_new = std::find(ended.begin(), ended.end(), id) == ended.end();
      if (is_new && harness.outcome(id).finish) ended.push_back(id);
    }
  }
  EXPECT_EQ(ended, (std::vector<RequestId>{4, 2, 5, 1, 3}));
}

TEST(Outputs, TheLessUrgentGivesWay) {
  Harness harness({.num_blocks = 8});
  Request urgent = request(tokens(60, 1), 40);
  Request other = request(tokens(40, 2), 60);
  other.priority = 1;
  const RequestId other_id = harness.add(other);
  harness.step();
  const RequestId urgent_id = harness.add(urgent);
  harness.run();
  EXPECT_EQ(harness.outcome(urgent_id).timings.num_preemptions, 0);
  EXPECT_GT(harness.outcome(other_id).timings.num_preemptions, 0);
  expect_as_alone(harness.outcome(urgent_id), urgent);
  expect_as_alone(harness.outcome(other_id), other);
}

TEST(Outputs, ADeadlineEndsWhatRunsAndWhatWaits) {
  Options options;
  options.scheduler.max_running_sequences = 2;
  Harness harness(options);
  Request slow = samples_of(tokens(30, 1), 3);
  slow.max_new_tokens = 1000;
  slow.deadline = harness.clock().now() + std::chrono::seconds(1);
  const RequestId id = harness.add(slow);
  for (int i = 0; i < 5; ++i) harness.step();
  harness.clock().advance(std::chrono::milliseconds(999));
  harness.step();
  EXPECT_EQ(harness.scheduler().stats().failed, 0);
  harness.clock().advance(std::chrono::milliseconds(1));
  harness.step();
  EXPECT_TRUE(harness.scheduler().idle());
  EXPECT_EQ(harness.scheduler().stats().failed, 3);
  for (const Outcome& sample : harness.samples.at(id)) {
    EXPECT_EQ(sample.finish, FinishReason::kError);
    EXPECT_EQ(sample.status.code(), StatusCode::kDeadlineExceeded);
  }
}

TEST(Outputs, AMissHasAReasonAndAPlace) {
  Harness harness;
  const std::vector<TokenId> text = tokens(100, 1);
  const auto lookup = [&](Request next) {
    const RequestTimings timings = harness.run_one(std::move(next)).timings;
    return std::pair(timings.miss_reason, timings.divergence_token);
  };
  EXPECT_EQ(lookup(request(text)), std::pair(MissReason::kCold, 0));
  EXPECT_EQ(lookup(request(text)), std::pair(MissReason::kNone, 100));
  EXPECT_EQ(lookup(request(tokens(5, 9))), std::pair(MissReason::kTooShort, 0));
  Request uncached = request(text);
  uncached.use_prefix_cache = false;
  EXPECT_EQ(lookup(uncached), std::pair(MissReason::kDisabled, 0));
  Request salted = request(text);
  salted.cache_salt = "salt";
  EXPECT_EQ(lookup(salted), std::pair(MissReason::kSalt, 0));
  EXPECT_EQ(lookup(salted), std::pair(MissReason::kNone, 100));
}

}  // namespace
}  // namespace kvasir::engine
