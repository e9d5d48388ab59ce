#pragma once

// The block types of GGUF files: runs of 32 or 256 weights of a row that share scales, as
// https://github.com/ggml-org/ggml/blob/master/src/ggml-common.h lays them out. Each is also a type of one
// weight for F32, F16 and BF16.

#include <cstddef>
#include <optional>
#include <string_view>

#include "backend/matrix.h"

namespace kvasir::backend {

enum class BlockType {
  kF32,
  kF16,
  kBf16,
  kQ4_0,
  kQ4_1,
  kQ5_0,
  kQ5_1,
  kQ8_0,
  kQ2_K,
  kQ3_K,
  kQ4_K,
  kQ5_K,
  kQ6_K,
  kIq4Nl,
};

// By its name in the file: "Q4_K". Nothing for a type that expand() does not know.
std::optional<BlockType> block_type_of(std::string_view name);

std::string_view name_of(BlockType type);

inline constexpr int kBlockWeights = 32;        // of Q4_0 to Q8_0 and IQ4_NL, and of a group in a K block
inline constexpr int kSuperBlockWeights = 256;  // of the K types

struct BlockSize {
  std::size_t weights, bytes;
};
BlockSize block_size(BlockType type);

// The form of a matrix that holds exactly these weights. Nothing for blocks that there is no product with.
std::optional<WeightDtype> held_as(BlockType type);

// The floats that `num_blocks` blocks stand for, bit for bit as the format's own implementation computes
// them. blocks: block_size(type).bytes each, may be misaligned. out: block_size(type).weights each.
void expand(BlockType type, const std::byte* blocks, std::size_t num_blocks, float* out);

// Types that compress() writes: F32, F16, BF16, Q8_0, Q4_0, Q4_K.
bool can_compress(BlockType type);

// Rounds floats to blocks; the other direction of expand(). Q8_0 and Q4_0 give the bits of the format's own
// implementation. Weights that are not finite give a scale that is not. Requires: can_compress(type).
void compress(BlockType type, const float* weights, std::size_t num_blocks, std::byte* blocks);

}  // namespace kvasir::backend
