#pragma once

// The memory of all KV blocks: one anonymous mapping, touched page by page as blocks are first used, in huge
// pages where the system gives them. It stores and copies bytes; who owns which block is kv/'s business, what
// they mean is the model's.

#include <cstddef>
#include <span>

#include "base/ids.h"
#include "base/status.h"
#include "kernels/kernels.h"

namespace kvasir::backend {

// kQ8: 8 bits, and an f16 scale for each head and token.
enum class KvDtype { kF16, kF32, kQ8 };

// The kernels' name of it.
kernels::KvType kv_type(KvDtype dtype);

// Shape of a block: for each layer, K then V; K of a tile of 16 tokens is (num_kv_heads, head_dim, 16), V is
// (num_kv_heads, 16, head_dim), and a block is block_size / 16 tiles. With kQ8 the 16 scales of a head's tile
// follow its values.
struct KvLayout {
  int num_layers = 0;
  int num_kv_heads = 0;
  int head_dim = 0;
  int block_size = 16;  // tokens; a multiple of 16
  KvDtype dtype = KvDtype::kF16;

  std::size_t block_bytes() const;
};

class KvPool {
 public:
  // Reserves address space for `num_blocks` blocks; pages are taken as they are written.
  // Errors: kResourceExhausted with the size.
  static Result<KvPool> create(const KvLayout& layout, int num_blocks);
  KvPool(KvPool&&) noexcept;
  KvPool& operator=(KvPool&&) noexcept;
  ~KvPool();

  const KvLayout& layout() const { return layout_; }
  int num_blocks() const { return num_blocks_; }

  // The bytes of one block, layout().block_bytes() of them, 64-byte aligned. Requires: 0 <= block <
  // num_blocks().
  std::span<std::byte> block(BlockId block);
  std::span<const std::byte> block(BlockId block) const;

  // Copies all bytes of `from` into `to`. Requires: from != to.
  void copy_block(BlockId from, BlockId to);

 private:
  KvPool(const KvLayout& layout, int num_blocks, std::byte* memory, std::size_t mapped_bytes);

  KvLayout layout_;
  int num_blocks_ = 0;
  std::byte* memory_ = nullptr;  // owned mapping
  std::size_t stride_bytes_ = 0;
  std::size_t mapped_bytes_ = 0;
};

}  // namespace kvasir::backend
