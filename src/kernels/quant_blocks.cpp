#include "kernels/quant_blocks.h"

#include <array>
#include <cstdint>
#include <cstring>

#include "kernels/quant_layout-inl.h"

namespace kvasir::kernels {
namespace {

using Quants = std::array<std::uint8_t, kSuperBlockGroups * kGroupSize>;

// The first byte of each array in a block (ggml's block_q4_K and the like).
constexpr std::size_t kScalesAt = 4;  // of q4_k and q5_k: 12 bytes
constexpr std::size_t kHighBitsAt5 = 16, kQuantsAt5 = 48, kQuantsAt4 = 16;
constexpr std::size_t kHighBitsAt6 = 128, kScalesAt6 = 192, kSuperScaleAt6 = 208;

// 32 bytes hold the low four bits of 64 weights: in the low halves of the first 32 of them.
void read_halves(const std::uint8_t* from, std::size_t num_bytes, std::size_t run, std::uint8_t* q) {
  for (std::size_t i = 0; i < num_bytes; i += run, from += run, q += 2 * run) {
    for (std::size_t j = 0; j < run; ++j) {
      q[j] = from[j] & 15;
      q[run + j] = from[j] >> 4;
    }
  }
}

void read_quants_6(const std::uint8_t* block, Quants& q) {
  // A half of the block: 64 bytes of low bits and 32 of high bits are 128 weights in four runs of 32.
  for (std::size_t half = 0; half < 2; ++half) {
    const std::uint8_t* low = block + half * 64;
    const std::uint8_t* high = block + kHighBitsAt6 + half * 32;
    for (std::size_t run = 0; run < 4; ++run) {
      for (std::size_t i = 0; i < 32; ++i) {
        const int four = low[run % 2 * 32 + i] >> run / 2 * 4 & 15;
        q[half * 128 + run * 32 + i] = static_cast<std::uint8_t>(four | (high[i] >> run * 2 & 3) << 4);
      }
    }
  }
}

// The weights of one block, offset included.
void read_quants(const std::uint8_t* block, QuantType type, Quants& q) {
  switch (type) {
    case QuantType::kQ8_0:
      for (std::size_t i = 0; i < kGroupSize; ++i) q[i] = block[2 + i] ^ 0x80;
      return;
    case QuantType::kQ4_0:
      return read_halves(block + 2, 16, 16, q.data());
    case QuantType::kQ4_K:
      return read_halves(block + kQuantsAt4, 128, 32, q.data());
    case QuantType::kQ5_K:
      read_halves(block + kQuantsAt5, 128, 32, q.data());
      for (std::size_t i = 0; i < q.size(); ++i) {
        const int bit = block[kHighBitsAt5 + i % kGroupSize] >> i / kGroupSize & 1;
        q[i] = static_cast<std::uint8_t>(q[i] | bit << 4);
      }
      return;
    case QuantType::kQ6_K:
      return read_quants_6(block, q);
  }
}

struct ScaleBytes {
  std::uint8_t scale, minimum;
};

// The 6-bit scale and minimum of a group, from 12 bytes: those of the first four groups are whole, the upper
// two bits of the others are in what these leave free.
ScaleBytes read_scale(const std::uint8_t* scales, std::size_t group) {
  if (group < 4) {
    return {static_cast<std::uint8_t>(scales[group] & 63), static_cast<std::uint8_t>(scales[group + 4] & 63)};
  }
  const std::uint8_t low = scales[group + 4];
  return {static_cast<std::uint8_t>((low & 15) | scales[group - 4] >> 6 << 4),
          static_cast<std::uint8_t>(low >> 4 | scales[group] >> 6 << 4)};
}

// Copies the scales of one block to where those of the column and of the block's first group belong.
void copy_scales(const std::uint8_t* block, QuantType type, std::size_t column, std::byte* scales) {
  std::byte* d = scales + column * 2;
  if (!has_super_blocks(type)) {
    std::memcpy(d, block, 2);
    return;
  }
  std::byte* own = scales + super_scale_bytes(type) + column;
  if (type == QuantType::kQ6_K) {
    std::memcpy(d, block + kSuperScaleAt6, 2);
    for (std::size_t i = 0; i < 16; ++i) own[i * kColumnScales] = std::byte{block[kScalesAt6 + i]};
    return;
  }
  std::memcpy(d, block, 2);
  std::memcpy(d + kGroupScaleBytes, block + 2, 2);
  for (std::size_t g = 0; g < kSuperBlockGroups; ++g, own += kGroupScaleBytes) {
    const ScaleBytes bytes = read_scale(block + kScalesAt, g);
    own[0] = std::byte{bytes.scale};
    own[kColumnScales] = std::byte{bytes.minimum};
  }
}

}  // namespace

void pack_blocks(const std::byte* blocks, std::size_t columns, std::size_t k, QuantType type,
                 std::byte* panel) {
  const std::size_t groups = num_groups(k), block_groups = block_weights(type) / kGroupSize;
  std::byte* scales = panel + groups * group_bytes(type);
  std::memset(panel, 0, panel_bytes(type, k));
  const auto* block = reinterpret_cast<const std::uint8_t*>(blocks);
  for (std::size_t column = 0; column < columns; ++column) {
    for (std::size_t group = 0; group < groups; group += block_groups, block += block_bytes(type)) {
      Quants q;
      read_quants(block, type, q);
      for (std::size_t g = 0; g < block_groups; ++g) {
        store_group(q.data() + g * kGroupSize, type, column, panel + (group + g) * group_bytes(type));
      }
      copy_scales(block, type, column, scales + scales_begin(type, group));
    }
  }
}

}  // namespace kvasir::kernels
