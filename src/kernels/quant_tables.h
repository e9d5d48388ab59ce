#pragma once

// The products with quantised weights of each instruction set that this build has; null for the others.
// Whether this CPU runs them is select_kernels()'s business.

#include "kernels/quant.h"

namespace kvasir::kernels {

const QuantKernels* avx2_quant_kernels();        // AVX2, FMA, F16C
const QuantKernels* avxvnni_quant_kernels();     // these and AVX-VNNI
const QuantKernels* avx512vnni_quant_kernels();  // AVX-512 F, BW, VL, VNNI
const QuantKernels* amx_quant_kernels();         // these and AMX-TILE, AMX-INT8
const QuantKernels* neondot_quant_kernels();     // NEON with dot products

}  // namespace kvasir::kernels
