#pragma once

// For tests of the cache: a KvCache with memory for its blocks, and sequences that use both as the engine
// does.

#include <gtest/gtest.h>

#include <chrono>
#include <cstdint>
#include <cstring>
#include <optional>
#include <span>
#include <string>
#include <utility>

#include "base/clock.h"
#include "kv/cell_memory.h"
#include "kv/kv_cache.h"

namespace kvasir::kv {

inline KvCacheConfig small_config() {
  KvCacheConfig config;
  config.block_size = 4;
  config.num_blocks = 64;
  config.min_tokens = 4;
  config.max_age = std::chrono::seconds(1000);
  config.max_logits = 32;
  config.block_bytes = 100;
  return config;
}

template <typename Change>
KvCacheConfig small_config(Change change) {
  KvCacheConfig config = small_config();
  change(config);
  return config;
}

class CacheHarness {
 public:
  explicit CacheHarness(const KvCacheConfig& config)
      : config_(with_logits(config)), cache_(config_, clock_), memory_(config) {}

  KvCache& cache() { return cache_; }
  ManualClock& clock() { return clock_; }
  const KvCacheConfig& config() const { return config_; }
  KvCacheStats stats() const { return cache_.stats(); }

  int probe(const Tokens& tokens, const std::string& salt = "") {
    return cache_.probe(cache_.open_namespace(salt), tokens);
  }

  // Admits a prompt, with room for one more token, makes the copy that was asked for, and checks what was
  // matched.
  std::optional<FakeSequence> start(const Tokens& prompt, const std::string& salt = "",
                                    bool resumes = false) {
    const NamespaceId ns = cache_.open_namespace(salt);
    const int num_tokens = static_cast<int>(prompt.size()) + 1;
    auto admission = resumes ? cache_.resume(ns, prompt, num_tokens) : cache_.admit(ns, prompt, num_tokens);
    if (!admission) return std::nullopt;
    FakeSequence run;
    run.salt = salt;
    run.tokens = prompt;
    run.num_prompt_tokens = static_cast<int>(prompt.size());
    run.copied = admission->copy.has_value();
    run.miss_reason = admission->miss_reason;
    run.num_found = admission->num_found_tokens;
    if (admission->copy) memory_.copy(*admission->copy);
    run.blocks = std::move(admission->blocks);
    run.num_computed = run.num_cached();
    EXPECT_GE(run.num_found, run.num_cached());
    EXPECT_EQ(run.miss_reason == MissReason::kNone, run.num_found == run.num_prompt_tokens);
    EXPECT_TRUE(run.num_cached() == 0 || run.num_cached() >= config_.min_tokens);
    EXPECT_GE(run.table().size() * config_.block_size, prompt.size() + 1);
    run.is_full_hit = !run.blocks->last_logits().empty();
    EXPECT_EQ(run.is_full_hit, run.num_cached() == run.num_prompt_tokens);
    if (run.is_full_hit) {
      std::uint64_t logits = 0;
      std::memcpy(&logits, run.blocks->last_logits().data(), sizeof(logits));
      EXPECT_EQ(logits, CellMemory::logits(run));
    }
    check(run);
    for (int i = 0; i < run.num_cached(); ++i)
      EXPECT_LT(clock_.now() - memory_.born(run, i), config_.max_age);
    return run;
  }

  std::optional<FakeSequence> start_private(const Tokens& prompt) {
    SequenceBlocks blocks = cache_.admit_private();
    if (!cache_.reserve(blocks, static_cast<int>(prompt.size()) + 1)) {
      cache_.release(std::move(blocks), prompt, 0);
      return std::nullopt;
    }
    FakeSequence run;
    run.salt = "(private)";
    run.tokens = prompt;
    run.num_prompt_tokens = static_cast<int>(prompt.size());
    run.is_private = true;
    run.blocks = std::move(blocks);
    return run;
  }

  // A sequence that goes on from the prompt of `source`, whose prompt is computed.
  std::optional<FakeSequence> share(const FakeSequence& source) {
    const int num_prompt_tokens = source.num_prompt_tokens;
    auto admission = cache_.share(*source.blocks, num_prompt_tokens, num_prompt_tokens + 1);
    if (!admission) return std::nullopt;
    FakeSequence run;
    run.salt = source.salt;
    run.tokens.assign(source.tokens.begin(), source.tokens.begin() + num_prompt_tokens);
    run.num_prompt_tokens = num_prompt_tokens;
    run.is_private = source.is_private;
    run.copied = admission->copy.has_value();
    if (admission->copy) memory_.copy(*admission->copy);
    run.blocks = std::move(admission->blocks);
    run.num_computed = run.num_cached();
    EXPECT_EQ(run.num_computed, num_prompt_tokens);
    EXPECT_EQ(run.copied, num_prompt_tokens % config_.block_size > 0);
    check(run);
    return run;
  }

  // "Computes" the next tokens and commits them; a prompt that is complete becomes an entry.
  void compute(FakeSequence& run, int num_tokens, bool inserts_entry = true) {
    check(run);
    const bool had_prompt = run.num_computed >= run.num_prompt_tokens;
    memory_.compute(run, num_tokens, clock_.now());
    cache_.commit(*run.blocks, run.tokens, run.num_computed);
    if (inserts_entry && !had_prompt && run.num_computed >= run.num_prompt_tokens) insert_entry(run);
    check(run);
  }
  void compute_all(FakeSequence& run) {
    compute(run, static_cast<int>(run.tokens.size()) - run.num_computed);
  }

  void insert_entry(FakeSequence& run) {
    const std::uint64_t logits = CellMemory::logits(run);
    const std::span<const TokenId> prompt(run.tokens.data(), run.num_prompt_tokens);
    cache_.insert_entry(*run.blocks, prompt, std::as_bytes(std::span(&logits, 1)));
  }

  // A generated token; false when there is no block for it.
  [[nodiscard]] bool generate(FakeSequence& run, TokenId token) {
    if (!cache_.reserve(*run.blocks, static_cast<int>(run.tokens.size()) + 1)) return false;
    run.tokens.push_back(token);
    return true;
  }
  void generate_all(FakeSequence& run, const Tokens& tokens) {
    for (const TokenId token : tokens) {
      ASSERT_TRUE(generate(run, token));
      compute(run, static_cast<int>(run.tokens.size()) - run.num_computed);
    }
  }

  void finish(FakeSequence run) { cache_.release(std::move(*run.blocks), run.tokens, run.num_computed); }

  // A whole request: the prompt, then the reply. Returns how many tokens it found in the cache.
  int serve(const Tokens& prompt, const Tokens& reply = {}, const std::string& salt = "") {
    std::optional<FakeSequence> run = start(prompt, salt);
    EXPECT_TRUE(run.has_value());
    const int num_cached = run->num_cached();
    compute_all(*run);
    generate_all(*run, reply);
    finish(std::move(*run));
    cache_.check_integrity();
    return num_cached;
  }

  void check(const FakeSequence& run) { memory_.check(run); }

 private:
  static KvCacheConfig with_logits(KvCacheConfig config) {
    config.logits_bytes = sizeof(std::uint64_t);
    return config;
  }

  KvCacheConfig config_;
  ManualClock clock_;
  KvCache cache_;
  CellMemory memory_;
};

}  // namespace kvasir::kv
