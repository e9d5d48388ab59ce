#pragma once

// Loops of 8-bit multiply-adds on registers, one for each instruction that products with quantised weights
// may use. One thread each.

#include <cstddef>

namespace kvasir::bench {

struct Int8Loop {
  const char* instruction;                             // null: this CPU has none
  double (*multiply_add)(std::size_t num_iterations);  // returns how many products were added
};

// The fastest vector instruction that this CPU has for it.
Int8Loop int8_vector_loop();

// That of AMX's tiles.
Int8Loop int8_tile_loop();

}  // namespace kvasir::bench
