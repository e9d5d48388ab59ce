#pragma once

// For tests of the scheduler: a scheduler over a real cache and pool, with a fake model, and what each sample
// of a request got.

#include <gtest/gtest.h>

#include <map>
#include <optional>
#include <random>
#include <utility>
#include <vector>

#include "base/check.h"
#include "engine/fake_model.h"
#include "engine/scheduler.h"

namespace kvasir::engine {

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

inline std::vector<TokenId> tokens(int count, int seed) {
  std::minstd_rand random(seed + 1);
  std::vector<TokenId> result(count);
  for (TokenId& token : result) token = static_cast<TokenId>(random() % kVocabSize);
  return result;
}

inline std::vector<TokenId> operator+(std::vector<TokenId> a, const std::vector<TokenId>& b) {
  a.insert(a.end(), b.begin(), b.end());
  return a;
}

inline Request request(std::vector<TokenId> prompt, int max_new_tokens = 8) {
  Request result;
  result.prompt = std::move(prompt);
  result.max_new_tokens = max_new_tokens;
  return result;
}

// One sample of a request with nothing else in the world.
inline Outcome alone(Request request, int sample = 0) {
  Harness harness({.scheduler = {.max_batch_tokens = 100'000, .vocab_size = kVocabSize}});
  request.use_prefix_cache = false;
  request.num_samples = 1;
  request.sampling.seed = request.sampling.seed.value_or(0) + sample;
  if (sample > 0) request.num_prompt_logprobs.reset();
  return harness.run_one(std::move(request));
}

inline void expect_as_alone(const Outcome& outcome, const Request& request, int sample = 0) {
  const Outcome expected = alone(request, sample);
  EXPECT_EQ(outcome.reply, expected.reply);
  EXPECT_EQ(outcome.first_logits, expected.first_logits);
  EXPECT_EQ(outcome.finish, expected.finish) << outcome.status.message();
  EXPECT_EQ(outcome.stop_token, expected.stop_token);
  EXPECT_EQ(outcome.logprobs, expected.logprobs);
  EXPECT_EQ(outcome.prompt_logprobs, expected.prompt_logprobs);
  EXPECT_EQ(outcome.embedding, expected.embedding);
}

}  // namespace kvasir::engine
