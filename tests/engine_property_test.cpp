// P1 and P2 on a real model: whatever the traffic, each request's tokens and the logits of its first token
// are bitwise those of the same request alone, run without engine and cache.

#include <gtest/gtest.h>

#include <array>
#include <atomic>
#include <filesystem>
#include <map>
#include <random>
#include <semaphore>
#include <thread>

#include "backend/cpu_backend.h"
#include "engine/constraint_harness.h"
#include "engine/engine.h"
#include "engine/log_probability.h"
#include "engine/sampler.h"
#include "tests/shared_data.h"

namespace kvasir::engine {
namespace {

// The machine's clock, moved forward at will from any thread.
class MovableClock final : public Clock {
 public:
  TimePoint now() const override { return std::chrono::steady_clock::now() + offset_.load(); }
  void advance(std::chrono::seconds by) { offset_ = offset_.load() + by; }

 private:
  std::atomic<std::chrono::steady_clock::duration> offset_{};
};

// Of one sample.
struct Reply {
  std::vector<TokenId> tokens;
  std::vector<float> first_logits, embedding;
  std::vector<TokenLogprobs> logprobs, prompt_logprobs;
};

// The prompt in one forward: its log-probabilities, its embedding, and the first logits.
void run_prompt(model::Model& model, const Request& request, std::span<const BlockId> table,
                backend::KvPool& pool, Reply& reply) {
  const int num_tokens = static_cast<int>(request.prompt.size());
  const int vocab_size = model.config().vocab_size;
  const model::SequenceSlice slice = {request.prompt, 0, table, num_tokens, num_tokens};
  const std::span<const float> logits = model.forward({&slice, 1}, pool);
  reply.first_logits.assign(logits.end() - vocab_size, logits.end());
  for (int i = 1; request.num_prompt_logprobs && i < num_tokens; ++i) {
    reply.prompt_logprobs.push_back(token_logprobs(logits.subspan((i - 1) * vocab_size, vocab_size),
                                                   request.prompt[i], *request.num_prompt_logprobs));
  }
  if (!request.wants_embedding) return;
  std::vector<double> sum(model.config().hidden_size);
  const std::span<const float> hidden = model.hidden_states();
  for (std::size_t i = 0; i < hidden.size(); ++i) sum[i % sum.size()] += hidden[i];
  for (const double value : sum) reply.embedding.push_back(static_cast<float>(value / num_tokens));
}

// One sample of the request alone: one forward for the prompt, one for each token, in blocks of its own.
Reply run_alone(model::Model& model, Request request, int sample_index, backend::KvDtype kv_dtype) {
  constexpr int kBlockSize = 16;
  const int num_prompt_tokens = static_cast<int>(request.prompt.size());
  const int num_blocks = (num_prompt_tokens + request.max_new_tokens) / kBlockSize + 1;
  auto pool = backend::KvPool::create(model.kv_layout(kBlockSize, kv_dtype), num_blocks);
  EXPECT_TRUE(pool.ok()) << pool.status().message();
  std::vector<BlockId> table;
  for (int i = 0; i < num_blocks; ++i) table.push_back(BlockId{i});

  Reply reply;
  run_prompt(model, request, table, *pool, reply);
  std::vector<float> logits = reply.first_logits;
  std::vector<TokenId> tokens = request.prompt;
  SamplerScratch scratch;
  std::vector<std::uint32_t> mask((model.config().vocab_size + 31) / 32);
  while (static_cast<int>(reply.tokens.size()) < request.max_new_tokens) {
    if (request.constraint && request.constraint->is_finished()) break;
    Exclusions exclusions;
    if (request.constraint) {
      request.constraint->fill_mask(mask);
      exclusions.mask = mask;
    }
    const TokenId token = *sample(logits, request.sampling, tokens, num_prompt_tokens,
                                  request.sampling.seed.value_or(0) + sample_index, scratch, exclusions);
    if (std::count(request.stop_token_ids.begin(), request.stop_token_ids.end(), token) > 0) break;
    if (request.constraint) request.constraint->accept(token);
    if (request.num_logprobs) reply.logprobs.push_back(token_logprobs(logits, token, *request.num_logprobs));
    tokens.push_back(token);
    reply.tokens.push_back(token);
    const model::SequenceSlice slice = {{&tokens.back(), 1}, static_cast<int>(tokens.size()) - 1, table, 1};
    if (static_cast<int>(reply.tokens.size()) == request.max_new_tokens) break;
    const std::span<const float> next = model.forward({&slice, 1}, *pool);
    logits.assign(next.begin(), next.end());
  }
  return reply;
}

struct LoadedModel {
  std::unique_ptr<ThreadPool> pool;
  std::unique_ptr<format::ModelFiles> files;
  std::unique_ptr<model::Model> model;
};

LoadedModel load(const std::filesystem::path& folder, model::WeightDtype dtype, int num_threads) {
  LoadedModel loaded;
  loaded.pool = std::make_unique<ThreadPool>(num_threads);
  auto files = format::ModelFiles::open(folder.string());
  EXPECT_TRUE(files.ok()) << files.status().message();
  loaded.files = std::make_unique<format::ModelFiles>(std::move(*files));
  auto model = model::Model::load(*loaded.files, {dtype}, *loaded.pool);
  EXPECT_TRUE(model.ok()) << model.status().message();
  loaded.model = std::move(*model);
  return loaded;
}

// Requests that share prefixes of a few random texts.
class Traffic {
 public:
  Traffic(int vocab_size, int max_prompt_tokens, unsigned seed)
      : vocab_size_(vocab_size), max_prompt_tokens_(max_prompt_tokens), random_(seed) {
    for (auto& text : texts_) text = random_tokens(max_prompt_tokens);
  }

  Request next() {
    Request request;
    const std::vector<TokenId>& text = texts_[below(std::size(texts_))];
    request.prompt.assign(text.begin(), text.begin() + 1 + below(max_prompt_tokens_));
    if (below(2) == 0) {
      const int num_left = max_prompt_tokens_ - static_cast<int>(request.prompt.size());
      const std::vector<TokenId> suffix = random_tokens(std::min(num_left, below(12)));
      request.prompt.insert(request.prompt.end(), suffix.begin(), suffix.end());
    }
    request.max_new_tokens = 1 + below(12);
    request.stop_token_ids = {2};
    request.use_prefix_cache = below(6) != 0;
    request.use_cache = below(20) != 0;
    request.cache_salt = below(8) == 0 ? "salt" : "";
    if (below(2) == 0) {
      request.sampling.temperature = 0.5f + 0.1f * static_cast<float>(below(8));
      request.sampling.top_k = below(3) * 20;
      request.sampling.top_p = below(2) == 0 ? 1.0f : 0.9f;
      request.sampling.repetition_penalty = below(2) == 0 ? 1.0f : 1.2f;
      request.sampling.seed = below(1000);
    }
    request.wants_first_logits = true;
    if (below(5) == 0) request.num_samples = 2 + below(3);
    if (below(4) == 0) request.num_logprobs = below(5);
    if (below(4) == 0) request.num_prompt_logprobs = below(3);
    if (below(5) == 0) request.constraint = std::make_unique<SumConstraint>(1 + below(7), below(12));
    if (below(4) == 0) request.sampling.logit_bias = {{below(vocab_size_), 5.0f}};
    request.priority = below(3);
    if (below(10) == 0) {
      request.max_new_tokens = 0;
      request.num_samples = 1;
      request.wants_embedding = below(2) == 0;
    }
    return request;
  }

  int below(int limit) { return std::uniform_int_distribution<int>(0, limit - 1)(random_); }

 private:
  std::vector<TokenId> random_tokens(int count) {
    std::vector<TokenId> tokens(count);
    for (TokenId& token : tokens) token = below(vocab_size_);
    return tokens;
  }

  const int vocab_size_;
  const int max_prompt_tokens_;
  std::mt19937 random_;
  std::vector<TokenId> texts_[4];
};

struct Run {
  Request request;
  int cancel_after = -1;  // tokens; -1: never
  RequestId id = 0;
  std::vector<Reply> replies;  // of each sample
  std::vector<std::optional<FinishReason>> finishes;
  int num_ended = 0;

  void receive(TokenEvent event) {
    Reply& reply = replies[event.sample];
    if (!event.first_logits.empty()) reply.first_logits = std::move(event.first_logits);
    if (event.token) reply.tokens.push_back(*event.token);
    if (event.logprobs) reply.logprobs.push_back(*event.logprobs);
    for (auto& logprobs : event.prompt_logprobs) reply.prompt_logprobs.push_back(std::move(logprobs));
    reply.embedding = std::move(event.embedding);
    if (!event.finish) return;
    EXPECT_FALSE(finishes[event.sample].has_value());
    finishes[event.sample] = event.finish;
    ++num_ended;
  }
};

void expect_same(const Run& run, int sample_index, const Reply& expected) {
  const Reply& reply = run.replies[sample_index];
  ASSERT_TRUE(run.finishes[sample_index].has_value());
  EXPECT_NE(run.finishes[sample_index], FinishReason::kError);
  const bool is_whole = run.finishes[sample_index] != FinishReason::kCancelled;
  const auto expect_begins = [&](const auto& got, const auto& whole) {
    if (is_whole) {
      EXPECT_EQ(got.size(), whole.size());
    }
    ASSERT_LE(got.size(), whole.size());
    EXPECT_TRUE(std::equal(got.begin(), got.end(), whole.begin()));
  };
  expect_begins(reply.tokens, expected.tokens);
  expect_begins(reply.logprobs, expected.logprobs);
  expect_begins(reply.embedding, expected.embedding);
  if (sample_index == 0) expect_begins(reply.prompt_logprobs, expected.prompt_logprobs);
  if (run.request.max_new_tokens > 0) expect_begins(reply.first_logits, expected.first_logits);
}

// Sends `count` requests from two threads, at most `window` at once from each, and compares each with itself
// alone.
EngineStats expect_as_alone(model::Model& model, model::Model& reference, const EngineConfig& config,
                            int count, unsigned seed) {
  MovableClock clock;
  auto engine = Engine::start(model, config, clock);
  EXPECT_TRUE(engine.ok()) << engine.status().message();
  if (!engine.ok()) return {};
  Traffic traffic(model.config().vocab_size, std::min(200, model.config().max_position_embeddings / 2), seed);
  std::vector<Run> runs(count);
  int num_samples = 0;
  for (Run& run : runs) {
    run.request = traffic.next();
    if (traffic.below(12) == 0) run.cancel_after = traffic.below(4);
    run.replies.resize(run.request.num_samples);
    run.finishes.resize(run.request.num_samples);
    num_samples += run.request.num_samples;
  }

  const int window = 1 + traffic.below(10);
  const auto send = [&](int first) {
    std::counting_semaphore<> free_slots(window);
    for (int i = first; i < count; i += 2) {
      Run& run = runs[i];
      free_slots.acquire();
      // The id is known to the sink only when submit has returned; the sink waits for nothing, so a
      // cancellation that comes too early is simply left out.
      auto id = std::make_shared<std::atomic<RequestId>>(0);
      const auto submitted =
          (*engine)->submit(run.request, [&run, &free_slots, &engine, id](TokenEvent event) {
            run.receive(std::move(event));
            const auto num_tokens = static_cast<int>(run.replies[0].tokens.size());
            if (num_tokens == run.cancel_after && run.num_ended == 0) (*engine)->cancel(*id);
            if (run.num_ended == run.request.num_samples) free_slots.release();
          });
      ASSERT_TRUE(submitted.ok()) << submitted.status().message();
      *id = *submitted;
      if (run.cancel_after == 0) (*engine)->cancel(*submitted);
      if (i % 7 == 0) clock.advance(std::chrono::seconds(3));
      if (i % 97 == 0) (*engine)->clear_cache();
    }
    for (int i = 0; i < window; ++i) free_slots.acquire();
  };
  std::thread other([&] { send(1); });
  send(0);
  other.join();
  const EngineStats stats = (*engine)->stats();
  (*engine)->stop();

  for (const Run& run : runs) {
    for (int i = 0; i < run.request.num_samples; ++i) {
      expect_same(run, i, run_alone(reference, run.request, i, config.kv_dtype));
    }
    if (::testing::Test::HasFailure()) break;
  }
  EXPECT_EQ(stats.requests_finished, num_samples);
  return stats;
}

void expect_same_tokens_in_any_traffic(const std::filesystem::path& folder, model::WeightDtype dtype,
                                       int rounds, int requests_per_round) {
  LoadedModel models[2] = {load(folder, dtype, 1), load(folder, dtype, 2)};
  if (::testing::Test::HasFailure()) return;
  EngineStats total;
  std::mt19937 random(1);
  const auto below = [&](int limit) { return std::uniform_int_distribution<int>(0, limit - 1)(random); };
  for (int round = 0; round < rounds && !::testing::Test::HasFailure(); ++round) {
    EngineConfig config;
    constexpr std::array kKvDtypes = {backend::KvDtype::kF16, backend::KvDtype::kF16, backend::KvDtype::kF32,
                                      backend::KvDtype::kQ8};
    config.kv_dtype = kKvDtypes[below(4)];
    config.block_size = below(3) == 0 ? 32 : 16;
    config.max_batch_tokens = 1 << below(10);
    config.max_running_sequences = 1 + below(16);
    config.min_tokens = below(3) * 10;
    config.max_entries = below(3) == 0 ? 1 + below(8) : 0;
    config.max_age = std::chrono::seconds(below(2) == 0 ? 1200 : 10);
    model::Model& model = *models[below(2)].model;
    // Room for the longest request and little more, or for all.
    const std::size_t block_bytes = model.kv_layout(config.block_size, config.kv_dtype).block_bytes();
    const int num_blocks = (below(2) == 0 ? 260 + below(300) : 20'000) / config.block_size + 1;
    config.kv_cache_memory = (block_bytes + 1024) * num_blocks * 16 / 15 + 4 * model.config().vocab_size * 4;
    const EngineStats stats = expect_as_alone(model, *models[0].model, config, requests_per_round, round);
    total.cache.hits += stats.cache.hits;
    total.cache.evictions_ttl += stats.cache.evictions_ttl;
    total.cache.block_evictions += stats.cache.block_evictions;
    total.preemptions += stats.preemptions;
    total.requests_finished += stats.requests_finished;
  }
  // The traffic has been through what it is meant to go through.
  EXPECT_GE(total.requests_finished, rounds * requests_per_round);
  EXPECT_GT(total.cache.hits, total.requests_finished / 4);
  EXPECT_GT(total.cache.evictions_ttl, 0);
  EXPECT_GT(total.cache.block_evictions, 0);
  EXPECT_GT(total.preemptions, 0);
}

TEST(EngineProperty, SameTokensInAnyTrafficOnStories260K) {
  const auto folder = kvasir::testing::shared_data_dir() / "models/stories260K";
  KVASIR_REQUIRE_SHARED_DATA("models/stories260K");
  expect_same_tokens_in_any_traffic(folder, model::WeightDtype::kAuto, 22, 100);
}

TEST(EngineProperty, SameTokensInAnyTrafficOnARandomModel) {
  expect_same_tokens_in_any_traffic(kvasir::testing::test_data_dir() / "models/llama-gqa",
                                    model::WeightDtype::kAuto, 12, 60);
}

// On every instruction set that this machine has.
void expect_same_tokens_quantized(model::WeightDtype dtype, int rounds) {
  const auto folder = kvasir::testing::shared_data_dir() / "models/stories260K";
  KVASIR_REQUIRE_SHARED_DATA("models/stories260K");
  for (const char* isa : {"neondot", "avx2", "avxvnni", "avx512vnni", "amx"}) {
    setenv("KVASIR_ISA", isa, 1);
    ThreadPool pool(1);
    if (!backend::CpuBackend::create(pool).ok()) continue;
    SCOPED_TRACE(isa);
    expect_same_tokens_in_any_traffic(folder, dtype, rounds, 100);
  }
  unsetenv("KVASIR_ISA");
}

TEST(EngineProperty, SameTokensInAnyTrafficWithWeightsOf8Bits) {
  expect_same_tokens_quantized(model::WeightDtype::kQ8_0, 12);
}

TEST(EngineProperty, SameTokensInAnyTrafficWithWeightsOf4Bits) {
  expect_same_tokens_quantized(model::WeightDtype::kQ4_0, 12);
}

}  // namespace
}  // namespace kvasir::engine
