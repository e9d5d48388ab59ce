#pragma once

// A weight matrix in one of the forms that the backend multiplies with, and the way into them.

#include <cstddef>

#include "base/thread_pool.h"
#include "kernels/quant.h"

namespace kvasir::backend {

// From kQ8_0 on quantised, in the panels of kernels/quant.h: the types of GGUF.
enum class WeightDtype { kF32, kF16, kBf16, kQ8_0, kQ4_0, kQ4_K, kQ5_K, kQ6_K };

bool is_quantized(WeightDtype dtype);

// The kernels' name of it. Requires: quantised.
kernels::QuantType quant_type(WeightDtype dtype);

// Bytes of one element. Requires: not quantised.
std::size_t element_bytes(WeightDtype dtype);

// Bytes of a whole matrix; quantised ones are padded to whole panels and groups.
std::size_t matrix_bytes(WeightDtype dtype, int rows, int columns);

// (rows, columns): row-major, aligned to its element, as it lies in a file; or panels of 16 rows, 64-byte
// aligned. Does not own the data.
struct Matrix {
  const void* data = nullptr;
  WeightDtype dtype = WeightDtype::kF32;
  int rows = 0;
  int columns = 0;
};

// Rows that convert_rows() takes at a time: a panel.
inline constexpr int kRowsPerPanel = 16;

// Writes the rows [first_row, end_row) of a matrix whose form is `dst_dtype` to where they belong in `dst`,
// the beginning of matrix_bytes() bytes. src: the whole matrix, row-major, in a form that is not quantised;
// may be misaligned. Rounds to nearest, ties to even; quantised as kernels/quant.h says. Requires: first_row
// a multiple of kRowsPerPanel, and so is end_row unless it is `rows`; dst_dtype none of the K types.
void convert_rows(const void* src, WeightDtype src_dtype, std::byte* dst, WeightDtype dst_dtype, int rows,
                  int columns, int first_row, int end_row);

// Weights in a block of a GGUF file. Requires: quantised.
int block_columns(WeightDtype dtype);

// As convert_rows(), from the blocks of a GGUF file's tensor of this type, which need no rounding: read_row()
// gives exactly the file's weights. Any bytes will do. Requires: columns a multiple of block_columns(dtype);
// src of rows * columns weights, in whole blocks.
void pack_block_rows(const void* src, WeightDtype dtype, std::byte* dst, int rows, int columns, int first_row,
                     int end_row);

// dst[i] = src[i] in another form, neither quantised. `src` may be misaligned.
void convert(const void* src, WeightDtype src_dtype, void* dst, WeightDtype dst_dtype, std::size_t count,
             ThreadPool& pool);

// The floats that one row of a matrix stands for. out: (columns).
void read_row(const Matrix& matrix, int row, float* out);

}  // namespace kvasir::backend
