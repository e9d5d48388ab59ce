#pragma once

// Memory that a product may use, in a header so plain that files compiled for one instruction set may include
// it.

#include <cstddef>

namespace kvasir::kernels {

// Size of GemmArgs::scratch and QuantGemmArgs::scratch, enough for every table.
inline constexpr std::size_t kGemmScratchFloats = 88 * 1024;

}  // namespace kvasir::kernels
