#pragma once

// The functions that need SIMD, behind one table per instruction set. They know arrays and shapes, not
// tensors, threads or models. Every table computes the same bits, those of the scalar reference (scalar.cpp):
// a dot product is accumulated in 16 lanes, lane j taking k = j mod 16 in order with fused multiply-adds and
// zeros beyond the end, and lanes are summed as a tree (i + 8, i + 4, i + 2, i + 1). No function has side
// effects beyond its outputs.

#include <cstddef>

#include "base/status.h"
#include "kernels/quant.h"

namespace kvasir::kernels {

enum class WeightType { kF32, kF16, kBf16 };
enum class KvType { kF32, kF16 };

// Size of GemmArgs::scratch, enough for every table.
inline constexpr std::size_t kGemmScratchFloats = 88 * 1024;

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
inline constexpr int kMaxAttentionRows = 8;

// Causal attention of up to 8 query rows (heads of one GQA group, of neighbouring tokens) over the keys of
// one KV head, tile by tile with an online softmax. A (query, tile) pair is treated the same whatever shares
// the call.
struct AttentionArgs {
  int num_rows;                       // 1 to kMaxAttentionRows
  const float* q[kMaxAttentionRows];  // (head_dim) each
  float* out[kMaxAttentionRows];      // (head_dim) each
  int position[kMaxAttentionRows];    // of each row's token: it sees keys [0, position]
  const std::byte* const* blocks;     // of the sequence, in order
  int tiles_per_block;
  std::size_t k_offset;    // bytes from a block's start to K (head_dim, 16) of its first tile
  std::size_t v_offset;    // the same for V (16, head_dim)
  std::size_t tile_bytes;  // from a tile to the next one, of K as of V
  KvType kv_type;
  int head_dim;
  float scale;  // multiplies q k
};

struct KernelTable {
  const char* isa;  // one of known_isas() (simd.h)
  void (*gemm)(const GemmArgs& args);
  void (*attention)(const AttentionArgs& args);
  // out = gate / (1 + exp(-gate)) * up, `count` floats; out may be gate or up.
  void (*silu_mul)(const float* gate, const float* up, float* out, std::size_t count);
  QuantKernels quant = {};  // products with weights of 8 and 4 bits
};

// The reference: plain loops, on every machine.
const KernelTable& scalar_kernels();

// The table named `isa`, or the fastest that this CPU runs when `isa` is null or empty.
// Errors: kUnsupported when the CPU or the build lacks it, kInvalidArgument when there is no such name.
Result<const KernelTable*> select_kernels(const char* isa);

}  // namespace kvasir::kernels
