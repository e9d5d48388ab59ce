#include "engine/scheduler.h"

#include <gtest/gtest.h>

#include <cstring>
#include <map>
#include <random>

#include "base/check.h"

namespace kvasir::engine {
namespace {

constexpr int kVocabSize = 64;
constexpr int kBlockSize = 16;
constexpr int kHiddenSize = 6;

// A model whose logits are a hash of the whole sequence as it lies in the blocks: a wrong block table, a
// block overwritten while shared or a token computed at a wrong place changes the reply.
class FakeModel {
 public:
  // The logits; `hidden` becomes the hidden states.
  std::vector<float> forward(const Batch& batch, backend::KvPool& pool) {
    std::vector<float> logits;
    hidden.clear();
    num_forwards += !batch.slices.empty();
    for (const model::SequenceSlice& slice : batch.slices) {
      const int num_slice_tokens = static_cast<int>(slice.tokens.size());
      const int end = slice.start_position + num_slice_tokens;
      for (int i = 0; i < num_slice_tokens; ++i) {
        std::byte* const place = at(pool, slice, slice.start_position + i);
        if (i < slice.num_stored) {
          EXPECT_EQ(std::memcmp(place, &slice.tokens[i], sizeof(TokenId)), 0);
        } else {
          std::memcpy(place, &slice.tokens[i], sizeof(TokenId));
        }
      }
      num_tokens += num_slice_tokens;
      num_tokens_stored += num_slice_tokens - slice.num_stored;
      std::uint64_t hash = 1;
      for (int position = 0; position < end; ++position) {
        TokenId token;
        std::memcpy(&token, at(pool, slice, position), sizeof token);
        hash = (hash ^ static_cast<std::uint64_t>(token)) * 0x9e3779b97f4a7c15u;
        hash ^= hash >> 29;
        std::minstd_rand random(static_cast<std::uint32_t>(hash >> 32) | 1);
        const auto draw = [&] { return static_cast<float>(random() % 10'000) / 1000; };
        if (position >= end - slice.num_logits) std::generate_n(std::back_inserter(logits), kVocabSize, draw);
        if (position >= end - slice.num_hidden)
          std::generate_n(std::back_inserter(hidden), kHiddenSize, draw);
      }
    }
    return logits;
  }

  std::vector<float> hidden;
  int num_forwards = 0;
  int num_tokens = 0;         // run
  int num_tokens_stored = 0;  // of those, written to the blocks

 private:
  static std::byte* at(backend::KvPool& pool, const model::SequenceSlice& slice, int position) {
    const BlockId block = slice.block_table[position / kBlockSize];
    return pool.block(block).data() + position % kBlockSize * sizeof(TokenId);
  }
};

// One sample's.
struct Outcome {
  std::vector<TokenId> reply;
  std::vector<TokenLogprobs> logprobs, prompt_logprobs;
  std::vector<float> first_logits, embedding;
  std::optional<FinishReason> finish;
  std::optional<TokenId> stop_token;
  Status status;
  RequestTimings timings;
};

struct Options {
  SchedulerConfig scheduler = {.max_batch_tokens = 64, .block_size = kBlockSize, .vocab_size = kVocabSize};
  int num_blocks = 1000;
  int max_entries = 0;
};

// A scheduler over a real cache and pool, with the fake model.
class Harness {
 public:
  explicit Harness(const Options& options = {})
      : pool_(make_pool(options.num_blocks)),
        cache_(make_config(options), clock_),
        scheduler_(options.scheduler, cache_, pool_, clock_) {}

  ~Harness() {
    scheduler_.end_all(FinishReason::kCancelled, Status());
    scheduler_.send_events();
  }

  RequestId add(Request request) {
    const RequestId id = ++last_id_;
    const int max_tokens = static_cast<int>(request.prompt.size()) + request.max_new_tokens;
    const std::uint64_t seed = request.sampling.seed.value_or(0);
    request.wants_first_logits = true;
    samples[id].resize(request.num_samples);
    const auto sink = [this, id](TokenEvent event) {
      receive(samples[id].at(event.sample), std::move(event));
    };
    for (auto& sequence : make_sequences(id, std::move(request), sink, seed, max_tokens, clock_.now())) {
      scheduler_.add(std::move(sequence));
    }
    return id;
  }

  // One step; false when there was nothing left to do before it.
  bool step() {
    if (scheduler_.idle()) return false;
    const Batch& batch = scheduler_.schedule();
    last_slices.clear();
    for (const auto& slice : batch.slices) last_slices.push_back(static_cast<int>(slice.tokens.size()));
    if (!batch.slices.empty()) {
      const std::vector<float> logits = model.forward(batch, pool_);
      scheduler_.commit(logits, model.hidden);
    }
    scheduler_.send_events();
    scheduler_.check_integrity();
    cache_.check_integrity();
    return true;
  }

  void run() {
    while (step()) {
    }
  }

  Outcome run_one(Request request) {
    const RequestId id = add(std::move(request));
    run();
    return outcome(id);
  }

  // Of the only sample.
  const Outcome& outcome(RequestId id) const { return samples.at(id).at(0); }

  kv::KvCache& cache() { return cache_; }
  Scheduler& scheduler() { return scheduler_; }
  ManualClock& clock() { return clock_; }

  std::map<RequestId, std::vector<Outcome>> samples;
  std::vector<int> last_slices;  // tokens of each slice of the last step
  FakeModel model;

 private:
  static backend::KvPool make_pool(int num_blocks) {
    backend::KvLayout layout = {.num_layers = 1, .num_kv_heads = 1, .head_dim = 2, .block_size = kBlockSize};
    auto pool = backend::KvPool::create(layout, num_blocks);
    KVASIR_CHECK(pool.ok());
    return std::move(*pool);
  }

  static kv::KvCacheConfig make_config(const Options& options) {
    kv::KvCacheConfig config;
    config.block_size = kBlockSize;
    config.num_blocks = options.num_blocks;
    config.min_tokens = options.scheduler.min_tokens;
    config.max_entries = options.max_entries;
    config.logits_bytes = kVocabSize * sizeof(float);
    config.max_logits = 100;
    return config;
  }

  static void receive(Outcome& outcome, TokenEvent event) {
    KVASIR_CHECK(!outcome.finish);
    if (event.token) outcome.reply.push_back(*event.token);
    if (event.logprobs) outcome.logprobs.push_back(*event.logprobs);
    for (auto& logprobs : event.prompt_logprobs) outcome.prompt_logprobs.push_back(std::move(logprobs));
    if (!event.first_logits.empty()) outcome.first_logits = std::move(event.first_logits);
    outcome.embedding = std::move(event.embedding);
    outcome.stop_token = event.stop_token;
    outcome.status = std::move(event.status);
    outcome.finish = event.finish;
    outcome.timings = event.timings;
  }

  ManualClock clock_;
  backend::KvPool pool_;
  kv::KvCache cache_;
  Scheduler scheduler_;
  RequestId last_id_ = 0;
};

std::vector<TokenId> tokens(int count, int seed) {
  std::minstd_rand random(seed + 1);
  std::vector<TokenId> result(count);
  for (TokenId& token : result) token = static_cast<TokenId>(random() % kVocabSize);
  return result;
}

std::vector<TokenId> operator+(std::vector<TokenId> a, const std::vector<TokenId>& b) {
  a.insert(a.end(), b.begin(), b.end());
  return a;
}

Request request(std::vector<TokenId> prompt, int max_new_tokens = 8) {
  Request result;
  result.prompt = std::move(prompt);
  result.max_new_tokens = max_new_tokens;
  return result;
}

// One sample of a request with nothing else in the world.
Outcome alone(Request request, int sample = 0) {
  Harness harness({.scheduler = {.max_batch_tokens = 100'000, .vocab_size = kVocabSize}});
  request.use_prefix_cache = false;
  request.num_samples = 1;
  request.sampling.seed = request.sampling.seed.value_or(0) + sample;
  if (sample > 0) request.num_prompt_logprobs.reset();
  return harness.run_one(std::move(request));
}

void expect_as_alone(const Outcome& outcome, const Request& request, int sample = 0) {
  const Outcome expected = alone(request, sample);
  EXPECT_EQ(outcome.reply, expected.reply);
  EXPECT_EQ(outcome.first_logits, expected.first_logits);
  EXPECT_EQ(outcome.finish, expected.finish) << outcome.status.message();
  EXPECT_EQ(outcome.stop_token, expected.stop_token);
  EXPECT_EQ(outcome.logprobs, expected.logprobs);
  EXPECT_EQ(outcome.prompt_logprobs, expected.prompt_logprobs);
  EXPECT_EQ(outcome.embedding, expected.embedding);
}

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
      requests[harness.add(next)] = next;
      for (int steps = below(12); steps > 0; --steps) harness.step();
      if (below(6) == 0) {
        const RequestId victim = 1 + below(i + 1);
        if (!harness.outcome(victim).finish) cancelled[victim] = true;
        harness.scheduler().cancel(victim);
      }
      if (below(20) == 0) harness.cache().clear();
      if (below(10) == 0) harness.clock().advance(std::chrono::seconds(500));
    }
    harness.run();
    for (const auto& [id, prompt] : requests) {
      if (cancelled[id]) {
        EXPECT_EQ(harness.outcome(id).finish, FinishReason::kCancelled);
      } else {
        expect_as_alone(harness.outcome(id), prompt);
      }
    }
    EXPECT_EQ(harness.cache().stats().blocks_pinned, 0);
  }
}

}  // namespace
}  // namespace kvasir::engine
