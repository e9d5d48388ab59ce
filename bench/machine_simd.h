#pragma once

// The loops whose speed is the machine's limit, in the widest instruction set that it has. One thread each.

#include <cstddef>

namespace kvasir::bench {

// Independent chains of fused multiply-adds on registers; returns how many floats were multiplied and added.
double multiply_add(std::size_t num_iterations);

// Reads every float once; returns their sum, so that the reads are needed. Requires: count is a multiple of
// 256.
float read_all(const float* data, std::size_t count);

}  // namespace kvasir::bench
