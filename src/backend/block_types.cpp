#include "backend/block_types.h"

#include <algorithm>
#include <cstdint>
#include <cstring>

#include "base/check.h"
#include "kernels/float_formats.h"

namespace kvasir::backend {
namespace {

using Byte = std::uint8_t;

float half_at(const Byte* from) {
  std::uint16_t bits;
  std::memcpy(&bits, from, sizeof bits);
  return kernels::f16_to_f32(bits);
}

int signed_at(const Byte* from) {
  return static_cast<std::int8_t>(*from);
}

// Blocks of 32 with 4 bits a weight: the low halves of 16 bytes, then the high ones. value(i, nibble) is
// weight i.
template <typename Value>
void expand_nibbles(const Byte* nibbles, float* out, const Value& value) {
  for (int i = 0; i < kBlockWeights / 2; ++i) {
    out[i] = value(i, nibbles[i] & 15);
    out[i + kBlockWeights / 2] = value(i + kBlockWeights / 2, nibbles[i] >> 4);
  }
}

void expand_f32(const Byte* block, float* out) {
  std::memcpy(out, block, sizeof *out);
}

void expand_f16(const Byte* block, float* out) {
  *out = half_at(block);
}

void expand_bf16(const Byte* block, float* out) {
  std::uint16_t bits;
  std::memcpy(&bits, block, sizeof bits);
  *out = kernels::bf16_to_f32(bits);
}

// | f16 d | 16 bytes |
void expand_q4_0(const Byte* block, float* out) {
  const float d = half_at(block);
  expand_nibbles(block + 2, out, [d](int, int q) { return d * static_cast<float>(q - 8); });
}

// | f16 d | f16 m | 16 bytes |
void expand_q4_1(const Byte* block, float* out) {
  const float d = half_at(block), m = half_at(block + 2);
  expand_nibbles(block + 4, out, [=](int, int q) { return d * static_cast<float>(q) + m; });
}

// | f16 d | fifth bits of 32 weights | 16 bytes |
void expand_q5_0(const Byte* block, float* out) {
  const float d = half_at(block);
  std::uint32_t high;
  std::memcpy(&high, block + 2, sizeof high);
  expand_nibbles(block + 6, out, [=](int i, int q) {
    return d * static_cast<float>((q | static_cast<int>(high >> i & 1) << 4) - 16);
  });
}

// | f16 d | f16 m | fifth bits of 32 weights | 16 bytes |
void expand_q5_1(const Byte* block, float* out) {
  const float d = half_at(block), m = half_at(block + 2);
  std::uint32_t high;
  std::memcpy(&high, block + 4, sizeof high);
  expand_nibbles(block + 8, out, [=](int i, int q) {
    return d * static_cast<float>(q | static_cast<int>(high >> i & 1) << 4) + m;
  });
}

// | f16 d | 32 int8 |
void expand_q8_0(const Byte* block, float* out) {
  const float d = half_at(block);
  for (int i = 0; i < kBlockWeights; ++i) out[i] = d * static_cast<float>(signed_at(block + 2 + i));
}

// Like Q4_0 with 16 values that are not evenly apart.
void expand_iq4_nl(const Byte* block, float* out) {
  constexpr float kValues[] = {-127, -104, -83, -65, -49, -35, -22, -10, 1, 13, 25, 38, 53, 69, 89, 113};
  const float d = half_at(block);
  expand_nibbles(block + 2, out, [&](int, int q) { return d * kValues[q]; });
}

// | 16 bytes: scale and minimum of 16 weights | 64 bytes: 2 bits | f16 d | f16 dmin |
// Of each 32 bytes the lowest bits are 32 weights, the next ones the next 32.
void expand_q2_k(const Byte* block, float* out) {
  const Byte *scales = block, *quants = block + 16;
  const float d = half_at(block + 80), dmin = half_at(block + 82);
  for (int i = 0; i < kSuperBlockWeights; ++i) {
    const Byte scale = scales[i / 16];
    const int q = quants[i / 128 * 32 + i % 32] >> (i % 128 / 32 * 2) & 3;
    out[i] =
        d * static_cast<float>(scale & 15) * static_cast<float>(q) - dmin * static_cast<float>(scale >> 4);
  }
}

// | 32 bytes: third bits | 64 bytes: 2 bits, as in Q2_K | 12 bytes: 16 scales of 6 bits | f16 d |
// A third bit that is not set takes 4 from the weight. Of the scales the low 4 bits are in the halves of the
// first 8 bytes, the other 2 in the last 4.
void expand_q3_k(const Byte* block, float* out) {
  const Byte *high = block, *quants = block + 32, *scales = block + 96;
  const float d = half_at(block + 108);
  for (int i = 0; i < kSuperBlockWeights; ++i) {
    const int group = i / 16;
    const int low = scales[group % 8] >> (group / 8 * 4) & 15;
    const int scale = (low | (scales[8 + group % 4] >> (group / 4 * 2) & 3) << 4) - 32;
    const int q = quants[i / 128 * 32 + i % 32] >> (i % 128 / 32 * 2) & 3;
    const int offset = (high[i % 32] >> (i / 32) & 1) != 0 ? 0 : 4;
    out[i] = d * static_cast<float>(scale) * static_cast<float>(q - offset);
  }
}

// Scale and minimum of a group of 32 in the 12 bytes of Q4_K and Q5_K: of the first four groups the low 6
// bits of a byte; of the others 4 bits of the last bytes, and the first bytes' highest 2.
struct ScaleAndMinimum {
  int scale, minimum;
};
ScaleAndMinimum scale_and_minimum(const Byte* scales, int group) {
  if (group < 4) return {scales[group] & 63, scales[group + 4] & 63};
  return {(scales[group + 4] & 15) | (scales[group - 4] >> 6) << 4,
          (scales[group + 4] >> 4) | (scales[group] >> 6) << 4};
}

// 4 bits of weight i: of each 32 bytes the low halves are 32 weights, the high ones the next 32.
int nibble_of_super(const Byte* quants, int i) {
  return quants[i / 64 * 32 + i % 32] >> (i % 64 / 32 * 4) & 15;
}

// | f16 d | f16 dmin | 12 bytes: scales and minima | 128 bytes: 4 bits |
void expand_q4_k(const Byte* block, float* out) {
  const float d = half_at(block), dmin = half_at(block + 2);
  for (int group = 0; group < kSuperBlockWeights / kBlockWeights; ++group) {
    const auto [scale, minimum] = scale_and_minimum(block + 4, group);
    const float step = d * static_cast<float>(scale), offset = dmin * static_cast<float>(minimum);
    for (int i = group * kBlockWeights; i < (group + 1) * kBlockWeights; ++i) {
      out[i] = step * static_cast<float>(nibble_of_super(block + 16, i)) - offset;
    }
  }
}

// | f16 d | f16 dmin | 12 bytes: scales and minima | 32 bytes: fifth bits | 128 bytes: 4 bits |
void expand_q5_k(const Byte* block, float* out) {
  const float d = half_at(block), dmin = half_at(block + 2);
  for (int group = 0; group < kSuperBlockWeights / kBlockWeights; ++group) {
    const auto [scale, minimum] = scale_and_minimum(block + 4, group);
    const float step = d * static_cast<float>(scale), offset = dmin * static_cast<float>(minimum);
    for (int i = group * kBlockWeights; i < (group + 1) * kBlockWeights; ++i) {
      const int high = block[16 + i % 32] >> group & 1;
      out[i] = step * static_cast<float>(nibble_of_super(block + 48, i) | high << 4) - offset;
    }
  }
}

// | 128 bytes: low 4 bits | 64 bytes: high 2 bits | 16 int8 scales | f16 d |
// Of each 64 bytes the low halves are 64 weights, the high ones the next 64.
void expand_q6_k(const Byte* block, float* out) {
  const Byte *low = block, *high = block + 128, *scales = block + 192;
  const float d = half_at(block + 208);
  for (int i = 0; i < kSuperBlockWeights; ++i) {
    const int low_bits = low[i / 128 * 64 + i % 64] >> (i % 128 / 64 * 4) & 15;
    const int high_bits = high[i / 128 * 32 + i % 32] >> (i % 128 / 32 * 2) & 3;
    out[i] = d * static_cast<float>(signed_at(scales + i / 16)) *
             static_cast<float>((low_bits | high_bits << 4) - 32);
  }
}

// In the order of BlockType.
struct Entry {
  BlockType type;
  std::string_view name;
  BlockSize size;
  void (*expand)(const Byte* block, float* out);
  std::optional<WeightDtype> held_as;
};
constexpr Entry kEntries[] = {
    {BlockType::kF32, "F32", {1, 4}, expand_f32, WeightDtype::kF32},
    {BlockType::kF16, "F16", {1, 2}, expand_f16, WeightDtype::kF16},
    {BlockType::kBf16, "BF16", {1, 2}, expand_bf16, WeightDtype::kBf16},
    {BlockType::kQ4_0, "Q4_0", {32, 18}, expand_q4_0, WeightDtype::kQ4_0},
    {BlockType::kQ4_1, "Q4_1", {32, 20}, expand_q4_1, std::nullopt},
    {BlockType::kQ5_0, "Q5_0", {32, 22}, expand_q5_0, std::nullopt},
    {BlockType::kQ5_1, "Q5_1", {32, 24}, expand_q5_1, std::nullopt},
    {BlockType::kQ8_0, "Q8_0", {32, 34}, expand_q8_0, WeightDtype::kQ8_0},
    {BlockType::kQ2_K, "Q2_K", {256, 84}, expand_q2_k, std::nullopt},
    {BlockType::kQ3_K, "Q3_K", {256, 110}, expand_q3_k, std::nullopt},
    {BlockType::kQ4_K, "Q4_K", {256, 144}, expand_q4_k, WeightDtype::kQ4_K},
    {BlockType::kQ5_K, "Q5_K", {256, 176}, expand_q5_k, WeightDtype::kQ5_K},
    {BlockType::kQ6_K, "Q6_K", {256, 210}, expand_q6_k, WeightDtype::kQ6_K},
    {BlockType::kIq4Nl, "IQ4_NL", {32, 18}, expand_iq4_nl, std::nullopt},
};

constexpr const Entry& entry_of(BlockType type) {
  return kEntries[static_cast<std::size_t>(type)];
}
static_assert(std::ranges::all_of(kEntries, [](const Entry& e) { return entry_of(e.type).name == e.name; }));

}  // namespace

std::optional<BlockType> block_type_of(std::string_view name) {
  for (const Entry& entry : kEntries) {
    if (name == entry.name) return entry.type;
  }
  return std::nullopt;
}

std::string_view name_of(BlockType type) {
  return entry_of(type).name;
}

BlockSize block_size(BlockType type) {
  return entry_of(type).size;
}

std::optional<WeightDtype> held_as(BlockType type) {
  return entry_of(type).held_as;
}

void expand(BlockType type, const std::byte* blocks, std::size_t num_blocks, float* out) {
  const Entry& entry = entry_of(type);
  const auto* from = reinterpret_cast<const Byte*>(blocks);
  for (std::size_t i = 0; i < num_blocks; ++i) {
    entry.expand(from + i * entry.size.bytes, out + i * entry.size.weights);
  }
}

}  // namespace kvasir::backend
