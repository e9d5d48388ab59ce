// The reference: the plainest loops, never optimised. They define the bits of every table.

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstdint>
#include <iterator>
#include <limits>

#include "kernels/exp_constants.h"
#include "kernels/float_formats.h"
#include "kernels/kernels.h"
#include "kernels/quant_scalar.h"

namespace kvasir::kernels {
namespace {

constexpr std::size_t kLanes = 16;

float sum_lanes(float lanes[kLanes]) {
  for (std::size_t step = kLanes / 2; step > 0; step /= 2) {
    for (std::size_t i = 0; i < step; ++i) lanes[i] += lanes[i + step];
  }
  return lanes[0];
}

float weight(const GemmArgs& args, std::size_t row, std::size_t k) {
  const std::size_t i = row * args.k + k;
  switch (args.w_type) {
    case WeightType::kF32:
      return static_cast<const float*>(args.w)[i];
    case WeightType::kF16:
      return f16_to_f32(static_cast<const std::uint16_t*>(args.w)[i]);
    case WeightType::kBf16:
      return bf16_to_f32(static_cast<const std::uint16_t*>(args.w)[i]);
  }
  return 0;
}

void gemm(const GemmArgs& args) {
  const std::size_t padded_k = (args.k + kLanes - 1) / kLanes * kLanes;
  for (std::size_t row = 0; row < args.m; ++row) {
    for (std::size_t column = 0; column < args.n; ++column) {
      float lanes[kLanes] = {};
      for (std::size_t k = 0; k < padded_k; ++k) {
        const float x = k < args.k ? args.x[row * args.x_stride + k] : 0;
        const float w = k < args.k ? weight(args, column, k) : 0;
        lanes[k % kLanes] = std::fma(x, w, lanes[k % kLanes]);
      }
      const float dot = sum_lanes(lanes);
      args.y[row * args.y_stride + column] = args.bias == nullptr ? dot : dot + args.bias[column];
    }
  }
}

float tanh_of(float x) {
  return 1.0f - 2.0f / (exponential(2.0f * x) + 1.0f);
}

float kv_value(const AttentionArgs& args, const std::byte* tile, int i) {
  switch (args.kv_type) {
    case KvType::kF32:
      return reinterpret_cast<const float*>(tile)[i];
    case KvType::kF16:
      return f16_to_f32(reinterpret_cast<const std::uint16_t*>(tile)[i]);
    case KvType::kQ8:
      return reinterpret_cast<const std::int8_t*>(tile)[i];
  }
  return 0;
}

// What multiplies the tile's values of a token.
float kv_scale(const AttentionArgs& args, const std::byte* tile, int token) {
  if (args.kv_type != KvType::kQ8) return 1;
  return f16_to_f32(reinterpret_cast<const std::uint16_t*>(tile + args.head_dim * kTileTokens)[token]);
}

// For x <= 0.
float exp2_of(float x) {
  if (x < kExp2Min) return 0;
  const float t = x + kExpRound;
  const float r = x - (t - kExpRound);
  float p = kExp2Polynomial[0];
  for (std::size_t i = 1; i < std::size(kExp2Polynomial); ++i) p = std::fma(p, r, kExp2Polynomial[i]);
  return std::bit_cast<float>(std::bit_cast<std::uint32_t>(p) + (std::bit_cast<std::uint32_t>(t) << 23));
}

// Takes the row's keys [first, first + num_keys) of one span.
void attend_span(const AttentionArgs& args, int first, int num_keys, AttentionRow& row) {
  const float scale = args.soft_cap == 0 ? args.scale * kLog2E : args.scale / args.soft_cap;
  const int num_hidden = std::max(0, row.first_key - first);  // keys of the span before the row's first
  const auto tile_of = [&](int j, std::size_t head_offset) {
    const int tile = (first + j) / kTileTokens;
    return args.blocks[tile / args.tiles_per_block] +
           static_cast<std::size_t>(tile % args.tiles_per_block) * args.tile_bytes + head_offset;
  };
  float scores[kSpanTokens] = {};
  float max = row.max;
  for (int j = num_hidden; j < num_keys; ++j) {
    const std::byte* k = tile_of(j, args.k_offset);
    for (int d = 0; d < args.head_dim; ++d) {
      scores[j] = std::fma(row.q[d] * scale, kv_value(args, k, d * kTileTokens + j % kTileTokens), scores[j]);
    }
    scores[j] *= kv_scale(args, k, j % kTileTokens);
    if (args.soft_cap != 0) scores[j] = args.soft_cap * kLog2E * tanh_of(scores[j]);
    max = std::max(max, scores[j]);
  }
  float weights[kSpanTokens] = {};
  float lanes[kLanes] = {};
  for (int j = num_hidden; j < num_keys; ++j) {
    weights[j] = exp2_of(scores[j] - max);
    lanes[j % kLanes] += weights[j];
    weights[j] *= kv_scale(args, tile_of(j, args.v_offset), j % kTileTokens);
  }
  const float rescale = exp2_of(row.max - max);  // 0 at the first span
  row.sum = std::fma(row.sum, rescale, sum_lanes(lanes));
  row.max = max;
  for (int d = 0; d < args.head_dim; ++d) {
    row.out[d] *= rescale;
    for (int j = 0; j < num_keys; ++j) {
      const std::byte* v = tile_of(j, args.v_offset);
      row.out[d] = std::fma(weights[j], kv_value(args, v, j % kTileTokens * args.head_dim + d), row.out[d]);
    }
  }
}

void attend(const AttentionArgs& args, AttentionRow& row) {
  const int end_key = std::min(args.end_key, row.num_keys);
  for (int first = args.first_key; first < end_key; first += kSpanTokens) {
    if (row.first_key >= first + kSpanTokens) continue;
    // Keys after the query have no part in it: what lies there may be NaN.
    attend_span(args, first, std::min(kSpanTokens, end_key - first), row);
  }
  if (args.first_key < row.num_keys && row.num_keys <= args.end_key) {
    for (int d = 0; d < args.head_dim; ++d) row.out[d] /= row.sum;
  }
}

void attention(const AttentionArgs& args) {
  for (int i = 0; i < args.num_rows; ++i) attend(args, args.rows[i]);
}

float gelu(float x) {
  const float t = 1.0f / std::fma(kErfcSlope, std::abs(x) * kHalfSqrt2, 1.0f);
  float p = kErfcPolynomial[0];
  for (std::size_t i = 1; i < std::size(kErfcPolynomial); ++i) p = std::fma(p, t, kErfcPolynomial[i]);
  const float below = exponential(x * x * -0.5f) * (t * p * 0.5f);
  return x * (x < 0 ? below : 1.0f - below);
}

float activation_of(Activation activation, float x) {
  switch (activation) {
    case Activation::kSilu:
      return x / (1.0f + exponential(-x));
    case Activation::kGelu:
      return gelu(x);
    case Activation::kGeluTanh:
      return x / (1.0f + exponential(-(x * std::fma(x * x, kGeluTanhCubic, kGeluTanhLinear))));
  }
  return 0;
}

void activate(Activation activation, const float* x, const float* up, float* out, std::size_t count) {
  for (std::size_t i = 0; i < count; ++i) {
    const float value = activation_of(activation, x[i]);
    out[i] = up == nullptr ? value : value * up[i];
  }
}

void soft_cap(float* x, float cap, std::size_t count) {
  for (std::size_t i = 0; i < count; ++i) x[i] = cap * tanh_of(x[i] / cap);
}

}  // namespace

float exponential(float x) {
  if (x < kExpMin) return 0;
  if (x > kExpMax) return std::numeric_limits<float>::infinity();
  const float t = std::fma(x, kLog2E, kExpRound);
  const float n = t - kExpRound;
  const float r = std::fma(n, -kLn2Low, std::fma(n, -kLn2High, x));
  float p = kExpPolynomial[0];
  for (std::size_t i = 1; i < std::size(kExpPolynomial); ++i) p = std::fma(p, r, kExpPolynomial[i]);
  return p * std::bit_cast<float>((std::bit_cast<std::uint32_t>(t) + 127u) << 23);
}

const KernelTable& scalar_kernels() {
  static const KernelTable table = {"scalar", gemm, attention, activate, soft_cap, scalar_quant_kernels()};
  return table;
}

}  // namespace kvasir::kernels
