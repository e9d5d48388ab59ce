#pragma once

// The blocks of a GGUF file as panels: every weight stays exactly what it is in the file.

#include <cstddef>

#include "kernels/quant.h"

namespace kvasir::kernels {

// Weights of a block, and its bytes.
constexpr std::size_t block_weights(QuantType type) {
  return has_super_blocks(type) ? kSuperBlockGroups * kGroupSize : kGroupSize;
}
constexpr std::size_t block_bytes(QuantType type) {
  switch (type) {
    case QuantType::kQ8_0:
      return 2 + 32;
    case QuantType::kQ4_0:
      return 2 + 16;
    case QuantType::kQ4_K:
      return 4 + 12 + 128;
    case QuantType::kQ5_K:
      return 4 + 12 + 32 + 128;
    case QuantType::kQ6_K:
      return 128 + 64 + 16 + 2;
  }
  return 0;
}

// Packs `columns` (1 to 16) columns of k weights each, one after the other, into a panel; what is beyond
// `columns` is zero. Any bytes will do. Requires: k a multiple of block_weights(type).
void pack_blocks(const std::byte* blocks, std::size_t columns, std::size_t k, QuantType type,
                 std::byte* panel);

}  // namespace kvasir::kernels
