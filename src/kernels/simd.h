#pragma once

// The tables of this build's instruction sets, for select_kernels() and the tests.

#include <span>

#include "kernels/kernels.h"

namespace kvasir::kernels {

// Tables that this CPU runs, fastest first; empty where none has fused multiply-add.
std::span<const KernelTable* const> simd_kernels();

// Whether `isa` is the name of a table on some machine.
bool is_known_isa(const char* isa);

}  // namespace kvasir::kernels
