// The reference of products with quantised weights, and what all instruction sets share: packing.

#include "kernels/quant_scalar.h"

#include <algorithm>
#include <cmath>
#include <cstring>

#include "kernels/float_formats.h"
#include "kernels/quant.h"

namespace kvasir::kernels {
namespace {

constexpr std::size_t kQuads = kGroupSize / 4;
// Steps that are tried for a group of 4 bits: extreme / -(8 + first + step * i).
constexpr int kNumSteps4 = 9;
constexpr float kFirstStep4 = -1.0f, kStep4 = 0.25f;

int offset_of(QuantType type) {
  return type == QuantType::kQ8_0 ? 128 : 8;
}

std::byte* scales_of(std::byte* panel, std::size_t k, QuantType type) {
  return panel + num_groups(k) * group_bytes(type);
}
const std::byte* scales_of(const std::byte* panel, std::size_t k, QuantType type) {
  return panel + num_groups(k) * group_bytes(type);
}

// Rounds `value`, which may be anything, to the nearest integer within [least, most]; NaN to `least`.
int round_within(float value, int least, int most) {
  if (!(value > static_cast<float>(least))) return least;
  if (value >= static_cast<float>(most)) return most;
  return static_cast<int>(value < 0 ? value - 0.5f : value + 0.5f);  // halves away from zero
}

// Rounds a group to integers with their offset; returns its scale.
std::uint16_t quantize_group_8(const float* w, std::size_t count, std::uint8_t* out) {
  float largest = 0;
  for (std::size_t i = 0; i < count; ++i) {
    if (std::isnan(w[i])) largest = w[i];
    if (std::abs(w[i]) > largest) largest = std::abs(w[i]);
  }
  const float scale = largest / 127.0f;
  const float inverse = scale != 0 ? 1.0f / scale : 0;
  for (std::size_t i = 0; i < kGroupSize; ++i) {
    const float value = i < count ? w[i] * inverse : 0;
    out[i] = static_cast<std::uint8_t>(round_within(value, -127, 127) + 128);
  }
  return f32_to_f16(scale);
}

// The same for 4 bits, where the rounding matters more: of several steps near extreme / -8 the one is taken
// that, with the best scale for the integers it gives, is nearest to the group in the sense of least squares.
std::uint16_t quantize_group_4(const float* w, std::size_t count, std::uint8_t* out) {
  float extreme = 0;  // the value of the largest magnitude
  for (std::size_t i = 0; i < count; ++i) {
    if (std::abs(w[i]) > std::abs(extreme) || std::isnan(w[i])) extreme = w[i];
    if (std::isnan(extreme)) break;
  }
  float values[kGroupSize] = {};
  std::copy_n(w, count, values);
  float best_gain = -1, best_scale = extreme / -8.0f;
  float best[kGroupSize] = {};
  if (std::abs(extreme) >= kSmallestGroupMaximum && std::abs(extreme) < INFINITY) {
    for (int step = 0; step < kNumSteps4; ++step) {
      const float inverse = -(8.0f + kFirstStep4 + kStep4 * static_cast<float>(step)) / extreme;
      float q[kGroupSize], dot = 0, norm = 0;
      for (std::size_t i = 0; i < kGroupSize; ++i) {
        // Adding and subtracting 1.5 * 2^23 rounds to the nearest integer.
        const float rounded = values[i] * inverse + 12582912.0f - 12582912.0f;
        q[i] = std::min(std::max(rounded, -8.0f), 7.0f);
      }
      for (std::size_t i = 0; i < kGroupSize; ++i) dot += q[i] * values[i];
      for (std::size_t i = 0; i < kGroupSize; ++i) norm += q[i] * q[i];
      // The squared distance to the group is its squared length less dot^2 / norm.
      const float gain = dot * dot / norm;
      if (gain > best_gain) {
        best_gain = gain;
        best_scale = dot / norm;
        std::copy_n(q, kGroupSize, best);
      }
    }
  }
  for (std::size_t i = 0; i < kGroupSize; ++i) out[i] = static_cast<std::uint8_t>(best[i] + 8.0f);
  return f32_to_f16(best_scale);
}

std::uint16_t quantize_group(const float* w, std::size_t count, QuantType type, std::uint8_t* out) {
  return type == QuantType::kQ8_0 ? quantize_group_8(w, count, out) : quantize_group_4(w, count, out);
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

constexpr QuantKernels kKernels = {quantize_rows, gemm};

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
    corrections[g] = -offset_of(w_type) * sum;
  }
}

const QuantKernels& scalar_quant_kernels() {
  return kKernels;
}

void pack_panel(const float* w, std::size_t columns, std::size_t k, QuantType type, std::byte* panel) {
  const std::size_t groups = num_groups(k);
  std::byte* scales = scales_of(panel, k, type);
  std::byte* const end = panel + panel_bytes(type, k);
  std::fill(scales, end, std::byte{0});
  for (std::size_t g = 0; g < groups; ++g) {
    std::byte* group = panel + g * group_bytes(type);
    const std::size_t begin = g * kGroupSize, count = std::min(kGroupSize, k - begin);
    for (std::size_t column = 0; column < kPanelColumns; ++column) {
      std::uint8_t q[kGroupSize];
      if (column < columns) {
        const std::uint16_t scale = quantize_group(w + column * k + begin, count, type, q);
        std::memcpy(scales + g * kGroupScaleBytes + column * 2, &scale, sizeof scale);
      } else {
        std::fill_n(q, kGroupSize, static_cast<std::uint8_t>(offset_of(type)));
      }
      if (type == QuantType::kQ4_0) {
        for (std::size_t i = 0; i < kGroupSize / 2; ++i)
          q[i] = static_cast<std::uint8_t>(q[i] | q[i + kGroupSize / 2] << 4);
      }
      const std::size_t num_quads = type == QuantType::kQ8_0 ? kQuads : kQuads / 2;
      for (std::size_t quad = 0; quad < num_quads; ++quad)
        std::memcpy(group + quad * 64 + column * 4, q + quad * 4, 4);
    }
  }
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
