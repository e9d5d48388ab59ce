// The operations of CpuBackend that write and read KV blocks.

#include <algorithm>
#include <array>
#include <cmath>
#include <limits>

#include "backend/cpu_backend.h"
#include "kernels/float_formats.h"
#include "kernels/kernels.h"

namespace kvasir::backend {
namespace {

// Where one layer's K and V lie in a block, in bytes.
struct LayerPlace {
  LayerPlace(const KvLayout& layout, int layer)
      : head_bytes(kernels::kv_tile_bytes(kv_type(layout.dtype), layout.head_dim)),
        tile_bytes(head_bytes * layout.num_kv_heads),
        k(2 * tile_bytes * (layout.block_size / kernels::kTileTokens) * layer),
        v(k + tile_bytes * (layout.block_size / kernels::kTileTokens)) {}

  std::size_t head_bytes;  // of a tile
  std::size_t tile_bytes;
  std::size_t k, v;  // of the first tile
};

// Stores values[d] at element first + d * stride of a tile.
void store_q8(std::byte* tile, const float* values, int count, std::size_t first, std::size_t stride,
              std::uint16_t* scale) {
  float largest = 0;
  for (int d = 0; d < count; ++d) largest = std::max(largest, std::abs(values[d]));
  *scale = kernels::f32_to_f16(largest / 127);
  // With the scale as it will be read.
  const float inverse = 1 / kernels::f16_to_f32(*scale);
  auto* to = reinterpret_cast<std::int8_t*>(tile) + first;
  for (int d = 0; d < count; ++d, to += stride) {
    const float value = std::clamp(std::nearbyint(values[d] * inverse), -127.0f, 127.0f);
    *to = std::isnan(value) ? 0 : static_cast<std::int8_t>(value);
  }
}

// Stores a token's values[d] of one head at element first + d * stride of a tile.
void store_values(std::byte* tile, const float* values, int head_dim, std::size_t lane, std::size_t first,
                  std::size_t stride, KvDtype dtype) {
  switch (dtype) {
    case KvDtype::kF32:
      for (int d = 0; d < head_dim; ++d) reinterpret_cast<float*>(tile)[first + d * stride] = values[d];
      return;
    case KvDtype::kF16:
      for (int d = 0; d < head_dim; ++d) {
        reinterpret_cast<std::uint16_t*>(tile)[first + d * stride] = kernels::f32_to_f16(values[d]);
      }
      return;
    case KvDtype::kQ8:
      auto* scales = reinterpret_cast<std::uint16_t*>(tile + std::size_t{kernels::kTileTokens} * head_dim);
      return store_q8(tile, values, head_dim, first, stride, scales + lane);
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
      for (int h = 0; h < layout.num_kv_heads; ++h, tile += place.head_bytes, from += head_dim) {
        store_values(tile + place.k, k + from, layout.head_dim, lane, lane, kernels::kTileTokens,
                     layout.dtype);
        store_values(tile + place.v, v + from, layout.head_dim, lane, lane * head_dim, 1, layout.dtype);
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
  layer_args.kv_type = kv_type(layout.dtype);
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
