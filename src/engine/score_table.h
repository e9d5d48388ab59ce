#pragma once

// What is known of the probabilities of the tokens in the blocks, so that the log-probabilities of a prompt
// whose beginning is cached are computed from there on. A score belongs to a token in a block, as its K and V
// do: it is written when they are, copied when they are, and what depends on the same tokens only. So it can
// never be that of another text. Engine thread only.

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <span>

#include "base/ids.h"
#include "engine/request.h"

namespace kvasir::engine {

class ScoreTable {
 public:
  // How many likeliest tokens a score knows.
  static constexpr int kMaxTop = 1;

  ScoreTable(int num_blocks, int block_size)
      : block_size_(block_size),
        scores_(std::make_unique_for_overwrite<Score[]>(static_cast<std::size_t>(num_blocks) * block_size)) {}

  static constexpr std::size_t bytes_per_block(int block_size) { return block_size * sizeof(Score); }

  // New K and V are written for the token at this position of a sequence: of its probability nothing is
  // known.
  void forget(std::span<const BlockId> block_table, int position) { at(block_table, position).rank = 0; }

  // Requires: at least kMaxTop likeliest tokens.
  void store(std::span<const BlockId> block_table, int position, const TokenLogprobs& logprobs) {
    const auto& [top_token, top_logprob] = logprobs.top.front();
    at(block_table, position) = {logprobs.logprob, logprobs.rank, top_token, top_logprob};
  }

  // The log-probabilities of `token`, which is at this position, with `num_top` likeliest ones; nullopt when
  // not known. Requires: its K and V are written; num_top <= kMaxTop.
  std::optional<TokenLogprobs> find(std::span<const BlockId> block_table, int position, TokenId token,
                                    int num_top) const {
    const Score& score = at(block_table, position);
    if (score.rank == 0) return std::nullopt;
    TokenLogprobs logprobs = {token, score.logprob, score.rank, {}};
    if (num_top > 0) logprobs.top.emplace_back(score.top_token, score.top_logprob);
    return logprobs;
  }

  void copy_block(BlockId from, BlockId to) {
    std::copy_n(&scores_[std::size_t(index(from)) * block_size_], block_size_,
                &scores_[std::size_t(index(to)) * block_size_]);
  }

 private:
  struct Score {
    float logprob;
    std::int32_t rank;  // 0: not known
    TokenId top_token;
    float top_logprob;
  };

  Score& at(std::span<const BlockId> block_table, int position) const {
    const auto block = static_cast<std::size_t>(index(block_table[position / block_size_]));
    return scores_[block * block_size_ + position % block_size_];
  }

  const int block_size_;
  std::unique_ptr<Score[]> scores_;  // (num_blocks, block_size); pages are taken as they are written
};

}  // namespace kvasir::engine
