#include "engine/scheduler.h"

#include <gtest/gtest.h>

#include <map>
#include <random>

#include "engine/constraint_harness.h"
#include "engine/scheduler_harness.h"

namespace kvasir::engine {
namespace {

TEST(Scheduler, APromptInChunksGivesTheSameReply) {
  const Request prompt = request(tokens(200, 1), 30);
  Harness harness;
  expect_as_alone(harness.run_one(prompt), prompt);
  EXPECT_EQ(harness.model.num_tokens, 200 + 29);  // the last token of a reply is never run
  EXPECT_EQ(harness.model.num_forwards, 4 + 29);
}

TEST(Scheduler, AnExactRepeatRunsNoForwardForItsFirstToken) {
  const Request prompt = request(tokens(100, 1), 1);
  Harness harness;
  const Outcome cold = harness.run_one(prompt);
  const int num_forwards = harness.model.num_forwards;
  const Outcome warm = harness.run_one(prompt);
  EXPECT_EQ(harness.model.num_forwards, num_forwards);
  EXPECT_EQ(warm.reply, cold.reply);
  EXPECT_EQ(warm.first_logits, cold.first_logits);
  EXPECT_EQ(warm.timings.num_cached_tokens, 100);
}

TEST(Scheduler, TheNextTurnFindsTheReplyToo) {
  const std::vector<TokenId> prompt = tokens(50, 1);
  Harness harness;
  const Outcome first = harness.run_one(request(prompt, 30));
  const Request next = request(prompt + first.reply + tokens(5, 2));
  const Outcome second = harness.run_one(next);
  EXPECT_EQ(second.timings.num_cached_tokens, 50 + 29);
  expect_as_alone(second, next);
}

TEST(Scheduler, FourSimultaneousColdPromptsAreComputedOnce) {
  const Request prompt = request(tokens(150, 1));
  Harness harness;
  for (int i = 0; i < 4; ++i) harness.add(prompt);
  harness.run();
  EXPECT_EQ(harness.scheduler().stats().prompt_tokens_computed, 150);
  EXPECT_EQ(harness.scheduler().stats().prompt_tokens, 600);
  for (const auto& [id, samples] : harness.samples) expect_as_alone(samples[0], prompt);
}

TEST(Scheduler, FourBranchesOfAColdPrefixComputeItOnce) {
  const std::vector<TokenId> prefix = tokens(150, 1);
  Harness harness;
  std::map<RequestId, Request> requests;
  for (int i = 0; i < 4; ++i) {
    const Request branch =
        request(prefix + std::vector<TokenId>{static_cast<TokenId>(i)} + tokens(9, 10 + i));
    requests[harness.add(branch)] = branch;
  }
  harness.run();
  EXPECT_EQ(harness.scheduler().stats().prompt_tokens_computed, 150 + 4 * 10);
  for (const auto& [id, branch] : requests) expect_as_alone(harness.outcome(id), branch);
}

TEST(Scheduler, AFollowerTakesOverWhenItsLeaderIsCancelled) {
  const Request prompt = request(tokens(150, 1));
  Harness harness;
  const RequestId leader = harness.add(prompt), follower = harness.add(prompt);
  harness.step();  // 64 of the leader's tokens
  harness.scheduler().cancel(leader);
  harness.run();
  EXPECT_EQ(harness.outcome(leader).finish, FinishReason::kCancelled);
  expect_as_alone(harness.outcome(follower), prompt);
  EXPECT_EQ(harness.outcome(follower).timings.num_cached_tokens, 64);
  EXPECT_EQ(harness.scheduler().stats().prompt_tokens_computed, 150);
}

TEST(Scheduler, SaltsShareNothing) {
  Request prompt = request(tokens(100, 1));
  Harness harness;
  harness.run_one(prompt);
  prompt.cache_salt = "other";
  EXPECT_EQ(harness.run_one(prompt).timings.num_cached_tokens, 0);
  EXPECT_EQ(harness.run_one(prompt).timings.num_cached_tokens, 100);
  // Also not while both are being computed.
  harness.cache().clear();
  Request ours = prompt;
  ours.cache_salt = "";
  harness.add(prompt);
  harness.add(ours);
  const auto before = harness.scheduler().stats().prompt_tokens_computed;
  harness.run();
  EXPECT_EQ(harness.scheduler().stats().prompt_tokens_computed - before, 200);
}

TEST(Scheduler, WithoutThePrefixCacheNothingIsReadOrWritten) {
  Request prompt = request(tokens(100, 1));
  Harness harness;
  prompt.use_prefix_cache = false;
  harness.run_one(prompt);
  EXPECT_EQ(harness.cache().stats().num_entries, 0);
  EXPECT_EQ(harness.cache().stats().blocks_used, 0);
  prompt.use_prefix_cache = true;
  EXPECT_EQ(harness.run_one(prompt).timings.num_cached_tokens, 0);
  prompt.use_prefix_cache = false;
  EXPECT_EQ(harness.run_one(prompt).timings.num_cached_tokens, 0);
}

TEST(Scheduler, WithoutTheCacheTheWholeSequenceIsComputedForEachToken) {
  Request prompt = request(tokens(30, 1), 5);
  prompt.use_cache = false;
  Harness harness;
  expect_as_alone(harness.run_one(prompt), prompt);
  EXPECT_EQ(harness.model.num_tokens, 30 + 31 + 32 + 33 + 34);
  EXPECT_EQ(harness.scheduler().stats().prompt_tokens_computed, 30);
}

TEST(Scheduler, DecodingGoesOnWhileALongPromptIsComputed) {
  Harness harness;
  harness.add(request(tokens(10, 1), 50));
  harness.step();
  harness.add(request(tokens(300, 2), 5));
  for (int i = 0; i < 4; ++i) {
    harness.step();
    EXPECT_EQ(harness.last_slices, (std::vector<int>{1, 63}));
  }
}

TEST(Scheduler, AFullHitDoesNotWaitForAnothersPrompt) {
  const Request prompt = request(tokens(50, 1), 3);
  Harness harness;
  harness.run_one(prompt);
  harness.add(request(tokens(1000, 2)));
  harness.step();
  const RequestId id = harness.add(prompt);
  harness.step();
  EXPECT_GE(harness.outcome(id).reply.size(), 1u);
}

TEST(Scheduler, StopTokensEndAReplyAndAreNotPartOfIt) {
  Request prompt = request(tokens(40, 1), 30);
  const Outcome whole = alone(prompt);
  const TokenId stop = whole.reply[5];
  const auto first = std::find(whole.reply.begin(), whole.reply.end(), stop);
  prompt.stop_token_ids = {stop};
  Harness harness;
  const Outcome outcome = harness.run_one(prompt);
  EXPECT_EQ(outcome.finish, FinishReason::kStop);
  EXPECT_EQ(outcome.reply, std::vector<TokenId>(whole.reply.begin(), first));
}

TEST(Scheduler, WhenBlocksRunOutTheNewestGivesWayAndLosesNothing) {
  Harness harness({.num_blocks = 20});
  std::map<RequestId, Request> requests;
  for (int i = 0; i < 5; ++i) {
    const Request prompt = request(tokens(50, i), 100);
    requests[harness.add(prompt)] = prompt;
  }
  harness.run();
  EXPECT_GT(harness.scheduler().stats().preemptions, 0);
  EXPECT_EQ(harness.scheduler().stats().prompt_tokens_computed, 250);
  for (const auto& [id, prompt] : requests) expect_as_alone(harness.outcome(id), prompt);
}

TEST(Scheduler, ASequenceMayFillTheWholePool) {
  Harness harness({.num_blocks = 5});
  const Request first = request(tokens(60, 1), 20), second = request(tokens(60, 1) + tokens(5, 2), 15);
  for (const Request& prompt : {first, second, first}) expect_as_alone(harness.run_one(prompt), prompt);
}

TEST(Scheduler, CancellingFreesEverythingAndKeepsWhatIsComputed) {
  Harness harness;
  const Request prompt = request(tokens(150, 1));
  const RequestId id = harness.add(prompt);
  harness.step();
  harness.scheduler().cancel(id);
  harness.scheduler().send_events();
  EXPECT_EQ(harness.outcome(id).finish, FinishReason::kCancelled);
  EXPECT_TRUE(harness.scheduler().idle());
  EXPECT_EQ(harness.cache().stats().blocks_pinned, 0);
  EXPECT_EQ(harness.run_one(prompt).timings.num_cached_tokens, 64);
}

TEST(Scheduler, ASeededReplyIsTheSameInAnyBatch) {
  Request prompt = request(tokens(30, 1), 20);
  prompt.sampling = {.temperature = 1, .top_p = 0.9f, .seed = 42};
  Harness harness;
  for (int i = 0; i < 5; ++i) harness.add(request(tokens(40, 5 + i), 30));
  expect_as_alone(harness.run_one(prompt), prompt);
}

// Random requests that share random prefixes, over a small pool, with cancellations, expiry and clearing.
TEST(Scheduler, AnyTrafficGivesEachRequestItsReply) {
  for (int round = 0; round < 40; ++round) {
    std::minstd_rand random(round + 1);
    const auto below = [&](int limit) { return static_cast<int>(random() % limit); };
    Options options;
    options.num_blocks = 12 + below(60);
    options.max_entries = below(3) == 0 ? 1 + below(4) : 0;
    options.scheduler.max_batch_tokens = 1 + below(80);
    options.scheduler.max_running_sequences = 1 + below(8);
    options.scheduler.min_tokens = below(30);
    options.scheduler.max_prompt_logits = 1 + below(30);
    Harness harness(options);
    std::map<RequestId, Request> requests;
    std::map<RequestId, bool> cancelled;
    for (int i = 0; i < 60; ++i) {
      std::vector<TokenId> prompt = tokens(1 + below(60), below(3));
      if (below(2) == 0) prompt = prompt + tokens(1 + below(40), 100 + below(3));
      Request next = request(std::move(prompt), 1 + below(60));
      next.use_prefix_cache = below(5) != 0;
      next.use_cache = below(8) != 0;
      next.cache_salt = below(6) == 0 ? "salt" : "";
      if (below(2) == 0) next.sampling = {.temperature = 0.8f, .repetition_penalty = 1.1f, .seed = 7};
      if (below(4) == 0) next.sampling.logit_bias = {{below(kVocabSize), 3.0f}, {below(kVocabSize), -100.0f}};
      if (below(4) == 0) next.num_samples = 2 + below(4);
      if (below(4) == 0) next.num_logprobs = below(4);
      if (below(4) == 0) next.num_prompt_logprobs = below(4);
      if (below(6) == 0) next.constraint = std::make_unique<SumConstraint>(3, below(40));
      if (below(4) == 0) next.stop_token_ids = {below(kVocabSize), below(kVocabSize)};
      if (below(4) == 0) next.min_new_tokens = below(next.max_new_tokens);
      if (below(4) == 0) next.priority = below(3) - 1;
      if (below(8) == 0) {
        next.max_new_tokens = 0;
        next.min_new_tokens = 0;
        next.num_samples = 1;
        next.wants_embedding = below(2) == 0;
      }
      requests[harness.add(next)] = next;
      for (int steps = below(12); steps > 0; --steps) harness.step();
      if (below(6) == 0) {
        const RequestId victim = 1 + below(i + 1);
        cancelled[victim] = true;
        harness.scheduler().cancel(victim);
      }
      if (below(20) == 0) harness.cache().clear();
      if (below(10) == 0) harness.clock().advance(std::chrono::seconds(500));
    }
    harness.run();
    for (const auto& [id, prompt] : requests) {
      for (int sample = 0; sample < prompt.num_samples; ++sample) {
        const Outcome& outcome = harness.samples.at(id).at(sample);
        ASSERT_TRUE(outcome.finish.has_value());
        const bool was_cut = cancelled[id] && outcome.finish == FinishReason::kCancelled;
        if (!was_cut) expect_as_alone(outcome, prompt, sample);
      }
    }
    EXPECT_EQ(harness.cache().stats().blocks_pinned, 0);
  }
}

}  // namespace
}  // namespace kvasir::engine
