#include "kv/block_pool.h"

#include "base/check.h"

namespace kvasir::kv {

BlockPool::BlockPool(int num_blocks) : num_refs_(num_blocks) {
  free_.reserve(num_blocks);
  for (int i = num_blocks; i-- > 0;) free_.push_back(BlockId{i});
}

BlockId BlockPool::allocate() {
  KVASIR_CHECK(!free_.empty());
  const BlockId block = free_.back();
  free_.pop_back();
  num_refs_[index(block)] = 1;
  return block;
}

void BlockPool::ref(BlockId block) {
  KVASIR_CHECK(num_refs(block) > 0);
  ++num_refs_[index(block)];
}

void BlockPool::unref(BlockId block) {
  KVASIR_CHECK(num_refs(block) > 0);
  if (--num_refs_[index(block)] == 0) free_.push_back(block);
}

void BlockPool::check_integrity() const {
  std::vector<bool> is_free(num_blocks());
  for (const BlockId block : free_) {
    KVASIR_CHECK(!is_free[index(block)]);
    is_free[index(block)] = true;
  }
  for (int i = 0; i < num_blocks(); ++i) {
    KVASIR_CHECK(num_refs_[i] >= 0 && (num_refs_[i] == 0) == is_free[i]);
  }
}

}  // namespace kvasir::kv
