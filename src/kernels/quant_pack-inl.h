#pragma once

// Rounding of weights, in loops that compilers vectorise: included by the files of several instruction sets,
// hence in an anonymous namespace and on plain headers only. All give the same panels.

#include <cstddef>
#include <cstdint>
#include <cstring>

#include "kernels/float_formats.h"
#include "kernels/quant.h"
#include "kernels/quant_layout-inl.h"

namespace kvasir::kernels {
namespace {

// Steps that are tried for a group of 4 bits: extreme / -(8 + first + step * i).
constexpr int kNumSteps4 = 9;
constexpr float kFirstStep4 = -1.0f, kStep4 = 0.25f;

inline std::uint32_t magnitude_bits(float value) {
  return __builtin_bit_cast(std::uint32_t, value) & 0x7FFFFFFFu;
}
inline std::uint32_t larger(std::uint32_t a, std::uint32_t b) {
  return a > b ? a : b;
}

// Eight floats, in whatever registers there are.
typedef float Eight __attribute__((vector_size(32)));
constexpr std::size_t kEight = 8;

inline float sum_of(const Eight& values) {
  return ((values[0] + values[4]) + (values[2] + values[6])) +
         ((values[1] + values[5]) + (values[3] + values[7]));
}

// The bits of a group's largest magnitude. As integers magnitudes have the order of the floats, with infinity
// and NaN at the top.
inline std::uint32_t largest_magnitude_bits(const float* w) {
  std::uint32_t largest = 0;
  for (std::size_t i = 0; i < kGroupSize; ++i) {
    largest = larger(largest, magnitude_bits(w[i]));
  }
  return largest;
}

// Rounds a group to integers with their offset, halves away from zero; returns its scale.
inline std::uint16_t quantize_group_8(const float* __restrict w, std::uint8_t* __restrict out) {
  const float largest = __builtin_bit_cast(float, largest_magnitude_bits(w));
  const float scale = largest / 127.0f;
  if (!(largest >= kSmallestGroupMaximum && largest < __builtin_inff())) {
    std::memset(out, 128, kGroupSize);
    return f32_to_f16(scale);
  }
  const float inverse = 1.0f / scale;
  for (std::size_t i = 0; i < kGroupSize; ++i) {
    const float value = w[i] * inverse;
    out[i] = static_cast<std::uint8_t>(static_cast<int>(value + __builtin_copysignf(0.5f, value)) + 128);
  }
  return f32_to_f16(scale);
}

// Rounds w * inverse to integers from -8 to 7; returns dot(q, w) and dot(q, q).
struct Products {
  float dot, norm;
};
inline Products round_4(const float* __restrict w, float inverse, float* __restrict q) {
  Eight dot = {}, norm = {};
  for (std::size_t i = 0; i < kGroupSize; i += kEight) {
    Eight value;
    std::memcpy(&value, w + i, sizeof value);
    // Adding and subtracting 1.5 * 2^23 rounds to the nearest integer.
    Eight rounded = value * inverse + 12582912.0f - 12582912.0f;
    rounded = rounded < -8.0f ? Eight{} - 8.0f : rounded;
    rounded = rounded > 7.0f ? Eight{} + 7.0f : rounded;
    std::memcpy(q + i, &rounded, sizeof rounded);
    dot += rounded * value;
    norm += rounded * rounded;
  }
  return {sum_of(dot), sum_of(norm)};
}

// The same for 4 bits, where the rounding matters more: of several steps near extreme / -8 the one is taken
// that, with the best scale for the integers it gives, is nearest to the group in the sense of least squares.
inline std::uint16_t quantize_group_4(const float* __restrict w, std::uint8_t* __restrict out) {
  const std::uint32_t largest = largest_magnitude_bits(w);
  const float magnitude = __builtin_bit_cast(float, largest);
  if (!(magnitude >= kSmallestGroupMaximum && magnitude < __builtin_inff())) {
    std::memset(out, 8, kGroupSize);
    return f32_to_f16(magnitude);
  }
  std::size_t at = 0;  // of the first value of that magnitude
  while (magnitude_bits(w[at]) != largest) ++at;
  float best_gain = -1, best_scale = 0, best_inverse = 0;
  float q[kGroupSize];
  for (int step = 0; step < kNumSteps4; ++step) {
    const float inverse = -(8.0f + kFirstStep4 + kStep4 * static_cast<float>(step)) / w[at];
    const Products products = round_4(w, inverse, q);
    // The squared distance to the group is its squared length less dot^2 / norm.
    const float gain = products.dot * products.dot / products.norm;
    if (gain > best_gain) {
      best_gain = gain;
      best_scale = products.dot / products.norm;
      best_inverse = inverse;
    }
  }
  round_4(w, best_inverse, q);
  for (std::size_t i = 0; i < kGroupSize; ++i) out[i] = static_cast<std::uint8_t>(static_cast<int>(q[i]) + 8);
  return f32_to_f16(best_scale);
}

// w: kGroupSize values.
inline std::uint16_t quantize_group(const float* w, QuantType type, std::uint8_t* out) {
  return type == QuantType::kQ8_0 ? quantize_group_8(w, out) : quantize_group_4(w, out);
}

// What QuantKernels::pack_panel promises.
inline void pack_panel(const float* w, std::size_t columns, std::size_t k, QuantType type, std::byte* panel) {
  const std::size_t groups = num_groups(k);
  std::byte* scales = panel + groups * group_bytes(type);
  std::memset(scales, 0, panel_bytes(type, k) - groups * group_bytes(type));
  for (std::size_t g = 0; g < groups; ++g) {
    std::byte* group = panel + g * group_bytes(type);
    const std::size_t begin = g * kGroupSize, count = k - begin < kGroupSize ? k - begin : kGroupSize;
    for (std::size_t column = 0; column < kPanelColumns; ++column) {
      std::uint8_t q[kGroupSize];
      if (column < columns) {
        const float* from = w + column * k + begin;
        float last[kGroupSize] = {};
        if (count < kGroupSize) from = static_cast<float*>(std::memcpy(last, from, count * sizeof(float)));
        const std::uint16_t scale = quantize_group(from, type, q);
        std::memcpy(scales + g * kGroupScaleBytes + column * 2, &scale, sizeof scale);
      } else {
        std::memset(q, weight_offset(type), sizeof q);
      }
      store_group(q, type, column, group);
    }
  }
}

}  // namespace
}  // namespace kvasir::kernels
