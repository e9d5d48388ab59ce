#pragma once

// A tensor of a file: its type, its shape, and where its bytes lie.

#include <cstddef>
#include <cstdint>
#include <map>
#include <span>
#include <string>
#include <vector>

namespace kvasir::format {

enum class TensorDtype { kF32, kF16, kBf16, kOther };

struct TensorInfo {
  std::string file;  // for messages
  TensorDtype dtype = TensorDtype::kOther;
  std::string dtype_name;           // as in the file: "F32", "Q4_K"
  std::vector<std::int64_t> shape;  // row-major
  std::span<const std::byte> data;  // exactly shape x dtype; may be misaligned for its type
  // Where the rows lie: row i of the tensor is row row_order[i] of `data`. Empty: in their order.
  std::vector<std::int32_t> row_order;
  float offset = 0;  // what was added to each value of `data`
};

using TensorMap = std::map<std::string, TensorInfo, std::less<>>;

}  // namespace kvasir::format
