#include "backend/kv_pool.h"

#include <sys/mman.h>

#include <cerrno>
#include <cstdint>
#include <cstring>
#include <utility>

#include "base/check.h"

namespace kvasir::backend {

kernels::KvType kv_type(KvDtype dtype) {
  switch (dtype) {
    case KvDtype::kF16:
      return kernels::KvType::kF16;
    case KvDtype::kF32:
      return kernels::KvType::kF32;
    case KvDtype::kQ8:
      return kernels::KvType::kQ8;
  }
  KVASIR_CHECK(false);
}

std::size_t KvLayout::block_bytes() const {
  return std::size_t{2} * static_cast<std::size_t>(num_layers) * static_cast<std::size_t>(num_kv_heads) *
         static_cast<std::size_t>(block_size / kernels::kTileTokens) *
         kernels::kv_tile_bytes(kv_type(dtype), head_dim);
}

Result<KvPool> KvPool::create(const KvLayout& layout, int num_blocks) {
  KVASIR_CHECK(layout.block_size > 0 && layout.block_size % 16 == 0 && layout.block_bytes() > 0);
  KVASIR_CHECK(num_blocks > 0);
  // K and V of 16 tokens, of an even number of values each: a multiple of 64 bytes, so blocks side by side
  // are aligned.
  const std::size_t stride = layout.block_bytes();
  if (stride > SIZE_MAX / static_cast<std::size_t>(num_blocks)) {
    return error(StatusCode::kResourceExhausted, "kv pool: {} blocks of {} bytes exceed the address space",
                 num_blocks, stride);
  }
  const std::size_t bytes = stride * static_cast<std::size_t>(num_blocks);
  // No reservation of swap: a page costs memory only once a block in it is written.
  void* memory =
      mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (memory == MAP_FAILED) {
    return error(StatusCode::kResourceExhausted, "kv pool: cannot map {} bytes for {} blocks: {}", bytes,
                 num_blocks, std::strerror(errno));
  }
  // A tile is a fraction of a small page, and the next one of the layer is far away: with small pages the
  // address of each would have to be looked up in memory. Only advice, so an error changes nothing.
  madvise(memory, bytes, MADV_HUGEPAGE);
  return KvPool(layout, num_blocks, static_cast<std::byte*>(memory), bytes);
}

KvPool::KvPool(const KvLayout& layout, int num_blocks, std::byte* memory, std::size_t mapped_bytes)
    : layout_(layout),
      num_blocks_(num_blocks),
      memory_(memory),
      stride_bytes_(mapped_bytes / static_cast<std::size_t>(num_blocks)),
      mapped_bytes_(mapped_bytes) {}

KvPool::KvPool(KvPool&& other) noexcept
    : layout_(other.layout_),
      num_blocks_(std::exchange(other.num_blocks_, 0)),
      memory_(std::exchange(other.memory_, nullptr)),
      stride_bytes_(other.stride_bytes_),
      mapped_bytes_(std::exchange(other.mapped_bytes_, 0)) {}

KvPool& KvPool::operator=(KvPool&& other) noexcept {
  std::swap(layout_, other.layout_);
  std::swap(num_blocks_, other.num_blocks_);
  std::swap(memory_, other.memory_);
  std::swap(stride_bytes_, other.stride_bytes_);
  std::swap(mapped_bytes_, other.mapped_bytes_);
  return *this;
}

KvPool::~KvPool() {
  if (memory_ != nullptr) munmap(memory_, mapped_bytes_);
}

std::span<std::byte> KvPool::block(BlockId block) {
  KVASIR_CHECK(index(block) >= 0 && index(block) < num_blocks_);
  return {memory_ + stride_bytes_ * static_cast<std::size_t>(index(block)), layout_.block_bytes()};
}

std::span<const std::byte> KvPool::block(BlockId block) const {
  KVASIR_CHECK(index(block) >= 0 && index(block) < num_blocks_);
  return {memory_ + stride_bytes_ * static_cast<std::size_t>(index(block)), layout_.block_bytes()};
}

void KvPool::copy_block(BlockId from, BlockId to) {
  KVASIR_CHECK(from != to);
  std::memcpy(block(to).data(), block(from).data(), layout_.block_bytes());
}

}  // namespace kvasir::backend
