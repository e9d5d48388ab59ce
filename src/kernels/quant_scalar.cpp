// The reference of products with quantised weights.

#include "kernels/quant_scalar.h"

#include <algorithm>
#include <cmath>
#include <cstring>

#include "kernels/float_formats.h"
#include "kernels/quant.h"
#include "kernels/quant_pack-inl.h"

namespace kvasir::kernels {
namespace {

// The column's byte of each line of a quad that holds the bits of one k.
int byte_at(const std::byte* group, std::size_t line, std::size_t column, std::size_t at) {
  return static_cast<int>(group[line * kLineBytes + column * 4 + at % 4]);
}

// q of one column at one k.
int weight_at(const std::byte* panel, std::size_t column, std::size_t at, QuantType type) {
  const std::byte* group = panel + at / kGroupSize * group_bytes(type);
  const std::size_t quad = at % kGroupSize / 4;
  if (type == QuantType::kQ8_0) return byte_at(group, quad, column, at) - weight_offset(type);
  const int both = byte_at(group, quad % 4, column, at);
  int q = quad < 4 ? both & 15 : both >> 4;
  if (type == QuantType::kQ5_K) q |= (byte_at(group, 4, column, at) >> quad & 1) << 4;
  if (type == QuantType::kQ6_K) q |= (byte_at(group, 4 + quad / 4, column, at) >> quad % 4 * 2 & 3) << 4;
  return q - weight_offset(type);
}

float half_at(const std::byte* from, std::size_t column) {
  std::uint16_t half;
  std::memcpy(&half, from + column * 2, sizeof half);
  return f16_to_f32(half);
}

// What a weight at one k is multiplied with, and what is subtracted then.
struct Scale {
  float scale, minimum = 0;
};
Scale scale_at(const std::byte* panel, std::size_t column, std::size_t at, std::size_t k, QuantType type) {
  const std::size_t group = at / kGroupSize;
  const std::byte* scales = panel + num_groups(k) * group_bytes(type);
  if (!has_super_blocks(type)) return {half_at(scales + group * kGroupScaleBytes, column)};
  const std::byte* super = scales + scales_begin(type, group / kSuperBlockGroups * kSuperBlockGroups);
  const std::byte* own =
      super + super_scale_bytes(type) + group % kSuperBlockGroups * kGroupScaleBytes + column;
  const float d = half_at(super, column);
  if (type == QuantType::kQ6_K)
    return {d * static_cast<float>(static_cast<std::int8_t>(own[at % kGroupSize / 16 * kPanelColumns]))};
  const float dmin = half_at(super + kGroupScaleBytes, column);
  return {d * static_cast<float>(own[0]), dmin * static_cast<float>(own[kPanelColumns])};
}

void quantize_rows(const QuantizeRowsArgs& args) {
  const std::size_t groups = num_groups(args.k);
  for (std::size_t row = 0; row < args.m; ++row) {
    quantize_row(args.x + row * args.x_stride, args.k, 0, groups, args.w_type,
                 args.out + row * quantized_row_bytes(args.w_type, args.k));
  }
}

// One element of a product: a row of x with a column of a panel.
float multiply(const std::byte* row, const std::byte* panel, std::size_t column, std::size_t k,
               QuantType type) {
  const std::size_t groups = num_groups(k), scale_weights = kGroupSize / scales_per_group(type);
  const auto* x = reinterpret_cast<const std::int8_t*>(row);
  const auto* x_scales = reinterpret_cast<const float*>(row + groups * kGroupSize);
  const float* factors = x_scales + groups;  // of minimums
  float sum = 0;
  for (std::size_t begin = 0; begin < groups * kGroupSize; begin += scale_weights) {
    int dot = 0;
    for (std::size_t at = begin; at < begin + scale_weights; ++at)
      dot += weight_at(panel, column, at, type) * x[at];
    const Scale w = scale_at(panel, column, begin, k, type);
    sum = std::fma(static_cast<float>(dot), w.scale * x_scales[begin / kGroupSize], sum);
    if (has_minimums(type)) sum = std::fma(w.minimum, factors[begin / kGroupSize], sum);
  }
  return sum;
}

void gemm(const QuantGemmArgs& args) {
  for (std::size_t row = 0; row < args.m; ++row) {
    const std::byte* x = args.x + row * quantized_row_bytes(args.w_type, args.k);
    for (std::size_t j = 0; j < args.n; ++j) {
      const std::byte* panel = args.w + j / kPanelColumns * panel_bytes(args.w_type, args.k);
      const float sum = multiply(x, panel, j % kPanelColumns, args.k, args.w_type);
      args.y[row * args.y_stride + j] = args.bias == nullptr ? sum : sum + args.bias[j];
    }
  }
}

constexpr QuantKernels kKernels = {quantize_rows, gemm, pack_panel};

}  // namespace

void quantize_row(const float* x, std::size_t k, std::size_t first_group, std::size_t end_group,
                  QuantType w_type, std::byte* row) {
  const std::size_t groups = num_groups(k);
  auto* out = reinterpret_cast<std::int8_t*>(row);
  auto* scales = reinterpret_cast<float*>(row + groups * kGroupSize);
  std::byte* corrections = row + groups * (kGroupSize + sizeof(float));
  for (std::size_t g = first_group; g < end_group; ++g) {
    const std::size_t begin = g * kGroupSize, count = std::min(kGroupSize, k - begin);
    float largest = 0;
    bool is_finite = true;
    for (std::size_t i = 0; i < count; ++i) {
      const float magnitude = std::abs(x[begin + i]);
      if (std::isnan(magnitude)) is_finite = false;
      largest = std::max(largest, magnitude);
    }
    const bool is_zero = is_finite && largest < kSmallestGroupMaximum;
    is_finite = is_finite && largest < INFINITY;
    const float inverse = is_zero || !is_finite ? 0 : 127.0f / largest;
    std::int32_t sums[2][2] = {};
    for (std::size_t i = 0; i < kGroupSize; ++i) {
      const int q = i < count && is_finite ? static_cast<int>(std::nearbyint(x[begin + i] * inverse)) : 0;
      out[begin + i] = static_cast<std::int8_t>(q);
      sums[i / 16][i % 4 / 2] += q;
    }
    scales[g] = !is_finite ? NAN : is_zero ? 0 : largest / 127.0f;
    store_corrections(w_type, scales[g], sums, corrections + g * scales_per_group(w_type) * 4);
  }
}

const QuantKernels& scalar_quant_kernels() {
  return kKernels;
}

void unpack_column(const std::byte* panel, std::size_t column, std::size_t k, QuantType type, float* out) {
  for (std::size_t at = 0; at < k; ++at) {
    const Scale w = scale_at(panel, column, at, k, type);
    out[at] = w.scale * static_cast<float>(weight_at(panel, column, at, type));
    if (has_minimums(type)) out[at] -= w.minimum;
  }
}

}  // namespace kvasir::kernels
