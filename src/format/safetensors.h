#pragma once

// Tensors of *.safetensors files (https://github.com/huggingface/safetensors, "Format"): hostile bytes in,
// checked views out. It copies no tensor data and does not know what the tensors mean.
//
//   | u64 n | JSON header, n bytes: name -> {dtype, shape, data_offsets} | data, without holes or overlaps |

#include <cstddef>
#include <cstdint>
#include <map>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/status.h"
#include "format/model_files.h"

namespace kvasir::format {

enum class TensorDtype { kF32, kF16, kBf16, kOther };

struct TensorInfo {
  std::string file;  // for messages
  TensorDtype dtype = TensorDtype::kOther;
  std::string dtype_name;           // as in the file: "F32"
  std::vector<std::int64_t> shape;  // row-major
  std::span<const std::byte> data;  // exactly shape x dtype; may be misaligned for its type
};

using TensorMap = std::map<std::string, TensorInfo, std::less<>>;

// The tensors of one file. `name` opens every message. The views point into `bytes`.
// Errors: kCorrupt. Memory is proportional to the header, which is at most 32 MiB.
Result<TensorMap> parse_safetensors(const std::string& name, std::span<const std::byte> bytes);

// The tensors of a model: of model.safetensors, or of the shards that model.safetensors.index.json names. The
// views are valid as long as `files`. Errors: those above; kNotFound; kCorrupt for an index that disagrees
// with its shards.
Result<TensorMap> read_tensors(ModelFiles& files);

}  // namespace kvasir::format
