#pragma once

// A model's options as the metadata of a GGUF file: the other direction of format/gguf_config.h, under the
// names that llama.cpp's converter writes.

#include <cstddef>
#include <cstdint>
#include <map>
#include <nlohmann/json_fwd.hpp>
#include <string>
#include <vector>

#include "base/status.h"
#include "format/gguf_names.h"
#include "format/gguf_writer.h"
#include "format/tensor.h"
#include "model/model_config.h"

namespace kvasir::model {

// A tensor of a file that is to be written.
struct GgufTensor {
  std::vector<std::int64_t> shape;                  // row-major
  std::map<std::size_t, format::TensorInfo> parts;  // by number, from 0 on: the experts of a layer; else one
  bool is_transposed = false;                       // the parts have its rows as columns
  std::vector<float> values;                        // all of it, where there are no parts
};

using GgufTensors = std::map<std::string, GgufTensor>;

// Adds the keys and, for factors of rotary embedding, tensors. `object`: the config.json that `config` was
// read from, or its part for text.
void add_options(const ModelConfig& config, const nlohmann::json& object, const format::GgufFamily& family,
                 format::GgufWriter& writer, GgufTensors& tensors);

// Reads the options back from what the writer has. `where`: of config.json, for messages. Errors:
// kUnsupported naming an option that the file says otherwise, because the format has no key for it.
Status check_options(const std::string& where, const ModelConfig& config, const format::GgufFamily& family,
                     const format::GgufWriter& writer, const GgufTensors& tensors);

}  // namespace kvasir::model
