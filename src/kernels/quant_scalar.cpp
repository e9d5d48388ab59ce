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

const std::byte* scales_of(const std::byte* panel, std::size_t k, QuantType type) {
  return panel + num_groups(k) * group_bytes(type);
}

// The weight of one column at one k, without its scale.
int weight_at(const std::byte* panel, std::size_t column, std::size_t at, QuantType type) {
  const std::byte* group = panel + at / kGroupSize * group_bytes(type);
  const std::size_t quad = at % kGroupSize / 4;
  if (type == QuantType::kQ8_0) return static_cast<int>(group[quad * 64 + column * 4 + at % 4]) - 128;
  const int both = static_cast<int>(group[quad % 4 * 64 + column * 4 + at % 4]);
  return (quad < 4 ? both & 15 : both >> 4) - 8;
}

float scale_at(const std::byte* panel, std::size_t column, std::size_t group, std::size_t k, QuantType type) {
  std::uint16_t half;
  std::memcpy(&half, scales_of(panel, k, type) + group * kGroupScaleBytes + column * 2, sizeof half);
  return f16_to_f32(half);
}

struct QuantizedRow {
  QuantizedRow(const std::byte* row, std::size_t k)
      : x(reinterpret_cast<const std::int8_t*>(row)),
        scale(reinterpret_cast<const float*>(row + num_groups(k) * kGroupSize)) {}
  const std::int8_t* x;
  const float* scale;
};

void quantize_rows(const QuantizeRowsArgs& args) {
  const std::size_t groups = num_groups(args.k);
  for (std::size_t row = 0; row < args.m; ++row) {
    quantize_row(args.x + row * args.x_stride, args.k, 0, groups, args.w_type,
                 args.out + row * quantized_row_bytes(args.k));
  }
}

void gemm(const QuantGemmArgs& args) {
  for (std::size_t row = 0; row < args.m; ++row) {
    const QuantizedRow x(args.x + row * quantized_row_bytes(args.k), args.k);
    for (std::size_t j = 0; j < args.n; ++j) {
      const std::byte* panel = args.w + j / kPanelColumns * panel_bytes(args.w_type, args.k);
      const std::size_t column = j % kPanelColumns;
      float sum = 0;
      for (std::size_t g = 0; g < num_groups(args.k); ++g) {
        int dot = 0;
        for (std::size_t at = g * kGroupSize; at < (g + 1) * kGroupSize; ++at) {
          dot += weight_at(panel, column, at, args.w_type) * x.x[at];
        }
        const float scale = scale_at(panel, column, g, args.k, args.w_type) * x.scale[g];
        sum = std::fma(static_cast<float>(dot), scale, sum);
      }
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
  auto* corrections = reinterpret_cast<std::int32_t*>(scales + groups);
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
    int sum = 0;
    for (std::size_t i = 0; i < kGroupSize; ++i) {
      const int q = i < count && is_finite ? static_cast<int>(std::nearbyint(x[begin + i] * inverse)) : 0;
      out[begin + i] = static_cast<std::int8_t>(q);
      sum += q;
    }
    scales[g] = !is_finite ? NAN : is_zero ? 0 : largest / 127.0f;
    corrections[g] = -weight_offset(w_type) * sum;
  }
}

const QuantKernels& scalar_quant_kernels() {
  return kKernels;
}

void unpack_column(const std::byte* panel, std::size_t column, std::size_t k, QuantType type, float* out) {
  for (std::size_t g = 0; g < num_groups(k); ++g) {
    const float scale = scale_at(panel, column, g, k, type);
    const std::size_t end = std::min(k, (g + 1) * kGroupSize);
    for (std::size_t at = g * kGroupSize; at < end; ++at) {
      out[at] = scale * static_cast<float>(weight_at(panel, column, at, type));
    }
  }
}

}  // namespace kvasir::kernels
