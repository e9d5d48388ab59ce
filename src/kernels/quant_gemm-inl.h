#pragma once

// The loops that the instruction sets' products with quantised weights share; included by quant_*.cpp as
// quant_layout-inl.h is.
//
//   for blocks of rows
//     for parts of k (all of it when the rows are few): x of both stays in L2
//       for strips of one or two panels
//         for blocks of 16 groups of k: their w stays in L1
//           Isa::block: for tiles of a few rows: the sums of a tile in registers
//
// Beside what tiles want of it (quant_tile-inl.h), an Isa has:
//   kStripPanels         panels of a strip
//   block<kType>(Block)  adds the block's products to its sums

#include <cstddef>
#include <cstdint>

#include "kernels/quant.h"
#include "kernels/quant_tile-inl.h"
#include "kernels/scratch.h"

namespace kvasir::kernels {
namespace {

constexpr std::size_t kPartGroups = 2 * kBlockGroups;
constexpr std::size_t kBlockRows = 128;       // with a part of k: 160 KB of x
constexpr std::size_t kMaxStreamedRows = 32;  // for which w is read in the order of memory

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
  const std::size_t groups = num_groups(args.k), x_stride = quantized_row_bytes(kType, args.k);
  const std::size_t panels = num_panels(args.n);
  // Few rows: w, read from memory, in the order in which it lies there. Many: their x, in parts of k.
  const std::size_t part_groups = args.m <= kMaxStreamedRows ? groups : kPartGroups;

  Block block;
  block.panel_stride = panel_bytes(kType, args.k);
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
  switch (args.w_type) {
    case QuantType::kQ8_0:
      return gemm_of<Isa, QuantType::kQ8_0>(args);
    case QuantType::kQ4_0:
      return gemm_of<Isa, QuantType::kQ4_0>(args);
    case QuantType::kQ4_K:
      return gemm_of<Isa, QuantType::kQ4_K>(args);
    case QuantType::kQ5_K:
      return gemm_of<Isa, QuantType::kQ5_K>(args);
    case QuantType::kQ6_K:
      return gemm_of<Isa, QuantType::kQ6_K>(args);
  }
}

}  // namespace
}  // namespace kvasir::kernels
