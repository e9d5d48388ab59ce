#include "backend/kv_pool.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cstdint>
#include <limits>
#include <utility>

namespace kvasir::backend {
namespace {

constexpr KvLayout kLayout{
    .num_layers = 3, .num_kv_heads = 1, .head_dim = 2, .block_size = 16, .dtype = KvDtype::kF16};

TEST(KvLayout, BlockHoldsKeysAndValuesOfAllLayers) {
  EXPECT_EQ(kLayout.block_bytes(), 3u * 2 * 1 * 2 * 16 * 2);
  KvLayout f32 = kLayout;
  f32.dtype = KvDtype::kF32;
  f32.block_size = 32;
  EXPECT_EQ(f32.block_bytes(), 4 * kLayout.block_bytes());
}

TEST(KvPool, BlocksAreAlignedAndDoNotOverlap) {
  KvLayout odd = kLayout;
  odd.num_layers = 1;
  odd.head_dim = 1;  // 64 bytes of f16 a block
  for (int heads : {1, 3}) {
    odd.num_kv_heads = heads;
    Result<KvPool> pool = KvPool::create(odd, 9);
    ASSERT_TRUE(pool.ok()) << pool.status().message();
    for (int i = 0; i < 9; ++i) std::ranges::fill(pool->block(BlockId{i}), std::byte(i + 1));
    for (int i = 0; i < 9; ++i) {
      const auto bytes = std::as_const(*pool).block(BlockId{i});
      EXPECT_EQ(bytes.size(), odd.block_bytes());
      EXPECT_EQ(reinterpret_cast<std::uintptr_t>(bytes.data()) % 64, 0u);
      EXPECT_TRUE(std::ranges::all_of(bytes, [&](std::byte b) { return b == std::byte(i + 1); }));
    }
  }
}

TEST(KvPool, CopyBlockCopiesAllBytesOfOneBlock) {
  Result<KvPool> pool = KvPool::create(kLayout, 3);
  ASSERT_TRUE(pool.ok());
  std::ranges::fill(pool->block(BlockId{0}), std::byte{7});
  std::ranges::fill(pool->block(BlockId{2}), std::byte{9});
  pool->copy_block(BlockId{0}, BlockId{1});
  EXPECT_TRUE(std::ranges::equal(pool->block(BlockId{0}), pool->block(BlockId{1})));
  EXPECT_TRUE(std::ranges::all_of(pool->block(BlockId{2}), [](std::byte b) { return b == std::byte{9}; }));
}

TEST(KvPool, MovedPoolKeepsItsBytes) {
  Result<KvPool> pool = KvPool::create(kLayout, 2);
  ASSERT_TRUE(pool.ok());
  std::ranges::fill(pool->block(BlockId{1}), std::byte{5});
  KvPool moved = std::move(pool).value();
  EXPECT_EQ(moved.num_blocks(), 2);
  EXPECT_EQ(moved.block(BlockId{1}).back(), std::byte{5});
}

TEST(KvPool, MoreThanTheAddressSpaceIsAnError) {
  KvLayout huge = kLayout;
  huge.num_layers = 1 << 20;
  huge.head_dim = 1 << 12;
  const Result<KvPool> pool = KvPool::create(huge, std::numeric_limits<int>::max());
  ASSERT_FALSE(pool.ok());
  EXPECT_EQ(pool.status().code(), StatusCode::kResourceExhausted);
}

}  // namespace
}  // namespace kvasir::backend
