#pragma once

// Which rows of a step read which keys together. Sequences whose block tables begin with the same blocks read
// those keys once, for the rows of all of them; then the groups among them that share more, and at last each
// sequence its own:
//
//   tables     0 1 2 3 4 5    runs of keys   [0 1 2] for a, b, c
//    a         ■ ■ ■ ■ ■ a                     [3 4] for a, b         [5] for a, [5] for b
//    b         ■ ■ ■ ■ ■ b                     [3 4] for c
//    c         ■ ■ ■ c c
//
// A plan is the same for all layers. It is plain data of one step, used by one thread at a time; building one
// allocates nothing once a step of its size has been seen.

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "backend/kv_pool.h"
#include "base/ids.h"

namespace kvasir::backend {

// Rows of a step that are neighbouring tokens of one sequence, and that one's blocks.
struct RowRun {
  int first_row = 0;
  int num_rows = 0;
  int start_position = 0;                // of the first row's token
  std::span<const BlockId> block_table;  // of the sequence
};

class AttentionPlan {
 public:
  // Neighbouring rows of one run.
  struct Piece {
    int first_row = 0, num_rows = 0;
    int start_position = 0;
    int run = 0;
    int rows_before = 0;      // in its item
    int num_shared_keys = 0;  // leading keys in common with the item's piece before; both see them all

    int num_keys() const { return start_position + num_rows; }
  };

  // What one thread computes in one go: some query heads of one KV head, for the rows of some pieces.
  struct Item {
    std::span<const Piece> pieces;
    int kv_head = 0;
    int first_head = 0, num_heads = 0;  // of the model
  };

  // Replaces the plan by that of `runs`, whose block tables are not kept. Requires: num_heads is a multiple
  // of the layout's num_kv_heads.
  void build(std::span<const RowRun> runs, const KvPool& kv, int num_heads, int num_threads);

  int num_heads() const { return num_heads_; }
  int num_items() const { return num_head_groups_ * static_cast<int>(chunks_.size()); }
  // Requires: 0 <= i < num_items(). Neighbours have the same KV head.
  Item item(int i) const;
  // The blocks of a piece's sequence, as far as its last row sees them.
  const std::byte* const* blocks(const Piece& piece) const {
    return block_pointers_.data() + first_block_[piece.run];
  }

  // Calls visit(pieces, first_key, end_key) for each run of keys that some of the pieces share, or one has
  // for itself: together each piece's keys, in ascending order. All rows see all keys of a run of several
  // pieces, and where it ends, which is at a multiple of kernels::kSpanTokens.
  template <typename Visit>
  static void for_each_run(std::span<const Piece> pieces, const Visit& visit) {
    visit_runs(pieces, 0, visit);
  }

  // How many keys of a layer the items read, those of each KV head counted.
  std::int64_t num_keys_read() const;

 private:
  // The pieces of an item.
  struct Chunk {
    std::size_t first_piece = 0, num_pieces = 0;
  };

  template <typename Visit>
  static void visit_runs(std::span<const Piece> pieces, int first_key, const Visit& visit) {
    if (pieces.size() == 1) {
      if (first_key < pieces.front().num_keys()) visit(pieces, first_key, pieces.front().num_keys());
      return;
    }
    int shared = pieces[1].num_shared_keys;
    for (const Piece& piece : pieces.subspan(2)) shared = std::min(shared, piece.num_shared_keys);
    if (first_key < shared) visit(pieces, first_key, shared);
    for (std::size_t begin = 0, end = 1; begin < pieces.size(); begin = end, end = begin + 1) {
      while (end < pieces.size() && pieces[end].num_shared_keys > shared) ++end;
      visit_runs(pieces.subspan(begin, end - begin), shared, visit);
    }
  }

  void sort_runs(std::span<const RowRun> runs, int block_size);
  void cut(std::span<const RowRun> runs, int heads_per_kv_head, int max_item_rows);
  void cut_group(std::span<const RowRun> runs, std::size_t begin, std::size_t end, int tokens_per_item);

  int num_heads_ = 0;
  int num_kv_heads_ = 0;
  int num_head_groups_ = 0;                       // parts that the heads are cut into
  std::vector<int> order_;                        // indices of runs, those that share blocks side by side
  std::vector<int> shared_;                       // [i]: keys that runs order_[i - 1] and order_[i] share
  std::vector<std::size_t> first_block_;          // of each run, in block_pointers_
  std::vector<const std::byte*> block_pointers_;  // of all runs
  std::vector<Piece> pieces_;
  std::vector<Chunk> chunks_;
};

}  // namespace kvasir::backend
