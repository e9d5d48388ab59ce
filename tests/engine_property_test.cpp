// P1 and P2 on a real model: whatever the traffic, each request's tokens and the logits of its first token
// are bitwise those of the same request alone, run without engine and cache.

#include <gtest/gtest.h>

#include <atomic>
#include <cstring>
#include <filesystem>
#include <map>
#include <random>
#include <semaphore>
#include <thread>

#include "backend/cpu_backend.h"
#include "engine/engine.h"
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

struct Reply {
  std::vector<TokenId> tokens;
  std::vector<float> first_logits;
};

// The request alone: one forward for the prompt, one for each token, in blocks of its own.
Reply run_alone(model::Model& model, const Request& request, backend::KvDtype kv_dtype) {
  constexpr int kBlockSize = 16;
  const int num_blocks = (static_cast<int>(request.prompt.size()) + request.max_new_tokens) / kBlockSize + 1;
  auto pool = backend::KvPool::create(model.kv_layout(kBlockSize, kv_dtype), num_blocks);
  EXPECT_TRUE(pool.ok()) << pool.status().message();
  std::vector<BlockId> table;
  for (int i = 0; i < num_blocks; ++i) table.push_back(BlockId{i});

  Reply reply;
  std::vector<TokenId> tokens = request.prompt;
  SamplerScratch scratch;
  const int num_prompt_tokens = static_cast<int>(tokens.size());
  for (int computed = 0; static_cast<int>(tokens.size()) < num_prompt_tokens + request.max_new_tokens;) {
    model::SequenceSlice slice;
    slice.tokens = std::span<const TokenId>(tokens).subspan(computed);
    slice.start_position = computed;
    slice.block_table = table;
    slice.num_logits = 1;
    computed = static_cast<int>(tokens.size());
    const std::span<const float> logits = model.forward({&slice, 1}, *pool);
    if (reply.first_logits.empty()) reply.first_logits.assign(logits.begin(), logits.end());
    const TokenId token = *sample(logits, request.sampling, tokens, num_prompt_tokens,
                                  request.sampling.seed.value_or(0), scratch);
    if (std::count(request.stop_token_ids.begin(), request.stop_token_ids.end(), token) > 0) break;
    tokens.push_back(token);
    reply.tokens.push_back(token);
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
  std::vector<TokenId> tokens;
  std::vector<float> first_logits;
  std::optional<FinishReason> finish;
};

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
  for (Run& run : runs) {
    run.request = traffic.next();
    if (traffic.below(12) == 0) run.cancel_after = traffic.below(4);
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
            if (!event.first_logits.empty()) run.first_logits = std::move(event.first_logits);
            if (event.token) run.tokens.push_back(*event.token);
            if (static_cast<int>(run.tokens.size()) == run.cancel_after && !event.finish)
              (*engine)->cancel(*id);
            if (event.finish) {
              run.finish = event.finish;
              free_slots.release();
            }
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
    const Reply expected = run_alone(reference, run.request, config.kv_dtype);
    EXPECT_TRUE(run.finish.has_value());
    const bool whole = run.finish != FinishReason::kCancelled;
    if (whole) {
      EXPECT_EQ(run.tokens, expected.tokens);
    }
    EXPECT_LE(run.tokens.size(), expected.tokens.size());
    EXPECT_TRUE(std::equal(run.tokens.begin(), run.tokens.end(), expected.tokens.begin()));
    if (whole || !run.first_logits.empty()) {
      EXPECT_EQ(run.first_logits.size(), expected.first_logits.size());
      EXPECT_EQ(std::memcmp(run.first_logits.data(), expected.first_logits.data(),
                            expected.first_logits.size() * sizeof(float)),
                0);
    }
    if (::testing::Test::HasFailure()) break;
  }
  EXPECT_EQ(stats.requests_finished, count);
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
    config.kv_dtype = below(4) == 0 ? backend::KvDtype::kF32 : backend::KvDtype::kF16;
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
    config.kv_cache_memory = (block_bytes + 512) * num_blocks * 16 / 15 + 4 * model.config().vocab_size * 4;
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
