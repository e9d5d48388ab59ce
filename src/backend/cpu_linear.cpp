// Matrix products on the CPU: which kernel, and how the threads share the columns.

#include <algorithm>

#include "backend/cpu_backend.h"
#include "base/check.h"
#include "kernels/kernels.h"

namespace kvasir::backend {
namespace {

// Columns that are never divided between threads: what a kernel reads of w at once. From kManyRows rows on
// the kernels for floats copy blocks of w, and are best cut at multiples of those.
constexpr int kColumnGrain = 16;
constexpr int kBlockedColumnGrain = 48;
constexpr int kQuantizedColumnGrain = 2 * kRowsPerPanel;
constexpr int kManyRows = 12;

kernels::WeightType kernel_type(WeightDtype dtype) {
  switch (dtype) {
    case WeightDtype::kF16:
      return kernels::WeightType::kF16;
    case WeightDtype::kBf16:
      return kernels::WeightType::kBf16;
    default:
      return kernels::WeightType::kF32;
  }
}

}  // namespace

void CpuBackend::linear(const float* x, int rows, std::span<const Projection> projections) {
  for (auto first = projections.begin(); first != projections.end();) {
    const auto is_other = [&](const Projection& p) { return p.w->dtype != first->w->dtype; };
    const auto end = std::find_if(first, projections.end(), is_other);
    multiply(x, rows, {first, end});
    first = end;
  }
}

// Projections of one dtype: their columns, one after the other, are shared out as one range.
void CpuBackend::multiply(const float* x, int rows, std::span<const Projection> projections) {
  const WeightDtype dtype = projections[0].w->dtype;
  const int k = projections[0].w->columns;
  const auto rows_of = [&](const Projection& p) { return p.num_rows < 0 ? rows : p.num_rows; };
  const auto grain_of = [&](const Projection& p) {
    if (is_quantized(dtype)) return kQuantizedColumnGrain;
    return rows_of(p) < kManyRows ? kColumnGrain : kBlockedColumnGrain;
  };
  if (is_quantized(dtype)) quantize(x, rows, k, dtype);
  int num_grains = 0;
  for (const Projection& p : projections) {
    KVASIR_CHECK(p.w->columns == k && p.first_row >= 0 && p.first_row + rows_of(p) <= rows);
    const int grain = grain_of(p);
    num_grains += (p.w->rows + grain - 1) / grain;
  }
  pool_.parallel_for(num_grains, 1, [&](int begin, int end, int worker) {
    int grains_before = 0;
    for (const Projection& p : projections) {
      const int grain = grain_of(p);
      const int from = std::max(begin - grains_before, 0) * grain;
      const int to = std::min((end - grains_before) * grain, p.w->rows);
      if (from < to) multiply_columns(x, p, rows_of(p), from, to, worker);
      grains_before += (p.w->rows + grain - 1) / grain;
    }
  });
}

void CpuBackend::quantize(const float* x, int rows, int k, WeightDtype w_dtype) {
  const std::size_t row_bytes = kernels::quantized_row_bytes(quant_type(w_dtype), k);
  quantized_x_.resize(rows * row_bytes);
  pool_.parallel_for(rows, kRowGrain, [&](int begin, int end, int) {
    const std::size_t row = begin, stride = k;
    kernels_.quant.quantize_rows({x + row * stride, stride, static_cast<std::size_t>(end - begin), stride,
                                  quant_type(w_dtype), quantized_x_.data() + row * row_bytes});
  });
}

// The columns [from, to) of one product; from is a multiple of a grain.
void CpuBackend::multiply_columns(const float* x, const Projection& p, int num_rows, int from, int to,
                                  int worker) {
  const Matrix& w = *p.w;
  const std::size_t first = p.first_row, m = num_rows, n = to - from, k = w.columns, y_stride = w.rows;
  const auto* data = static_cast<const std::byte*>(w.data);
  const float* bias = p.bias == nullptr ? nullptr : p.bias + from;
  if (is_quantized(w.dtype)) {
    const kernels::QuantType type = quant_type(w.dtype);
    const std::byte* rows = quantized_x_.data() + first * kernels::quantized_row_bytes(type, k);
    kernels_.quant.gemm({rows, data + from / kRowsPerPanel * kernels::panel_bytes(type, k), type, bias,
                         p.y + from, y_stride, m, n, k, gemm_scratch_[worker]});
    return;
  }
  kernels_.gemm({x + first * k, k, data + from * k * element_bytes(w.dtype), kernel_type(w.dtype), bias,
                 p.y + from, y_stride, m, n, k, gemm_scratch_[worker]});
}

}  // namespace kvasir::backend
