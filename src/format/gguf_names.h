#pragma once

// The families of models that GGUF files hold, and the tensors of each under the names and in the order that
// their Hugging Face files have.

#include <cstdint>
#include <string>
#include <string_view>

#include "base/status.h"
#include "format/gguf.h"
#include "format/tensor.h"

namespace kvasir::format {

struct GgufFamily {
  std::string_view architecture;  // general.architecture
  std::string_view class_name;    // architectures[0] of config.json
  std::string_view model_type;
  // Whether llama.cpp's converter has put the rows of queries and keys in the order in which rotary embedding
  // turns neighbours, and not halves.
  bool has_interleaved_heads = false;
  bool has_shifted_norms = false;  // whether it has added 1 to the weights of norms
};

// Errors: kUnsupported naming the architecture and those that are known.
Result<GgufFamily> find_family(const GgufMetadata& metadata);

// The tensors under their Hugging Face names. Those that config.json tells of, as rope_freqs.weight, are left
// out. Errors: kUnsupported for a tensor that the family does not have; kCorrupt.
Result<TensorMap> gguf_tensors(const Gguf& gguf);

// The other direction. The family of a class of transformers. Errors: kUnsupported naming it; `where` opens
// the message.
Result<GgufFamily> family_of_class(const std::string& where, std::string_view class_name);

struct GgufTensorName {
  std::string name;
  int layer = -1;   // of a layer
  int expert = -1;  // of an expert, whose tensor is a part of the one with that name
};

// What a tensor of a folder is called in a file. Errors: kUnsupported for one that the family does not have;
// `file` opens the message.
Result<GgufTensorName> gguf_tensor_name(const GgufFamily& family, const std::string& file,
                                        std::string_view name);

// Sets row_order and offset of a folder's tensor to give what the file has under `gguf_name`.
// Errors: kCorrupt for rows that are not those of as many heads.
Status lay_out_for_file(const GgufFamily& family, std::string_view gguf_name, std::int64_t num_heads,
                        std::int64_t num_kv_heads, TensorInfo& info);

}  // namespace kvasir::format
