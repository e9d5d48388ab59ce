#pragma once

// For tests of the cache: sequences, and block memory that remembers what was written to it. A cell stands
// for the K and V of a token: it holds the whole prefix that they depend on, as a hash, and when they were
// computed. So every match is checked to be what computing would have given.

#include <gtest/gtest.h>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <optional>
#include <span>
#include <string>
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

class CellMemory {
 public:
  explicit CellMemory(const KvCacheConfig& config)
      : block_size_(config.block_size),
        cells_(static_cast<std::size_t>(config.num_blocks) * config.block_size) {}

  // "Computes" the next tokens of the run.
  void compute(FakeSequence& run, int num_tokens, TimePoint now) {
    for (int i = 0; i < num_tokens; ++i, ++run.num_computed) {
      cell(run, run.num_computed) = {prefix_hash(run, run.num_computed + 1), now};
    }
  }

  void copy(const BlockCopy& copy) {
    const auto from = cells_.begin() + static_cast<std::ptrdiff_t>(index(copy.from)) * block_size_;
    const auto to = cells_.begin() + static_cast<std::ptrdiff_t>(index(copy.to)) * block_size_;
    EXPECT_NE(copy.from, copy.to);
    std::copy(from, from + block_size_, to);
  }

  // What was computed for the run is in its blocks still.
  void check(const FakeSequence& run) {
    std::uint64_t hash = prefix_hash(run, 0);
    for (int i = 0; i < run.num_computed; ++i) {
      hash = extend(hash, run.tokens[i]);
      ASSERT_EQ(cell(run, i).prefix, hash) << "position " << i << " of " << run.tokens.size();
    }
  }

  TimePoint born(const FakeSequence& run, int position) { return cell(run, position).born; }

  // The logits that follow the run's prompt.
  static std::uint64_t logits(const FakeSequence& run) { return ~prefix_hash(run, run.num_prompt_tokens); }

 private:
  struct Cell {
    std::uint64_t prefix = 0;
    TimePoint born;
  };

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
    const std::size_t block = index(run.table()[position / block_size_]);
    return cells_[block * block_size_ + position % block_size_];
  }

  const int block_size_;
  std::vector<Cell> cells_;  // (num_blocks, block_size)
};

}  // namespace kvasir::kv
