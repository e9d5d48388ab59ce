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

float kv_value(const AttentionArgs& args, const std::byte* tile, int i) {
  return args.kv_type == KvType::kF32 ? reinterpret_cast<const float*>(tile)[i]
                                      : f16_to_f32(reinterpret_cast<const std::uint16_t*>(tile)[i]);
}

void attend(const AttentionArgs& args, int row) {
  const float* q = args.q[row];
  float* out = args.out[row];
  float max = -std::numeric_limits<float>::infinity();
  float sum = 0;
  for (int d = 0; d < args.head_dim; ++d) out[d] = 0;
  for (int tile = 0; tile * kTileTokens <= args.position[row]; ++tile) {
    const std::byte* block = args.blocks[tile / args.tiles_per_block];
    const std::size_t offset = static_cast<std::size_t>(tile % args.tiles_per_block) * args.tile_bytes;
    const std::byte* k = block + args.k_offset + offset;
    const std::byte* v = block + args.v_offset + offset;
    // Keys after the query have no part in it: what lies there may be NaN.
    const int num_keys = std::min(kTileTokens, args.position[row] + 1 - tile * kTileTokens);

    float scores[kTileTokens] = {};
    float new_max = max;
    for (int j = 0; j < num_keys; ++j) {
      for (int d = 0; d < args.head_dim; ++d) {
        scores[j] = std::fma(q[d], kv_value(args, k, d * kTileTokens + j), scores[j]);
      }
      scores[j] *= args.scale;
      if (scores[j] > new_max) new_max = scores[j];
    }
    float p[kTileTokens] = {};
    for (int j = 0; j < num_keys; ++j) p[j] = exponential(scores[j] - new_max);
    const float rescale = exponential(max - new_max);  // 0 at the first tile
    for (int d = 0; d < args.head_dim; ++d) {
      out[d] *= rescale;
      for (int j = 0; j < num_keys; ++j)
        out[d] = std::fma(p[j], kv_value(args, v, j * args.head_dim + d), out[d]);
    }
    sum = std::fma(sum, rescale, sum_lanes(p));
    max = new_max;
  }
  for (int d = 0; d < args.head_dim; ++d) out[d] /= sum;
}

void attention(const AttentionArgs& args) {
  for (int row = 0; row < args.num_rows; ++row) attend(args, row);
}

void silu_mul(const float* gate, const float* up, float* out, std::size_t count) {
  for (std::size_t i = 0; i < count; ++i) out[i] = gate[i] / (1.0f + exponential(-gate[i])) * up[i];
}

}  // namespace

const KernelTable& scalar_kernels() {
  static const KernelTable table = {"scalar", gemm, attention, silu_mul, scalar_quant_kernels()};
  return table;
}

}  // namespace kvasir::kernels
