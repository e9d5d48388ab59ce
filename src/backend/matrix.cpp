#include "backend/matrix.h"

#include <algorithm>
#include <cstdint>
#include <cstring>
#include <vector>

#include "backend/for_pieces.h"
#include "base/check.h"
#include "kernels/float_formats.h"
#include "kernels/kernels.h"
#include "kernels/quant.h"
#include "kernels/quant_blocks.h"

namespace kvasir::backend {
namespace {

static_assert(kRowsPerPanel == kernels::kPanelColumns);

float load(const std::byte* from, WeightDtype dtype) {
  if (dtype == WeightDtype::kF32) {
    float value;
    std::memcpy(&value, from, sizeof value);
    return value;
  }
  std::uint16_t bits;
  std::memcpy(&bits, from, sizeof bits);
  return dtype == WeightDtype::kF16 ? kernels::f16_to_f32(bits) : kernels::bf16_to_f32(bits);
}

void store(float value, std::byte* to, WeightDtype dtype) {
  if (dtype == WeightDtype::kF32) {
    std::memcpy(to, &value, sizeof value);
    return;
  }
  const std::uint16_t bits =
      dtype == WeightDtype::kF16 ? kernels::f32_to_f16(value) : kernels::f32_to_bf16(value);
  std::memcpy(to, &bits, sizeof bits);
}

// One loop per form, so that compilers see what is constant in it.
void widen(const std::byte* from, WeightDtype dtype, std::size_t count, float* to) {
  switch (dtype) {
    case WeightDtype::kF32:
      std::memcpy(to, from, count * sizeof(float));
      return;
    case WeightDtype::kBf16:
      for (std::size_t i = 0; i < count; ++i) to[i] = load(from + 2 * i, WeightDtype::kBf16);
      return;
    default:
      for (std::size_t i = 0; i < count; ++i) to[i] = load(from + 2 * i, WeightDtype::kF16);
  }
}

void convert_range(const std::byte* from, WeightDtype src_dtype, std::byte* to, WeightDtype dst_dtype,
                   std::size_t count) {
  if (src_dtype == dst_dtype) {
    std::memcpy(to, from, count * element_bytes(src_dtype));
    return;
  }
  for (std::size_t i = 0; i < count; ++i) {
    store(load(from + i * element_bytes(src_dtype), src_dtype), to + i * element_bytes(dst_dtype), dst_dtype);
  }
}

// Of the fastest instruction set: all pack the same.
auto fastest_pack_panel() {
  return (*kernels::select_kernels(nullptr))->quant.pack_panel;
}

}  // namespace

bool is_quantized(WeightDtype dtype) {
  return dtype >= WeightDtype::kQ8_0;
}

kernels::QuantType quant_type(WeightDtype dtype) {
  switch (dtype) {
    case WeightDtype::kQ8_0:
      return kernels::QuantType::kQ8_0;
    case WeightDtype::kQ4_0:
      return kernels::QuantType::kQ4_0;
    case WeightDtype::kQ4_K:
      return kernels::QuantType::kQ4_K;
    case WeightDtype::kQ5_K:
      return kernels::QuantType::kQ5_K;
    default:
      KVASIR_CHECK(dtype == WeightDtype::kQ6_K);
      return kernels::QuantType::kQ6_K;
  }
}

std::size_t element_bytes(WeightDtype dtype) {
  KVASIR_CHECK(!is_quantized(dtype));
  return dtype == WeightDtype::kF32 ? 4 : 2;
}

std::size_t matrix_bytes(WeightDtype dtype, int rows, int columns) {
  if (!is_quantized(dtype)) return std::size_t(rows) * columns * element_bytes(dtype);
  return kernels::num_panels(rows) * kernels::panel_bytes(quant_type(dtype), columns);
}

void convert_rows(const void* src, WeightDtype src_dtype, std::byte* dst, WeightDtype dst_dtype, int rows,
                  int columns, int first_row, int end_row) {
  KVASIR_CHECK(first_row % kRowsPerPanel == 0 && (end_row % kRowsPerPanel == 0 || end_row == rows));
  const std::size_t src_row_bytes = columns * element_bytes(src_dtype);
  const auto* from = static_cast<const std::byte*>(src) + first_row * src_row_bytes;
  if (!is_quantized(dst_dtype)) {
    const std::size_t count = std::size_t(end_row - first_row) * columns;
    std::byte* to = dst + std::size_t(first_row) * columns * element_bytes(dst_dtype);
    return convert_range(from, src_dtype, to, dst_dtype, count);
  }
  const kernels::QuantType type = quant_type(dst_dtype);
  KVASIR_CHECK(!kernels::has_super_blocks(type));
  const std::size_t panel_bytes = kernels::panel_bytes(type, columns);
  const auto pack_panel = fastest_pack_panel();
  std::vector<float> panel(std::size_t(kRowsPerPanel) * columns);
  for (int row = first_row; row < end_row; row += kRowsPerPanel) {
    const int num_rows = std::min(kRowsPerPanel, end_row - row);
    widen(from, src_dtype, std::size_t(num_rows) * columns, panel.data());
    pack_panel(panel.data(), num_rows, columns, type, dst + row / kRowsPerPanel * panel_bytes);
    from += num_rows * src_row_bytes;
  }
}

int block_columns(WeightDtype dtype) {
  return static_cast<int>(kernels::block_weights(quant_type(dtype)));
}

void pack_block_rows(const void* src, WeightDtype dtype, std::byte* dst, int rows, int columns, int first_row,
                     int end_row) {
  KVASIR_CHECK(first_row % kRowsPerPanel == 0 && (end_row % kRowsPerPanel == 0 || end_row == rows));
  KVASIR_CHECK(columns % block_columns(dtype) == 0);
  const kernels::QuantType type = quant_type(dtype);
  const std::size_t row_bytes = columns / kernels::block_weights(type) * kernels::block_bytes(type);
  const std::size_t panel_bytes = kernels::panel_bytes(type, columns);
  const auto* from = static_cast<const std::byte*>(src);
  for (int row = first_row; row < end_row; row += kRowsPerPanel) {
    kernels::pack_blocks(from + row * row_bytes, std::min(kRowsPerPanel, end_row - row), columns, type,
                         dst + row / kRowsPerPanel * panel_bytes);
  }
}

void convert(const void* src, WeightDtype src_dtype, void* dst, WeightDtype dst_dtype, std::size_t count,
             ThreadPool& pool) {
  const auto* from = static_cast<const std::byte*>(src);
  auto* to = static_cast<std::byte*>(dst);
  for_pieces(pool, count, [&](std::size_t begin, std::size_t end) {
    convert_range(from + begin * element_bytes(src_dtype), src_dtype, to + begin * element_bytes(dst_dtype),
                  dst_dtype, end - begin);
  });
}

void read_row(const Matrix& matrix, int row, float* out) {
  const auto* data = static_cast<const std::byte*>(matrix.data);
  if (!is_quantized(matrix.dtype)) {
    const std::size_t row_bytes = matrix.columns * element_bytes(matrix.dtype);
    return widen(data + row * row_bytes, matrix.dtype, matrix.columns, out);
  }
  const kernels::QuantType type = quant_type(matrix.dtype);
  kernels::unpack_column(data + row / kRowsPerPanel * kernels::panel_bytes(type, matrix.columns),
                         row % kRowsPerPanel, matrix.columns, type, out);
}

}  // namespace kvasir::backend
