#pragma once

// The loops that the instruction sets' products with quantised weights share; included by quant_*.cpp, which
// are compiled with flags of their own: hence everything is in an anonymous namespace, and nothing but plain
// headers may be included here.
//
//   for blocks of rows
//     for parts of k (all of it when the rows are few): x of both stays in L2
//       for strips of one or two panels
//         for blocks of 16 groups of k: their w stays in L1
//           Isa::block: for tiles of a few rows: the sums of a tile in registers
//
// An Isa has the types Int and Float (a register of kLanes columns) and:
//   kTileRows, kStripPanels                rows of a register tile; panels of a strip
//   block<kType>(Block)                    adds the block's products to its sums
//   load, store, to_float, set1, fma, mul  on Float; load_scales widens f16
// A Weights of a tile gives the dot products of a group, corrected, and the scales:
//   accumulate(g, x, x_stride, corrections, dot[kRows][kVectors]), scales(g, v), prefetch(g)

#include <cstddef>
#include <cstdint>
#include <cstring>

#include "kernels/quant.h"
#include "kernels/scratch.h"

namespace kvasir::kernels {
namespace {

constexpr std::size_t kBlockGroups = 16;
constexpr std::size_t kQuads = kGroupSize / 4;
constexpr std::size_t kLineBytes = 64;  // a quad of 16 columns; a cache line
constexpr std::size_t kPartGroups = 2 * kBlockGroups;
constexpr std::size_t kBlockRows = 128;       // with a part of k: 160 KB of x
constexpr std::size_t kMaxStreamedRows = 32;  // for which w is read in the order of memory

// Rows of quantised activations.
struct Rows {
  const std::byte* data;
  std::size_t stride;
  std::size_t num_groups;

  const std::byte* values(std::size_t row, std::size_t g) const {
    return data + row * stride + g * kGroupSize;
  }
  const float* scales(std::size_t row) const {
    return reinterpret_cast<const float*>(data + row * stride + num_groups * kGroupSize);
  }
  const std::int32_t* corrections(std::size_t row) const {
    return reinterpret_cast<const std::int32_t*>(scales(row) + num_groups);
  }
};

// One block of a strip: the groups [first_group, first_group + num_groups) of all of a block's rows.
struct Block {
  Rows x;
  std::size_t num_rows;
  const std::byte* panel;    // the strip's first one
  std::size_t panel_stride;  // to the second one
  std::size_t num_panels;
  std::size_t scales_offset;  // of a panel's scales in the panel
  std::size_t first_group, num_groups;
  std::size_t ahead;    // bytes from this block's weights to those that are needed after them
  float* sums;          // (num_rows, num_panels * 16)
  std::byte* expanded;  // memory for 16 groups of a panel in another form

  std::size_t sums_stride() const { return num_panels * kPanelColumns; }
};

inline std::int32_t load_quad(const std::byte* from) {
  std::int32_t quad;
  std::memcpy(&quad, from, sizeof quad);
  return quad;
}

inline void prefetch_lines(const std::byte* from, std::size_t num_bytes) {
  for (std::size_t i = 0; i < num_bytes; i += kLineBytes) __builtin_prefetch(from + i, 0, 2);
}

// Scales of group g of the next block of a panel, given those of this one: two groups are a line.
inline void prefetch_scales(const std::byte* scales, std::size_t g) {
  if (g % 2 == 0) __builtin_prefetch(scales + (kBlockGroups + g) * kGroupScaleBytes, 0, 2);
}

// Adds the products of kRows rows with the kVectors registers of columns of `w` to sums. Only the first tile
// of a block asks for the weights that come after the block.
template <class Isa, std::size_t kRows, std::size_t kVectors, class Weights>
void add_tile(const Block& block, std::size_t row, const Weights& w, float* sums) {
  using Float = typename Isa::Float;
  Float sum[kRows][kVectors];
  const std::size_t stride = block.sums_stride();
  sums += row * stride;
#pragma GCC unroll 16
  for (std::size_t i = 0; i < kRows; ++i) {
#pragma GCC unroll 16
    for (std::size_t v = 0; v < kVectors; ++v) sum[i][v] = Isa::load(sums + i * stride + v * Isa::kLanes);
  }
  const float* x_scales = block.x.scales(row) + block.first_group;
  const std::int32_t* corrections = block.x.corrections(row) + block.first_group;
  const std::byte* x = block.x.values(row, block.first_group);
  const std::size_t x_stride = block.x.stride;
  for (std::size_t g = 0; g < block.num_groups; ++g) {
    if (row == 0) w.prefetch(g);
    typename Isa::Int dot[kRows][kVectors];
    w.template accumulate<kRows>(g, x + g * kGroupSize, x_stride, corrections + g, dot);
    Float w_scale[kVectors];
#pragma GCC unroll 16
    for (std::size_t v = 0; v < kVectors; ++v) w_scale[v] = w.scales(g, v);
#pragma GCC unroll 16
    for (std::size_t i = 0; i < kRows; ++i) {
      const Float x_scale = Isa::set1(x_scales[i * (x_stride / sizeof(float)) + g]);
#pragma GCC unroll 16
      for (std::size_t v = 0; v < kVectors; ++v) {
        sum[i][v] = Isa::fma(Isa::to_float(dot[i][v]), Isa::mul(w_scale[v], x_scale), sum[i][v]);
      }
    }
  }
#pragma GCC unroll 16
  for (std::size_t i = 0; i < kRows; ++i) {
#pragma GCC unroll 16
    for (std::size_t v = 0; v < kVectors; ++v) Isa::store(sum[i][v], sums + i * stride + v * Isa::kLanes);
  }
}

// All rows of a block, in tiles of kTileRows and one of what is left.
template <class Isa, std::size_t kTileRows, std::size_t kVectors, class Weights>
void add_tiles(const Block& block, const Weights& w, float* sums) {
  std::size_t row = 0;
  for (; row + kTileRows <= block.num_rows; row += kTileRows) {
    add_tile<Isa, kTileRows, kVectors>(block, row, w, sums);
  }
  if constexpr (kTileRows > 1) {
    const std::size_t left = block.num_rows - row;
    if (left == 0) return;
    if constexpr (kTileRows > 2) {
      if (left == 2) return add_tile<Isa, 2, kVectors>(block, row, w, sums);
    }
    if constexpr (kTileRows > 3) {
      if (left == 3) return add_tile<Isa, 3, kVectors>(block, row, w, sums);
    }
    if constexpr (kTileRows > 4) {
      if (left == 4) return add_tile<Isa, 4, kVectors>(block, row, w, sums);
    }
    if constexpr (kTileRows > 5) {
      if (left == 5) return add_tile<Isa, 5, kVectors>(block, row, w, sums);
    }
    static_assert(kTileRows <= 6);
    add_tile<Isa, 1, kVectors>(block, row, w, sums);
  }
}

// The columns of one strip and rows of a block in y, and whether they hold the sums of earlier parts of k.
struct Output {
  float* y;
  std::size_t y_stride;
  const float* bias;  // added with the last part of k; null: none
  std::size_t num_rows, num_columns;
};

inline void load_sums(const Output& out, bool is_first, float* sums, std::size_t stride) {
  for (std::size_t i = 0; i < out.num_rows; ++i, sums += stride) {
    const float* y = out.y + i * out.y_stride;
    const std::size_t num_loaded = is_first ? 0 : out.num_columns;
    for (std::size_t j = 0; j < num_loaded; ++j) sums[j] = y[j];
    for (std::size_t j = num_loaded; j < stride; ++j) sums[j] = 0;
  }
}

inline void store_sums(const Output& out, bool is_last, const float* sums, std::size_t stride) {
  for (std::size_t i = 0; i < out.num_rows; ++i, sums += stride) {
    float* y = out.y + i * out.y_stride;
    if (is_last && out.bias != nullptr) {
      for (std::size_t j = 0; j < out.num_columns; ++j) y[j] = sums[j] + out.bias[j];
    } else {
      for (std::size_t j = 0; j < out.num_columns; ++j) y[j] = sums[j];
    }
  }
}

// The groups [first_group, end_group) of a strip, block after block.
template <class Isa, QuantType kType>
void add_blocks(Block& block, std::size_t first_group, std::size_t end_group, std::size_t to_next_strip) {
  for (std::size_t g = first_group; g < end_group; g += kBlockGroups) {
    block.first_group = g;
    block.num_groups = end_group - g < kBlockGroups ? end_group - g : kBlockGroups;
    const bool is_last = g + kBlockGroups >= end_group;
    // From the last block on to the first one of the strip that is next; 0 where there is none.
    block.ahead = !is_last             ? kBlockGroups * group_bytes(kType)
                  : to_next_strip != 0 ? to_next_strip - (g - first_group) * group_bytes(kType)
                                       : 0;
    Isa::template block<kType>(block);
  }
}

template <class Isa, QuantType kType>
void gemm_of(const QuantGemmArgs& args) {
  const std::size_t groups = num_groups(args.k), x_stride = quantized_row_bytes(args.k);
  const std::size_t panels = num_panels(args.n);
  // Few rows: w, read from memory, in the order in which it lies there. Many: their x, in parts of k.
  const std::size_t part_groups = args.m <= kMaxStreamedRows ? groups : kPartGroups;

  Block block;
  block.panel_stride = panel_bytes(kType, args.k);
  block.scales_offset = groups * group_bytes(kType);
  block.sums = args.scratch;
  block.expanded =
      reinterpret_cast<std::byte*>(args.scratch + kBlockRows * Isa::kStripPanels * kPanelColumns);
  const std::size_t strip_stride = Isa::kStripPanels * block.panel_stride;
  for (std::size_t row = 0; row < args.m; row += kBlockRows) {
    block.x = {args.x + row * x_stride, x_stride, groups};
    block.num_rows = args.m - row < kBlockRows ? args.m - row : kBlockRows;
    for (std::size_t g = 0; g < groups; g += part_groups) {
      const std::size_t end_group = groups - g < part_groups ? groups : g + part_groups;
      for (std::size_t p = 0; p < panels; p += Isa::kStripPanels) {
        block.panel = args.w + p * block.panel_stride;
        block.num_panels = panels - p < Isa::kStripPanels ? panels - p : Isa::kStripPanels;
        const std::size_t first = p * kPanelColumns, columns = block.sums_stride();
        const Output out = {args.y + row * args.y_stride + first, args.y_stride,
                            args.bias == nullptr ? nullptr : args.bias + first, block.num_rows,
                            args.n - first < columns ? args.n - first : columns};
        load_sums(out, g == 0, block.sums, columns);
        add_blocks<Isa, kType>(block, g, end_group, p + Isa::kStripPanels < panels ? strip_stride : 0);
        store_sums(out, end_group == groups, block.sums, columns);
      }
    }
  }
}

template <class Isa>
void gemm(const QuantGemmArgs& args) {
  return args.w_type == QuantType::kQ8_0 ? gemm_of<Isa, QuantType::kQ8_0>(args)
                                         : gemm_of<Isa, QuantType::kQ4_0>(args);
}

}  // namespace
}  // namespace kvasir::kernels
