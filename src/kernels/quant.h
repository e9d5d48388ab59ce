#pragma once

// Products with weights of 8 and 4 bits. A group of 32 weights along k has one f16 scale, as in GGUF's q8_0
// and q4_0; a group of activations is rounded to 8 bits with a scale of its own. A group's dot product is an
// exact integer, and groups are added in f32 in order of k, so that every instruction set computes the bits
// of the scalar reference, for any number of rows:
//
//   y[row][column] = fma(float(sum of w x), w_scale * x_scale, ...) over the groups, then + bias
//
// Weights lie in panels of 16 columns (rows of the matrix as it is stored), in the order in which the kernels
// read them. A panel of k = 32 * num_groups weights a column, and of the columns that fill up the last one:
//
//   group 0                                             group 1 ...        scales
//   | quad 0: c0 c0 c0 c0 c1 c1 c1 c1 .. c15 | .. quad 7 | ............ | g0: 16 f16 | g1: 16 f16 | .. |
//
// q8_0: a quad is four neighbouring k of each column, a byte each, weight + 128. q4_0: a byte has weight + 8
// of quad q in its low half and of quad q + 4 in its high half, so that a group is four such lines.

#include <cstddef>
#include <cstdint>

namespace kvasir::kernels {

enum class QuantType { kQ8_0, kQ4_0 };

inline constexpr std::size_t kGroupSize = 32;     // weights, and activations, that share a scale
inline constexpr std::size_t kPanelColumns = 16;  // columns of a panel
inline constexpr std::size_t kGroupScaleBytes = kPanelColumns * 2;

constexpr std::size_t num_groups(std::size_t k) {
  return (k + kGroupSize - 1) / kGroupSize;
}
// What is added to a weight, so that it is stored unsigned.
constexpr int weight_offset(QuantType type) {
  return type == QuantType::kQ8_0 ? 128 : 8;
}
// Bytes of a panel's group without its scales.
constexpr std::size_t group_bytes(QuantType type) {
  return kPanelColumns * kGroupSize / (type == QuantType::kQ8_0 ? 1 : 2);
}
// Bytes from a panel to the next; a multiple of 64.
constexpr std::size_t panel_bytes(QuantType type, std::size_t k) {
  return (num_groups(k) * (group_bytes(type) + kGroupScaleBytes) + 63) / 64 * 64;
}
constexpr std::size_t num_panels(std::size_t columns) {
  return (columns + kPanelColumns - 1) / kPanelColumns;
}

// The k floats that one column of a panel stands for.
void unpack_column(const std::byte* panel, std::size_t column, std::size_t k, QuantType type, float* out);

// A quantised row of activations, made for one type of weights:
//   | k as int8, zeros to whole groups | a group's scale: f32 .. | a group's correction: int32 .. |
// The correction is -128 (q8_0) or -8 (q4_0) times the sum of the group, which undoes the offset of the
// weights.
constexpr std::size_t quantized_row_bytes(std::size_t k) {
  return (num_groups(k) * (kGroupSize + sizeof(float) + sizeof(std::int32_t)) + 63) / 64 * 64;
}

struct QuantizeRowsArgs {
  const float* x;  // (m, k), rows x_stride floats apart
  std::size_t x_stride;
  std::size_t m, k;
  QuantType w_type;
  std::byte* out;  // m rows of quantized_row_bytes(k), 64-byte aligned
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
  // that is not.
  void (*pack_panel)(const float* w, std::size_t columns, std::size_t k, QuantType type, std::byte* panel);
};

// A group whose largest magnitude is below this counts as zero: the inverse of its scale would overflow.
inline constexpr float kSmallestGroupMaximum = 1e-30f;

}  // namespace kvasir::kernels
