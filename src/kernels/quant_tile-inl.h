#pragma once

// The sums of a register tile, a few rows by a few registers of columns, over a block of groups of k;
// included by quant_*.cpp as quant_layout-inl.h is.
//
// Beside what that wants, an Isa has the type Int, a register of kLanes int32, and:
//   load, store, set1, fma, to_float(Int)  on Float
// A Weights of a tile has kType and, of the n-th scale of group g and register v of the columns:
//   accumulate(g, n, x, x_stride, corrections, dot[kRows][kVectors])  the dot products, corrected
//   scales(g, n, v), minimums(g, v)
//   prefetch(g)

#include <cstddef>
#include <cstdint>
#include <cstring>

#include "kernels/quant.h"
#include "kernels/quant_layout-inl.h"

namespace kvasir::kernels {
namespace {

constexpr std::size_t kBlockGroups = 16;
static_assert(kBlockGroups % kSuperBlockGroups == 0);

// Rows of quantised activations.
struct Rows {
  const std::byte* data;
  std::size_t stride;
  std::size_t num_groups;

  const std::byte* values(std::size_t row, std::size_t g) const {
    return data + row * stride + g * kGroupSize;
  }
  const std::byte* scales(std::size_t row, std::size_t g) const {
    return values(row, num_groups) + g * sizeof(float);
  }
  // Of the n-th scale of the row's weights.
  const std::byte* corrections(std::size_t row, std::size_t n) const {
    return scales(row, num_groups) + n * sizeof(std::int32_t);
  }
};

// One block of a strip of panels: the groups [first_group, first_group + num_groups) of a block of rows.
struct Block {
  Rows x;
  std::size_t num_rows;
  const std::byte* panel;    // the strip's first one
  std::size_t panel_stride;  // to the second one
  std::size_t num_panels;
  std::size_t first_group, num_groups;
  std::size_t ahead;    // bytes from this block's weights to those that are needed after them
  float* sums;          // (num_rows, num_panels * 16)
  std::byte* expanded;  // memory for 16 groups of a panel in another form

  std::size_t sums_stride() const { return num_panels * kPanelColumns; }
  // Where the block begins in the strip's first panel.
  template <QuantType kType>
  const std::byte* quants() const {
    return panel + first_group * group_bytes(kType);
  }
  template <QuantType kType>
  const std::byte* scales() const {
    return panel + x.num_groups * group_bytes(kType) + scales_begin(kType, first_group);
  }
};

inline std::int32_t load_quad(const std::byte* from) {
  std::int32_t quad;
  std::memcpy(&quad, from, sizeof quad);
  return quad;
}
inline float load_float(const std::byte* from) {
  float value;
  std::memcpy(&value, from, sizeof value);
  return value;
}

inline void prefetch_lines(const std::byte* from, std::size_t num_bytes) {
  for (std::size_t i = 0; i < num_bytes; i += kLineBytes) __builtin_prefetch(from + i, 0, 2);
}

// Scales of group g of the next block of a panel, given those of this one. Without super-blocks two groups
// are a line.
template <QuantType kType>
inline void prefetch_scales(const std::byte* scales, std::size_t g) {
  constexpr std::size_t kBlockBytes = scales_begin(kType, kBlockGroups);
  if (has_super_blocks(kType) || g % 2 == 0) {
    __builtin_prefetch(scales + kBlockBytes + g * (kBlockBytes / kBlockGroups), 0, 2);
  }
}

// Adds the products of kRows rows with the kVectors registers of columns of `w` to sums. Only the first tile
// of a block asks for the weights that come after the block.
template <class Isa, std::size_t kRows, std::size_t kVectors, class Weights>
void add_tile(const Block& block, std::size_t row, const Weights& w, float* sums) {
  using Float = typename Isa::Float;
  constexpr std::size_t kScales = scales_per_group(Weights::kType);
  Float sum[kRows][kVectors];
  const std::size_t stride = block.sums_stride();
  sums += row * stride;
#pragma GCC unroll 16
  for (std::size_t i = 0; i < kRows; ++i) {
#pragma GCC unroll 16
    for (std::size_t v = 0; v < kVectors; ++v) sum[i][v] = Isa::load(sums + i * stride + v * Isa::kLanes);
  }
  const std::byte* x = block.x.values(row, block.first_group);
  const std::byte* x_scales = block.x.scales(row, block.first_group);
  const std::byte* corrections = block.x.corrections(row, block.first_group * kScales);
  const std::size_t x_stride = block.x.stride;
  for (std::size_t g = 0; g < block.num_groups; ++g, x += kGroupSize, x_scales += sizeof(float)) {
    if (row == 0) w.prefetch(g);
#pragma GCC unroll 2
    for (std::size_t n = 0; n < kScales; ++n) {
      typename Isa::Int dot[kRows][kVectors];
      w.template accumulate<kRows>(g, n, x, x_stride, corrections + n * sizeof(std::int32_t), dot);
      Float w_scale[kVectors];
#pragma GCC unroll 16
      for (std::size_t v = 0; v < kVectors; ++v) w_scale[v] = w.scales(g, n, v);
#pragma GCC unroll 16
      for (std::size_t i = 0; i < kRows; ++i) {
        const Float x_scale = Isa::set1(load_float(x_scales + i * x_stride));
#pragma GCC unroll 16
        for (std::size_t v = 0; v < kVectors; ++v) {
          sum[i][v] = Isa::fma(Isa::to_float(dot[i][v]), Isa::mul(w_scale[v], x_scale), sum[i][v]);
        }
      }
    }
    if constexpr (has_minimums(Weights::kType)) {
      Float minimum[kVectors];
#pragma GCC unroll 16
      for (std::size_t v = 0; v < kVectors; ++v) minimum[v] = w.minimums(g, v);
#pragma GCC unroll 16
      for (std::size_t i = 0; i < kRows; ++i) {
        const Float factor = Isa::set1(load_float(corrections + i * x_stride));
#pragma GCC unroll 16
        for (std::size_t v = 0; v < kVectors; ++v) sum[i][v] = Isa::fma(minimum[v], factor, sum[i][v]);
      }
    }
    corrections += kScales * sizeof(std::int32_t);
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

}  // namespace
}  // namespace kvasir::kernels
