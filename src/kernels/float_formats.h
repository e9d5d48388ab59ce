#pragma once

// Conversions between float and the 16-bit formats, one value at a time; the same result on every machine.

#include <cstdint>

namespace kvasir::kernels {

float f16_to_f32(std::uint16_t half);
float bf16_to_f32(std::uint16_t bits);

// Rounds to nearest, ties to even; beyond the range gives infinity.
std::uint16_t f32_to_f16(float value);
std::uint16_t f32_to_bf16(float value);

}  // namespace kvasir::kernels
