#pragma once

// Which blocks are free and how many references each of the others has. It knows ids only: the memory is the
// KvPool's, the meaning is the prefix tree's and the sequences'. Owned by KvCache; engine thread only.
//
//   free      [ 7 3 5 ]            a stack: the block freed last is taken first, while it is warm
//   num_refs    0 1 2 0 3 ...      one per sequence that has the block in its table, and one of the tree
//
// Invariant: a block is in the stack once if it has no references, else not at all.

#include <cstddef>
#include <cstdint>
#include <vector>

#include "base/ids.h"

namespace kvasir::kv {

class BlockPool {
 public:
  explicit BlockPool(int num_blocks);

  static constexpr std::size_t bytes_per_block() { return sizeof(BlockId) + sizeof(std::int32_t); }

  int num_blocks() const { return static_cast<int>(num_refs_.size()); }
  int num_free() const { return static_cast<int>(free_.size()); }
  int num_refs(BlockId block) const { return num_refs_[index(block)]; }

  // A free block, with one reference. Requires: num_free() > 0.
  BlockId allocate();
  // Requires: the block is not free.
  void ref(BlockId block);
  // Takes one reference away; a block without any is free. Requires: the block is not free.
  void unref(BlockId block);

  // O(num_blocks).
  void check_integrity() const;

 private:
  std::vector<BlockId> free_;
  std::vector<std::int32_t> num_refs_;
};

}  // namespace kvasir::kv
