#pragma once

// The functions that need SIMD, behind one table per instruction set. They know arrays and shapes, not
// tensors, threads or models. Every table computes the same bits, those of the scalar reference (scalar.cpp):
// a dot product is accumulated in 16 lanes, lane j taking k = j mod 16 in order with fused multiply-adds and
// zeros beyond the end, and lanes are summed as a tree (i + 8, i + 4, i + 2, i + 1). No function has side
// effects beyond its outputs.

#include <cstddef>
#include <cstdint>

#include "base/status.h"
#include "kernels/activation.h"
#include "kernels/quant.h"
#include "kernels/scratch.h"

namespace kvasir::kernels {

enum class WeightType { kF32, kF16, kBf16 };
// How keys and values are stored. kQ8: as integers from -127 to 127, behind which a tile has the f16 scale of
// each of its 16 tokens.
enum class KvType { kF32, kF16, kQ8 };

// y = x w^T + bias. The order over k depends on neither m nor n.
struct GemmArgs {
  const float* x;  // (m, k), rows x_stride floats apart
  std::size_t x_stride;
  const void* w;  // (n, k) as stored in the file, aligned to its element
  WeightType w_type;
  const float* bias;  // (n) or null
  float* y;           // (m, n), rows y_stride floats apart
  std::size_t y_stride;
  std::size_t m, n, k;
  float* scratch;  // kGemmScratchFloats, 64-byte aligned
};

// Tokens in a tile of K or V.
inline constexpr int kTileTokens = 16;
// Attention takes keys in spans of as many, at multiples of it.
inline constexpr int kSpanTokens = 64;
inline constexpr int kMaxAttentionRows = 128;

// Bytes of a tile of K or V of one head.
constexpr std::size_t kv_tile_bytes(KvType type, int head_dim) {
  const std::size_t count = static_cast<std::size_t>(head_dim) * kTileTokens;
  if (type == KvType::kQ8) return count + kTileTokens * sizeof(std::uint16_t);
  return count * (type == KvType::kF32 ? sizeof(float) : sizeof(std::uint16_t));
}

// Size of AttentionArgs::scratch: scores and scaled queries of all rows, and K or V of a span as floats.
constexpr std::size_t attention_scratch_floats(int head_dim) {
  const auto width = static_cast<std::size_t>(head_dim);
  return kMaxAttentionRows * (kSpanTokens + width) + kSpanTokens * (width + 32);
}

// One query, and its softmax so far.
struct AttentionRow {
  const float* q;  // (head_dim)
  float* out;     // (head_dim), zero at first; relative to max and not divided by the sum before the last key
  int first_key;  // it sees the keys [first_key, num_keys), at least one
  int num_keys;
  float max = -__builtin_inff();
  float sum = 0;
};

// Attention of rows over a range of the keys of one KV head, with an online softmax: per span of 64 keys a
// row's largest score so far becomes what all weights are relative to. A (row, span) pair is treated the same
// whatever shares the call, and calls for consecutive ranges give the bits of one call for all keys: so rows
// of several sequences may share the calls for the blocks that they have in common. A row takes no part in
// spans in which it sees nothing; in the span of its first key, the keys before that have a weight of zero.
// The values of keys before a row's first must be finite.
struct AttentionArgs {
  AttentionRow* rows;
  int num_rows;  // 1 to kMaxAttentionRows
  // The range. first_key is a multiple of kSpanTokens, and end_key is one or at least every row's num_keys.
  // Rows whose num_keys are in the range are complete afterwards.
  int first_key, end_key;
  const std::byte* const* blocks;  // of the sequence, in order
  int tiles_per_block;
  std::size_t k_offset;    // bytes from a block's start to K (head_dim, 16) of its first tile
  std::size_t v_offset;    // the same for V (16, head_dim)
  std::size_t tile_bytes;  // from a tile to the next one, of K as of V
  KvType kv_type;
  int head_dim;
  float scale;     // multiplies q k
  float soft_cap;  // scores become soft_cap * tanh(score / soft_cap); 0: they stay
  float* scratch;  // attention_scratch_floats(head_dim), 64-byte aligned
};

struct KernelTable {
  const char* isa;  // one of known_isas() (simd.h)
  void (*gemm)(const GemmArgs& args);
  void (*attention)(const AttentionArgs& args);
  // out = activation(x) * up, `count` floats; without up (null) activation(x). out may be x or up.
  void (*activate)(Activation activation, const float* x, const float* up, float* out, std::size_t count);
  // x = cap * tanh(x / cap), `count` floats.
  void (*soft_cap)(float* x, float cap, std::size_t count);
  QuantKernels quant = {};  // products with weights of 8 and 4 bits
};

// exp(x) as every table computes it.
float exponential(float x);

// The reference: plain loops, on every machine.
const KernelTable& scalar_kernels();

// The table named `isa`, or the fastest that this CPU runs when `isa` is null or empty.
// Errors: kUnsupported when the CPU or the build lacks it, kInvalidArgument when there is no such name.
Result<const KernelTable*> select_kernels(const char* isa);

}  // namespace kvasir::kernels
