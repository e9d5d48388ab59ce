// The operations of CpuBackend that write and read KV blocks.

#include <algorithm>
#include <array>
#include <limits>

#include "backend/cpu_backend.h"
#include "kernels/float_formats.h"
#include "kernels/kernels.h"

namespace kvasir::backend {
namespace {

constexpr int kRowGrain = 16;

// Where one layer's K and V lie in a block, in bytes.
struct LayerPlace {
  LayerPlace(const KvLayout& layout, int layer)
      : element_bytes(layout.dtype == KvDtype::kF32 ? 4 : 2),
        head_bytes(static_cast<std::size_t>(layout.head_dim) * kernels::kTileTokens * element_bytes),
        tile_bytes(head_bytes * layout.num_kv_heads),
        k(2 * tile_bytes * (layout.block_size / kernels::kTileTokens) * layer),
        v(k + tile_bytes * (layout.block_size / kernels::kTileTokens)) {}

  std::size_t element_bytes;
  std::size_t head_bytes;  // of a tile
  std::size_t tile_bytes;
  std::size_t k, v;  // of the first tile
};

void store_kv_element(std::byte* tile, std::size_t i, float value, KvDtype dtype) {
  if (dtype == KvDtype::kF32) {
    reinterpret_cast<float*>(tile)[i] = value;
  } else {
    reinterpret_cast<std::uint16_t*>(tile)[i] = kernels::f32_to_f16(value);
  }
}

// The first key that the row of a position sees.
int first_key_of(int position, int window) {
  return window == 0 ? 0 : std::max(0, position + 1 - window);
}

// Where the span begins with the first key that a row of the pieces sees.
int first_span(std::span<const AttentionPlan::Piece> pieces, int window) {
  if (window == 0) return 0;
  int first_position = pieces.front().start_position;
  for (const AttentionPlan::Piece& piece : pieces) {
    first_position = std::min(first_position, piece.start_position);
  }
  return first_key_of(first_position, window) / kernels::kSpanTokens * kernels::kSpanTokens;
}

}  // namespace

void CpuBackend::store_kv(const float* k, const float* v, int layer, std::span<const std::int64_t> slots,
                          KvPool& kv) {
  const KvLayout& layout = kv.layout();
  const LayerPlace place(layout, layer);
  const std::size_t head_dim = layout.head_dim;
  pool_.parallel_for(static_cast<int>(slots.size()), kRowGrain, [&](int begin, int end, int) {
    for (std::size_t row = begin; row < static_cast<std::size_t>(end); ++row) {
      if (slots[row] < 0) continue;
      const BlockId block{static_cast<std::int32_t>(slots[row] / layout.block_size)};
      const std::size_t in_block = slots[row] % layout.block_size;
      const std::size_t lane = in_block % kernels::kTileTokens;
      std::byte* tile = kv.block(block).data() + in_block / kernels::kTileTokens * place.tile_bytes;
      std::size_t from = row * layout.num_kv_heads * head_dim;
      for (int h = 0; h < layout.num_kv_heads; ++h, tile += place.head_bytes) {
        for (std::size_t d = 0; d < head_dim; ++d, ++from) {
          store_kv_element(tile + place.k, d * kernels::kTileTokens + lane, k[from], layout.dtype);
          store_kv_element(tile + place.v, lane * head_dim + d, v[from], layout.dtype);
        }
      }
    }
  });
}

void CpuBackend::attention(const float* q, const AttentionPlan& plan, int layer, const KvPool& kv,
                           const AttentionOptions& options, float* out) {
  const KvLayout& layout = kv.layout();
  const LayerPlace place(layout, layer);
  const std::size_t head_dim = layout.head_dim;
  constexpr std::size_t kLine = 64 / sizeof(float);
  const std::size_t worker_floats =
      (kernels::attention_scratch_floats(layout.head_dim) + kLine - 1) / kLine * kLine;
  attention_scratch_.resize(worker_floats * pool_.num_threads() * sizeof(float));
  auto* scratch = reinterpret_cast<float*>(attention_scratch_.data());

  kernels::AttentionArgs layer_args;
  layer_args.tiles_per_block = layout.block_size / kernels::kTileTokens;
  layer_args.tile_bytes = place.tile_bytes;
  layer_args.kv_type = layout.dtype == KvDtype::kF32 ? kernels::KvType::kF32 : kernels::KvType::kF16;
  layer_args.head_dim = layout.head_dim;
  layer_args.scale = options.scale;
  layer_args.soft_cap = options.soft_cap;

  pool_.parallel_for(plan.num_items(), 1, [&](int begin, int end, int worker) {
    std::array<kernels::AttentionRow, kernels::kMaxAttentionRows> rows;
    kernels::AttentionArgs args = layer_args;
    args.scratch = scratch + worker * worker_floats;
    for (int i = begin; i < end; ++i) {
      const AttentionPlan::Item item = plan.item(i);
      kernels::AttentionRow* row = rows.data();
      for (const AttentionPlan::Piece& piece : item.pieces) {
        for (int token = 0; token < piece.num_rows; ++token) {
          const std::size_t first_head =
              static_cast<std::size_t>(piece.first_row + token) * plan.num_heads() + item.first_head;
          for (int head = 0; head < item.num_heads; ++head, ++row) {
            row->q = q + (first_head + head) * head_dim;
            row->out = out + (first_head + head) * head_dim;
            row->num_keys = piece.start_position + token + 1;
            row->first_key = first_key_of(piece.start_position + token, options.window);
            row->max = -std::numeric_limits<float>::infinity();
            row->sum = 0;
            std::fill_n(row->out, head_dim, 0.0f);
          }
        }
      }
      args.k_offset = place.k + item.kv_head * place.head_bytes;
      args.v_offset = place.v + item.kv_head * place.head_bytes;
      AttentionPlan::for_each_run(
          item.pieces, [&](std::span<const AttentionPlan::Piece> pieces, int first_key, int end_key) {
            first_key = std::max(first_key, first_span(pieces, options.window));
            if (first_key >= end_key) return;
            const AttentionPlan::Piece& first = pieces.front();
            const AttentionPlan::Piece& last = pieces.back();
            args.rows = rows.data() + first.rows_before * item.num_heads;
            args.num_rows = (last.rows_before + last.num_rows - first.rows_before) * item.num_heads;
            args.first_key = first_key;
            args.end_key = end_key;
            args.blocks = plan.blocks(first);
            kernels_.attention(args);
          });
    }
  });
}

}  // namespace kvasir::backend
