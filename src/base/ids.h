#pragma once

// The integers that cross folder borders, as types that do not convert into each other.

#include <cstdint>
#include <functional>

namespace kvasir {

// A token of the model's vocabulary. Plain int32: tokens are data, handled by the million.
using TokenId = std::int32_t;

// A block of the KV pool: `block_size` tokens of K and V of all layers.
enum class BlockId : std::int32_t { kNone = -1 };

inline std::int32_t index(BlockId block) {
  return static_cast<std::int32_t>(block);
}

}  // namespace kvasir
