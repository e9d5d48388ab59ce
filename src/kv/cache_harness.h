#pragma once

// For tests of the cache: a KvCache with block memory that remembers what was written to it, and sequences
// that use both as the engine does. A cell stands for the K and V of a token: it holds the whole prefix that
// they depend on, as a hash, and when they were computed. So every match is checked to be what computing
// would have given.

#include <gtest/gtest.h>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <functional>
#include <optional>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "base/clock.h"
#include "kv/kv_cache.h"

namespace kvasir::kv {

using Tokens = std::vector<TokenId>;

// The tokens first, first + 1, ... of a prompt that is like no other with another `first`.
inline Tokens count_from(TokenId first, int num_tokens) {
  Tokens tokens(num_tokens);
  for (int i = 0; i < num_tokens; ++i) tokens[i] = first + i;
  return tokens;
}

inline Tokens operator+(Tokens a, const Tokens& b) {
  a.insert(a.end(), b.begin(), b.end());
  return a;
}

// A request as the engine has it.
struct FakeSequence {
  std::string salt;
  Tokens tokens;
  int num_prompt_tokens = 0;
  int num_computed = 0;
  bool is_private = false;
  bool copied = false;
  bool is_full_hit = false;
  MissReason miss_reason = MissReason::kNone;
  int num_found = 0;
  std::optional<SequenceBlocks> blocks;

  int num_cached() const { return blocks->num_cached_tokens(); }
  std::span<const BlockId> table() const { return blocks->block_table(); }
};

class CacheHarness {
 public:
  explicit CacheHarness(const KvCacheConfig& config)
      : config_(with_logits(config)),
        cache_(config_, clock_),
        cells_(static_cast<std::size_t>(config.num_blocks) * config.block_size) {}

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
    if (admission->copy) copy_block(*admission->copy);
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
      EXPECT_EQ(logits, ~prefix_hash(run, run.num_prompt_tokens));
    }
    check(run);
    for (int i = 0; i < run.num_cached(); ++i) EXPECT_LT(clock_.now() - cell(run, i).born, config_.max_age);
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
    if (admission->copy) copy_block(*admission->copy);
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
    for (int i = 0; i < num_tokens; ++i, ++run.num_computed) {
      cell(run, run.num_computed) = {prefix_hash(run, run.num_computed + 1), clock_.now()};
    }
    cache_.commit(*run.blocks, run.tokens, run.num_computed);
    if (inserts_entry && !had_prompt && run.num_computed >= run.num_prompt_tokens) insert_entry(run);
    check(run);
  }
  void compute_all(FakeSequence& run) {
    compute(run, static_cast<int>(run.tokens.size()) - run.num_computed);
  }

  void insert_entry(FakeSequence& run) {
    const std::uint64_t logits = ~prefix_hash(run, run.num_prompt_tokens);
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

  // What was computed for the run is in its blocks still.
  void check(const FakeSequence& run) {
    std::uint64_t hash = prefix_hash(run, 0);
    for (int i = 0; i < run.num_computed; ++i) {
      hash = extend(hash, run.tokens[i]);
      ASSERT_EQ(cell(run, i).prefix, hash) << "position " << i << " of " << run.tokens.size();
    }
  }

 private:
  struct Cell {
    std::uint64_t prefix = 0;
    TimePoint born;
  };

  static KvCacheConfig with_logits(KvCacheConfig config) {
    config.logits_bytes = sizeof(std::uint64_t);
    return config;
  }
  static std::uint64_t extend(std::uint64_t hash, TokenId token) {
    hash = (hash ^ static_cast<std::uint32_t>(token)) * 0x9e3779b97f4a7c15u;
    return hash ^ (hash >> 31);
  }
  static std::uint64_t prefix_hash(const FakeSequence& run, int num_tokens) {
    std::uint64_t hash = std::hash<std::string>()(run.salt);
    for (int i = 0; i < num_tokens; ++i) hash = extend(hash, run.tokens[i]);
    return hash;
  }
  Cell& cell(const FakeSequence& run, int position) {
    const std::size_t block = index(run.table()[position / config_.block_size]);
    return cells_[block * config_.block_size + position % config_.block_size];
  }
  void copy_block(const BlockCopy& copy) {
    const auto from = cells_.begin() + static_cast<std::ptrdiff_t>(index(copy.from)) * config_.block_size;
    const auto to = cells_.begin() + static_cast<std::ptrdiff_t>(index(copy.to)) * config_.block_size;
    EXPECT_NE(copy.from, copy.to);
    std::copy(from, from + config_.block_size, to);
  }

  KvCacheConfig config_;
  ManualClock clock_;
  KvCache cache_;
  std::vector<Cell> cells_;  // (num_blocks, block_size)
};

}  // namespace kvasir::kv
