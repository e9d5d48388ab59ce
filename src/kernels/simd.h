#pragma once

// The tables of this build's instruction sets, for select_kernels() and the tests.

#include <span>

#include "kernels/kernels.h"

namespace kvasir::kernels {

// Tables that this CPU runs, fastest first, without the scalar one; empty where none has fused multiply-add.
std::span<const KernelTable* const> simd_kernels();

// The names of all tables, of this machine or another.
std::span<const char* const> known_isas();

// What simd.cpp has for this CPU, widest registers first: tables without products for quantised weights.
std::span<const KernelTable* const> float_kernels();

}  // namespace kvasir::kernels
