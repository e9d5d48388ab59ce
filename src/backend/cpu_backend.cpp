#include "backend/cpu_backend.h"

#include <algorithm>
#include <cmath>
#include <cstdlib>

#include "backend/for_pieces.h"
#include "kernels/float_formats.h"
#include "kernels/kernels.h"

namespace kvasir::backend {
namespace {

constexpr int kLanes = 16;
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

float mean_of_squares(const float* x, int count) {
  float lanes[kLanes] = {};
  int i = 0;
  for (; i + kLanes <= count; i += kLanes) {
    for (int lane = 0; lane < kLanes; ++lane) lanes[lane] += x[i + lane] * x[i + lane];
  }
  for (; i < count; ++i) lanes[i % kLanes] += x[i] * x[i];
  for (int step = kLanes / 2; step > 0; step /= 2) {
    for (int lane = 0; lane < step; ++lane) lanes[lane] += lanes[lane + step];
  }
  return lanes[0] / static_cast<float>(count);
}

}  // namespace

// Rows of neighbouring tokens and heads that read the same keys: one call of the attention kernel.
struct CpuBackend::AttentionItem {
  int run = 0;
  int first_row = 0, num_rows = 0;
  int first_head = 0, num_heads = 0;  // query heads, all of one KV head
  std::size_t blocks = 0;             // of the sequence, in block_pointers_
};

Result<std::unique_ptr<CpuBackend>> CpuBackend::create(ThreadPool& pool) {
  KVASIR_ASSIGN_OR_RETURN(const kernels::KernelTable* table,
                          kernels::select_kernels(std::getenv("KVASIR_ISA")));
  return std::unique_ptr<CpuBackend>(new CpuBackend(pool, *table));
}

CpuBackend::CpuBackend(ThreadPool& pool, const kernels::KernelTable& kernels)
    : pool_(pool), kernels_(kernels) {
  constexpr std::size_t kAlignment = 64 / sizeof(float);
  const std::size_t num_floats = pool.num_threads() * kernels::kGemmScratchFloats + kAlignment;
  scratch_memory_ = std::make_unique_for_overwrite<float[]>(num_floats);
  void* begin = scratch_memory_.get();
  std::size_t bytes = num_floats * sizeof(float);
  auto* aligned = static_cast<float*>(std::align(64, sizeof(float), begin, bytes));
  for (int i = 0; i < pool.num_threads(); ++i)
    gemm_scratch_.push_back(aligned + i * kernels::kGemmScratchFloats);
}

CpuBackend::~CpuBackend() = default;

const char* CpuBackend::isa() const {
  return kernels_.isa;
}

void CpuBackend::embed(const Matrix& table, std::span<const TokenId> tokens, float* out) {
  pool_.parallel_for(static_cast<int>(tokens.size()), kRowGrain, [&](int begin, int end, int) {
    for (int i = begin; i < end; ++i)
      read_row(table, tokens[i], out + static_cast<std::size_t>(i) * table.columns);
  });
}

void CpuBackend::rms_norm(const float* x, int rows, int columns, const float* weight, float eps, float* out) {
  pool_.parallel_for(rows, kRowGrain, [&](int begin, int end, int) {
    for (std::size_t row = begin; row < static_cast<std::size_t>(end); ++row) {
      const float* in = x + row * columns;
      const float scale = 1.0f / std::sqrt(mean_of_squares(in, columns) + eps);
      for (int c = 0; c < columns; ++c) out[row * columns + c] = in[c] * scale * weight[c];
    }
  });
}

void CpuBackend::rope(float* x, int num_heads, int head_dim, std::span<const int> positions,
                      const RopeTable& table) {
  const std::size_t half = head_dim / 2;
  pool_.parallel_for(static_cast<int>(positions.size()), kRowGrain, [&](int begin, int end, int) {
    for (std::size_t row = begin; row < static_cast<std::size_t>(end); ++row) {
      const float* cos = table.cos.data() + positions[row] * half;
      const float* sin = table.sin.data() + positions[row] * half;
      float* head = x + row * num_heads * head_dim;
      for (int h = 0; h < num_heads; ++h, head += head_dim) {
        for (std::size_t d = 0; d < half; ++d) {
          const float a = head[d], b = head[d + half];
          head[d] = a * cos[d] - b * sin[d];
          head[d + half] = b * cos[d] + a * sin[d];
        }
      }
    }
  });
}

void CpuBackend::store_kv(const float* k, const float* v, int layer, std::span<const std::int64_t> slots,
                          KvPool& kv) {
  const KvLayout& layout = kv.layout();
  const LayerPlace place(layout, layer);
  const std::size_t head_dim = layout.head_dim;
  pool_.parallel_for(static_cast<int>(slots.size()), kRowGrain, [&](int begin, int end, int) {
    for (std::size_t row = begin; row < static_cast<std::size_t>(end); ++row) {
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

void CpuBackend::attention(const float* q, int num_heads, int layer, std::span<const RowRun> runs,
                           const KvPool& kv, float* out) {
  const KvLayout& layout = kv.layout();
  const LayerPlace place(layout, layer);
  const int heads_per_kv_head = num_heads / layout.num_kv_heads;
  int num_rows = 0;
  for (const RowRun& run : runs) num_rows += run.num_rows;
  int heads_per_item = std::min(heads_per_kv_head, kernels::kMaxAttentionRows);
  // With few rows and KV heads, threads that would have no item share the heads of a group: keys read twice
  // cost less than a thread that waits.
  while (heads_per_item > 1 && num_rows * num_heads < heads_per_item * pool_.num_threads()) --heads_per_item;
  const int tokens_per_item = kernels::kMaxAttentionRows / heads_per_item;

  attention_items_.clear();
  block_pointers_.clear();
  for (std::size_t r = 0; r < runs.size(); ++r) {
    const RowRun& run = runs[r];
    const std::size_t blocks = block_pointers_.size();
    const int num_blocks = (run.start_position + run.num_rows - 1) / layout.block_size + 1;
    for (int b = 0; b < num_blocks; ++b) block_pointers_.push_back(kv.block(run.block_table[b]).data());
    for (int row = 0; row < run.num_rows; row += tokens_per_item) {
      const int num_tokens = std::min(tokens_per_item, run.num_rows - row);
      for (int group = 0; group < num_heads; group += heads_per_kv_head) {
        const int group_end = group + heads_per_kv_head;
        for (int head = group; head < group_end; head += heads_per_item) {
          const int count = std::min(heads_per_item, group_end - head);
          attention_items_.push_back({static_cast<int>(r), row, num_tokens, head, count, blocks});
        }
      }
    }
  }

  const float scale = 1.0f / std::sqrt(static_cast<float>(layout.head_dim));
  pool_.parallel_for(static_cast<int>(attention_items_.size()), 1, [&](int begin, int end, int) {
    for (int i = begin; i < end; ++i) {
      const AttentionItem& item = attention_items_[i];
      const RowRun& run = runs[item.run];
      const int kv_head = item.first_head / heads_per_kv_head;
      kernels::AttentionArgs args;
      args.num_rows = 0;
      for (int row = item.first_row; row < item.first_row + item.num_rows; ++row) {
        for (int head = item.first_head; head < item.first_head + item.num_heads; ++head, ++args.num_rows) {
          const std::size_t at =
              (static_cast<std::size_t>(run.first_row + row) * num_heads + head) * layout.head_dim;
          args.q[args.num_rows] = q + at;
          args.out[args.num_rows] = out + at;
          args.position[args.num_rows] = run.start_position + row;
        }
      }
      args.blocks = block_pointers_.data() + item.blocks;
      args.tiles_per_block = layout.block_size / kernels::kTileTokens;
      args.k_offset = place.k + kv_head * place.head_bytes;
      args.v_offset = place.v + kv_head * place.head_bytes;
      args.tile_bytes = place.tile_bytes;
      args.kv_type = layout.dtype == KvDtype::kF32 ? kernels::KvType::kF32 : kernels::KvType::kF16;
      args.head_dim = layout.head_dim;
      args.scale = scale;
      kernels_.attention(args);
    }
  });
}

void CpuBackend::silu_mul(const float* gate, const float* up, std::size_t count, float* out) {
  for_pieces(pool_, count, [&](std::size_t begin, std::size_t end) {
    kernels_.silu_mul(gate + begin, up + begin, out + begin, end - begin);
  });
}

void CpuBackend::add(float* x, const float* y, std::size_t count) {
  for_pieces(pool_, count, [&](std::size_t begin, std::size_t end) {
    for (std::size_t i = begin; i < end; ++i) x[i] += y[i];
  });
}

}  // namespace kvasir::backend
