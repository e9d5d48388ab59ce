#pragma once

// The reference of products with quantised weights: the plainest loops.

#include "kernels/quant.h"

namespace kvasir::kernels {

const QuantKernels& scalar_quant_kernels();

// Rounds the groups [first_group, end_group) of one row of k activations; `row` has quantized_row_bytes(k).
void quantize_row(const float* x, std::size_t k, std::size_t first_group, std::size_t end_group,
                  QuantType w_type, std::byte* row);

}  // namespace kvasir::kernels
