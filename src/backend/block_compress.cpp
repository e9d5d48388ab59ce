// Rounding of weights to the block types of GGUF files.

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstring>

#include "backend/block_types.h"
#include "base/check.h"
#include "kernels/float_formats.h"

namespace kvasir::backend {
namespace {

using Byte = std::uint8_t;

constexpr int kGroups = kSuperBlockWeights / kBlockWeights;
constexpr int kMaxQ4 = 15, kMaxScale = 63;

void store_half(float value, Byte* to) {
  const std::uint16_t bits = kernels::f32_to_f16(value);
  std::memcpy(to, &bits, sizeof bits);
}

// The value of largest magnitude, the first of equals; one that is not finite wins.
float extreme(const float* w, int count) {
  float result = 0;
  for (int i = 0; i < count; ++i) {
    if (!std::isfinite(w[i])) return w[i];
    if (std::abs(w[i]) > std::abs(result)) result = w[i];
  }
  return result;
}

void compress_q8_0(const float* w, Byte* block) {
  const float largest = std::abs(extreme(w, kBlockWeights)), d = largest / 127;
  const float inverse = d > 0 && std::isfinite(d) ? 1 / d : 0;
  store_half(d, block);
  for (int i = 0; i < kBlockWeights; ++i) {
    const float value = inverse == 0 ? 0 : w[i] * inverse;
    block[2 + i] = static_cast<Byte>(static_cast<std::int8_t>(std::round(value)));
  }
}

void compress_q4_0(const float* w, Byte* block) {
  const float d = extreme(w, kBlockWeights) / -8;
  const float inverse = d != 0 && std::isfinite(d) ? 1 / d : 0;
  store_half(d, block);
  const auto round_4 = [&](float value) {
    return inverse == 0 ? 8 : std::clamp(static_cast<int>(value * inverse + 8.5f), 0, kMaxQ4);
  };
  for (int i = 0; i < kBlockWeights / 2; ++i) {
    block[2 + i] = static_cast<Byte>(round_4(w[i]) | round_4(w[i + kBlockWeights / 2]) << 4);
  }
}

// A group as step * q - minimum, q from 0 to 15 and both not negative.
struct Line {
  float step = 0, minimum = 0;
};

int nearest_q(float value, Line line) {
  if (line.step <= 0) return 0;
  return std::clamp(static_cast<int>(std::lround((value + line.minimum) / line.step)), 0, kMaxQ4);
}

// The line nearest to the group, in the sense of least squares, for the integers that `guess` rounds to.
Line fit(const float* w, Line guess) {
  double sum_q = 0, sum_qq = 0, sum_w = 0, sum_qw = 0;
  for (int i = 0; i < kBlockWeights; ++i) {
    const int q = nearest_q(w[i], guess);
    sum_q += q;
    sum_qq += q * q;
    sum_w += w[i];
    sum_qw += q * w[i];
  }
  const double determinant = kBlockWeights * sum_qq - sum_q * sum_q;
  if (determinant <= 0) return guess;
  double step = (kBlockWeights * sum_qw - sum_q * sum_w) / determinant;
  double minimum = (sum_q * step - sum_w) / kBlockWeights;
  if (minimum < 0) {
    minimum = 0;
    step = sum_qq > 0 ? sum_qw / sum_qq : 0;
  }
  if (step <= 0) return guess;
  return {static_cast<float>(step), static_cast<float>(minimum)};
}

double squared_error(const float* w, Line line) {
  double sum = 0;
  for (int i = 0; i < kBlockWeights; ++i) {
    const double difference = line.step * nearest_q(w[i], line) - line.minimum - w[i];
    sum += difference * difference;
  }
  return sum;
}

// Of the lines fitted from several steps near range / 15 the one with the smallest error.
Line best_line(const float* w) {
  const float low = std::min(0.0f, *std::min_element(w, w + kBlockWeights));
  const float high = std::max(low, *std::max_element(w, w + kBlockWeights));
  Line best = {(high - low) / kMaxQ4, -low};
  if (best.step <= 0) return best;
  double least = squared_error(w, best);
  for (float levels = kMaxQ4 - 1.0f; levels <= kMaxQ4 + 1.0f; levels += 0.25f) {
    const Line candidate = fit(w, {(high - low) / levels, -low});
    const double error = squared_error(w, candidate);
    if (error < least) {
      least = error;
      best = candidate;
    }
  }
  return best;
}

// value as a multiple of a unit, from 0 to 63.
int to_scale(float value, float unit) {
  return unit > 0 ? std::clamp(static_cast<int>(std::lround(value / unit)), 0, kMaxScale) : 0;
}

void compress_q4_k(const float* w, Byte* block) {
  std::memset(block, 0, 144);
  const float largest = extreme(w, kSuperBlockWeights);
  if (!std::isfinite(largest)) return store_half(largest, block);
  Line lines[kGroups], units;
  for (int g = 0; g < kGroups; ++g) {
    lines[g] = best_line(w + g * kBlockWeights);
    units.step = std::max(units.step, lines[g].step / kMaxScale);
    units.minimum = std::max(units.minimum, lines[g].minimum / kMaxScale);
  }
  store_half(units.step, block);
  store_half(units.minimum, block + 2);
  // What the file will say.
  units = {kernels::f16_to_f32(kernels::f32_to_f16(units.step)),
           kernels::f16_to_f32(kernels::f32_to_f16(units.minimum))};
  Byte *scales = block + 4, *quants = block + 16;
  for (int g = 0; g < kGroups; ++g) {
    const int step = to_scale(lines[g].step, units.step), minimum = to_scale(lines[g].minimum, units.minimum);
    if (g < 4) {
      scales[g] |= static_cast<Byte>(step);
      scales[g + 4] |= static_cast<Byte>(minimum);
    } else {
      scales[g + 4] = static_cast<Byte>((step & 15) | (minimum & 15) << 4);
      scales[g - 4] |= static_cast<Byte>(step >> 4 << 6);
      scales[g] |= static_cast<Byte>(minimum >> 4 << 6);
    }
    const Line line = {units.step * static_cast<float>(step), units.minimum * static_cast<float>(minimum)};
    for (int i = 0; i < kBlockWeights; ++i) {
      quants[g / 2 * kBlockWeights + i] |=
          static_cast<Byte>(nearest_q(w[g * kBlockWeights + i], line) << (g % 2 * 4));
    }
  }
}

void compress_f32(const float* w, Byte* block) {
  std::memcpy(block, w, sizeof *w);
}

void compress_f16(const float* w, Byte* block) {
  store_half(*w, block);
}

void compress_bf16(const float* w, Byte* block) {
  const std::uint16_t bits = kernels::f32_to_bf16(*w);
  std::memcpy(block, &bits, sizeof bits);
}

using Compress = void (*)(const float* w, Byte* block);

Compress function_of(BlockType type) {
  switch (type) {
    case BlockType::kF32:
      return compress_f32;
    case BlockType::kF16:
      return compress_f16;
    case BlockType::kBf16:
      return compress_bf16;
    case BlockType::kQ8_0:
      return compress_q8_0;
    case BlockType::kQ4_0:
      return compress_q4_0;
    case BlockType::kQ4_K:
      return compress_q4_k;
    default:
      return nullptr;
  }
}

}  // namespace

bool can_compress(BlockType type) {
  return function_of(type) != nullptr;
}

void compress(BlockType type, const float* weights, std::size_t num_blocks, std::byte* blocks) {
  const Compress compress_block = function_of(type);
  KVASIR_CHECK(compress_block != nullptr);
  const BlockSize size = block_size(type);
  auto* to = reinterpret_cast<Byte*>(blocks);
  for (std::size_t i = 0; i < num_blocks; ++i)
    compress_block(weights + i * size.weights, to + i * size.bytes);
}

}  // namespace kvasir::backend
