#pragma once

// For tests of the scheduler: a model whose logits tell whether the right tokens were in the right places.

#include <gtest/gtest.h>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <iterator>
#include <random>
#include <vector>

#include "engine/scheduler.h"

namespace kvasir::engine {

constexpr int kVocabSize = 64;
constexpr int kBlockSize = 16;
constexpr int kHiddenSize = 6;

// Its logits are a hash of the whole sequence as it lies in the blocks: a wrong block table, a block
// overwritten while shared or a token computed at a wrong place changes the reply.
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

}  // namespace kvasir::engine
