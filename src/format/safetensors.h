#pragma once

// Tensors of *.safetensors files (https://github.com/huggingface/safetensors, "Format"): hostile bytes in,
// checked views out. It copies no tensor data and does not know what the tensors mean.
//
//   | u64 n | JSON header, n bytes: name -> {dtype, shape, data_offsets} | data, without holes or overlaps |

#include <cstddef>
#include <span>
#include <string>

#include "base/status.h"
#include "format/model_files.h"
#include "format/tensor.h"

namespace kvasir::format {

// The tensors of one file. `name` opens every message. The views point into `bytes`.
// Errors: kCorrupt. Memory is proportional to the header, which is at most 32 MiB.
Result<TensorMap> parse_safetensors(const std::string& name, std::span<const std::byte> bytes);

// The tensors of a model: of its GGUF file, of model.safetensors, or of the shards that
// model.safetensors.index.json names. The views are valid as long as `files`. Errors: those above; kNotFound;
// kCorrupt for an index that disagrees with its shards.
Result<TensorMap> read_tensors(ModelFiles& files);

}  // namespace kvasir::format
