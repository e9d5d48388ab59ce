#include "backend/attention_plan.h"

#include <numeric>

#include "base/check.h"
#include "kernels/kernels.h"

namespace kvasir::backend {
namespace {

int ceil_div(int a, int b) {
  return (a + b - 1) / b;
}

// The blocks with keys that all rows of the run see.
std::span<const BlockId> common_blocks(const RowRun& run, int block_size) {
  return run.block_table.first(run.start_position / block_size + 1);
}

// Leading keys that both runs have in the same blocks and that all their rows see, in whole spans.
int num_shared_keys(const RowRun& a, const RowRun& b, int block_size) {
  const auto a_blocks = common_blocks(a, block_size), b_blocks = common_blocks(b, block_size);
  const auto [end, b_end] = std::mismatch(a_blocks.begin(), a_blocks.end(), b_blocks.begin(), b_blocks.end());
  const int in_blocks = static_cast<int>(end - a_blocks.begin()) * block_size;
  const int keys = std::min({in_blocks, a.start_position + 1, b.start_position + 1});
  return keys / kernels::kSpanTokens * kernels::kSpanTokens;
}

// Whether threads that take the items one by one end at about the same time.
bool keeps_busy(int num_items, int num_threads) {
  constexpr double kBusy = 0.8;
  return num_items >= kBusy * num_threads * ceil_div(num_items, num_threads);
}

}  // namespace

void AttentionPlan::build(std::span<const RowRun> runs, const KvPool& kv, int num_heads, int num_threads) {
  const KvLayout& layout = kv.layout();
  KVASIR_CHECK(num_heads % layout.num_kv_heads == 0);
  num_heads_ = num_heads;
  num_kv_heads_ = layout.num_kv_heads;
  sort_runs(runs, layout.block_size);

  first_block_.clear();
  block_pointers_.clear();
  for (const RowRun& run : runs) {
    first_block_.push_back(block_pointers_.size());
    const int num_blocks = ceil_div(run.start_position + run.num_rows, layout.block_size);
    for (const BlockId block : run.block_table.first(num_blocks)) {
      block_pointers_.push_back(kv.block(block).data());
    }
  }

  // Keys that two items read cost less than a thread that waits.
  for (int max_item_rows = kernels::kMaxAttentionRows;; max_item_rows /= 2) {
    cut(runs, num_heads / layout.num_kv_heads, max_item_rows);
    if (max_item_rows == 1 || keeps_busy(num_items(), num_threads)) return;
  }
}

void AttentionPlan::sort_runs(std::span<const RowRun> runs, int block_size) {
  order_.resize(runs.size());
  std::iota(order_.begin(), order_.end(), 0);
  std::sort(order_.begin(), order_.end(), [&](int a, int b) {
    return std::ranges::lexicographical_compare(common_blocks(runs[a], block_size),
                                                common_blocks(runs[b], block_size));
  });
  shared_.assign(runs.size(), 0);
  for (std::size_t i = 1; i < runs.size(); ++i) {
    shared_[i] = num_shared_keys(runs[order_[i - 1]], runs[order_[i]], block_size);
  }
}

void AttentionPlan::cut(std::span<const RowRun> runs, int heads_per_kv_head, int max_item_rows) {
  pieces_.clear();
  chunks_.clear();
  const int splits = ceil_div(heads_per_kv_head, max_item_rows);
  num_head_groups_ = num_kv_heads_ * splits;
  const int tokens_per_item = std::max(1, max_item_rows / ceil_div(heads_per_kv_head, splits));
  for (std::size_t begin = 0, end = 1; begin < runs.size(); begin = end, end = begin + 1) {
    while (end < runs.size() && shared_[end] > 0) ++end;
    cut_group(runs, begin, end, tokens_per_item);
  }
}

// Cuts the tokens of runs order_[begin, end) into chunks of about the same size.
void AttentionPlan::cut_group(std::span<const RowRun> runs, std::size_t begin, std::size_t end,
                              int tokens_per_item) {
  int num_tokens = 0;
  for (std::size_t i = begin; i < end; ++i) num_tokens += runs[order_[i]].num_rows;
  const int chunk_tokens = ceil_div(num_tokens, ceil_div(num_tokens, tokens_per_item));
  int in_chunk = chunk_tokens;
  for (std::size_t i = begin; i < end; ++i) {
    const RowRun& run = runs[order_[i]];
    for (int row = 0; row < run.num_rows;) {
      if (in_chunk == chunk_tokens) {
        chunks_.push_back({pieces_.size(), 0});
        in_chunk = 0;
      }
      const int count = std::min(chunk_tokens - in_chunk, run.num_rows - row);
      pieces_.push_back({run.first_row + row, count, run.start_position + row, order_[i], in_chunk,
                         chunks_.back().num_pieces == 0 ? 0 : shared_[i]});
      ++chunks_.back().num_pieces;
      in_chunk += count;
      row += count;
    }
  }
}

AttentionPlan::Item AttentionPlan::item(int i) const {
  const int num_chunks = static_cast<int>(chunks_.size());
  const Chunk& chunk = chunks_[i % num_chunks];
  const int head_group = i / num_chunks;
  const int splits = num_head_groups_ / num_kv_heads_;
  const int heads_per_kv_head = num_heads_ / num_kv_heads_;
  const int kv_head = head_group / splits, split = head_group % splits;
  const int first = heads_per_kv_head * split / splits, end = heads_per_kv_head * (split + 1) / splits;
  return {std::span(pieces_).subspan(chunk.first_piece, chunk.num_pieces), kv_head,
          kv_head * heads_per_kv_head + first, end - first};
}

std::int64_t AttentionPlan::num_keys_read() const {
  std::int64_t num_keys = 0;
  for (int i = 0; i < num_items(); ++i) {
    for_each_run(item(i).pieces, [&](std::span<const Piece>, int first_key, int end_key) {
      num_keys += end_key - first_key;
    });
  }
  return num_keys;
}

}  // namespace kvasir::backend
