#pragma once

// Products with weights of 4 to 8 bits, in the types of GGUF. Groups of 32 activations along k are rounded to
// 8 bits with a scale of their own; weights of 32 (of 16 in q6_k) share one. The dot product of weights that
// share a scale is an exact integer, and these are added in f32 in order of k, so that every instruction set
// computes the bits of the scalar reference, for any number of rows:
//
//   for each group, for each of its scales:  y = fma(float(sum of q x), w_scale * x_scale, y)
//                   q4_k, q5_k, then:        y = fma(minimum, -(x_scale * float(sum of x)), y)
//   y += bias
//
//   type  a weight                          w_scale                          minimum
//   q8_0  w_scale * q, q from -128 to 127   f16
//   q4_0  w_scale * q, q from   -8 to   7   f16
//   q4_k  w_scale * q - minimum, 0 to  15   f16 d * 6 bits                   f16 dmin * 6 bits
//   q5_k  w_scale * q - minimum, 0 to  31   f16 d * 6 bits                   f16 dmin * 6 bits
//   q6_k  w_scale * q, q from  -32 to  31   f16 d * 8 bits, signed, two a group
//
// The f16 d and dmin are those of 8 groups, a super-block; both products are exact in f32. So a panel has
// exactly the weights of the file, and only the activations are rounded.
//
// Weights lie in panels of 16 columns (rows of the matrix as it is stored), in the order in which the kernels
// read them. A panel of k = 32 * num_groups weights a column, and of the columns that fill up the last one:
//
//   group 0                                             group 1 ...        scales
//   | quad 0: c0 c0 c0 c0 c1 c1 c1 c1 .. c15 | .. quad 7 | ............ | ..................... |
//
// A quad is four neighbouring k of each column: a line of 64 bytes. q is stored unsigned, plus an offset.
//   8 bits    a byte each: 8 lines
//   4 bits    4 lines: a byte has q of quad i in its low half and of quad i + 4 in its high half
//   5 bits    the same of the low 4 bits, and a line whose bytes have bit 4 of quad i as bit i
//   6 bits    the same of the low 4 bits, and a line for quads 0 to 3 and one for 4 to 7, whose bytes have
//             bits 4 and 5 of quad i as bits 2 (i mod 4) and the next
// Scales, of the 16 columns each:
//   q8_0, q4_0  a group: 16 f16
//   q4_k, q5_k  a super-block: 16 d | 16 dmin | a group: 16 bytes of scales, 16 of minimums | next group ..
//   q6_k        a super-block: 16 d | a group: 16 bytes: scales of its first 16 weights, 16: of the others ..

#include <cstddef>
#include <cstdint>

namespace kvasir::kernels {

enum class QuantType { kQ8_0, kQ4_0, kQ4_K, kQ5_K, kQ6_K };

inline constexpr std::size_t kGroupSize = 32;     // activations that share a scale
inline constexpr std::size_t kPanelColumns = 16;  // columns of a panel
inline constexpr std::size_t kGroupScaleBytes = kPanelColumns * 2;
inline constexpr std::size_t kSuperBlockGroups = 8;

constexpr std::size_t num_groups(std::size_t k) {
  return (k + kGroupSize - 1) / kGroupSize;
}
// Whether scales are products, with a factor for a super-block. Then k is a multiple of 256.
constexpr bool has_super_blocks(QuantType type) {
  return type != QuantType::kQ8_0 && type != QuantType::kQ4_0;
}
constexpr bool has_minimums(QuantType type) {
  return type == QuantType::kQ4_K || type == QuantType::kQ5_K;
}
constexpr std::size_t scales_per_group(QuantType type) {
  return type == QuantType::kQ6_K ? 2 : 1;
}
constexpr std::size_t weight_bits(QuantType type) {
  return type == QuantType::kQ8_0 ? 8 : type == QuantType::kQ6_K ? 6 : type == QuantType::kQ5_K ? 5 : 4;
}
// What is added to q, so that it is stored unsigned.
constexpr int weight_offset(QuantType type) {
  return type == QuantType::kQ8_0 ? 128 : type == QuantType::kQ4_0 ? 8 : type == QuantType::kQ6_K ? 32 : 0;
}
// Bytes of a panel's group without its scales.
constexpr std::size_t group_bytes(QuantType type) {
  return kPanelColumns * kGroupSize / 8 * weight_bits(type);
}
// Bytes of the f16 at the beginning of a super-block's scales; 0 where there are no super-blocks.
constexpr std::size_t super_scale_bytes(QuantType type) {
  return has_minimums(type) ? 2 * kGroupScaleBytes : has_super_blocks(type) ? kGroupScaleBytes : 0;
}
// Where the scales of the groups from `group` on begin, from the first scales of the panel on. With
// super-blocks, group is a multiple of their size.
constexpr std::size_t scales_begin(QuantType type, std::size_t group) {
  return group * kGroupScaleBytes + group / kSuperBlockGroups * super_scale_bytes(type);
}
// Bytes from a panel to the next; a multiple of 64.
constexpr std::size_t panel_bytes(QuantType type, std::size_t k) {
  return (num_groups(k) * group_bytes(type) + scales_begin(type, num_groups(k)) + 63) / 64 * 64;
}
constexpr std::size_t num_panels(std::size_t columns) {
  return (columns + kPanelColumns - 1) / kPanelColumns;
}

// The k floats that one column of a panel stands for.
void unpack_column(const std::byte* panel, std::size_t column, std::size_t k, QuantType type, float* out);

// A quantised row of activations, made for one type of weights:
//   | k as int8, zeros to whole groups | a scale a group: f32 | corrections: 4 bytes for each of its scales |
// A correction is what a group adds beside its products:
//   q8_0, q4_0  int32: -offset * sum of x, which undoes the offset of the weights
//   q4_k, q5_k  f32: -(scale * float(sum of x)), by which minimums are multiplied
//   q6_k        two int16, -offset * sum of the x whose k mod 4 is 0 or 1, and 2 or 3: so that sums of
//               16 bits (AVX2) that begin with them do not overflow
constexpr std::size_t quantized_row_bytes(QuantType w_type, std::size_t k) {
  return (num_groups(k) * (kGroupSize + sizeof(float) + scales_per_group(w_type) * 4) + 63) / 64 * 64;
}

struct QuantizeRowsArgs {
  const float* x;  // (m, k), rows x_stride floats apart
  std::size_t x_stride;
  std::size_t m, k;
  QuantType w_type;
  std::byte* out;  // m rows of quantized_row_bytes(w_type, k), 64-byte aligned
};

// y = x w^T + bias.
struct QuantGemmArgs {
  const std::byte* x;  // m rows as quantize_rows made them for w_type
  const std::byte* w;  // panels of the n columns, 64-byte aligned
  QuantType w_type;
  const float* bias;  // (n) or null
  float* y;           // (m, n), rows y_stride floats apart
  std::size_t y_stride;
  std::size_t m, n, k;
  float* scratch;  // kGemmScratchFloats, 64-byte aligned
};

// The functions of one instruction set.
struct QuantKernels {
  // Rounds each group of a row to the nearest multiples, ties to even, of its largest magnitude / 127.
  void (*quantize_rows)(const QuantizeRowsArgs& args);
  void (*gemm)(const QuantGemmArgs& args);
  // Rounds `columns` (1 to 16) columns of k floats each, one after the other, to a panel. q8_0: to the
  // nearest multiple of amax / 127, as GGUF's reference does; q4_0: of a step near the extreme value / -8
  // that is searched for. What is beyond `columns` and k is zero. Weights that are not finite give a scale
  // that is not. Requires: a type without super-blocks; panels of those are made from a file's blocks
  // (quant_blocks.h).
  void (*pack_panel)(const float* w, std::size_t columns, std::size_t k, QuantType type, std::byte* panel);
};

// A group whose largest magnitude is below this counts as zero: the inverse of its scale would overflow.
inline constexpr float kSmallestGroupMaximum = 1e-30f;

}  // namespace kvasir::kernels
