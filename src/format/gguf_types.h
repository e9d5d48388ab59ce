#pragma once

// The tensor types of GGUF files.

#include <cstdint>
#include <string_view>

#include "format/tensor.h"

namespace kvasir::format {

struct GgufTensorType {
  std::uint32_t number;
  std::string_view name;
  std::uint64_t weights, bytes;  // of a block
  TensorDtype dtype = TensorDtype::kOther;
};

// Null for what is not a type of the format.
const GgufTensorType* find_gguf_type(std::uint32_t number);
const GgufTensorType* find_gguf_type(std::string_view name);

}  // namespace kvasir::format
