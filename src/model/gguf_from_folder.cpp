#include "model/gguf_from_folder.h"

#include <algorithm>
#include <nlohmann/json.hpp>
#include <optional>
#include <string_view>
#include <utility>

#include "format/gguf_tokenizer_writer.h"
#include "format/safetensors.h"
#include "model/model_families.h"
#include "model/weights.h"

namespace kvasir::model {
namespace {

using format::GgufFamily;
using format::TensorInfo;
using format::TensorMap;
using nlohmann::json;

// What older versions of transformers stored beside the weights: masks of attention, plain frequencies.
bool is_buffer(std::string_view name) {
  constexpr std::string_view kEndings[] = {".attn.bias", ".attention.bias", ".masked_bias", ".inv_freq"};
  return std::any_of(std::begin(kEndings), std::end(kEndings),
                     [&](std::string_view ending) { return name.ends_with(ending); });
}

// The tensor's name as a folder has it whose names begin with the first of the family's roots; nothing where
// it is not of the model for text.
std::optional<std::string> usual_name(const TensorNames& names, const TensorMap& tensors,
                                      const std::string& name, bool is_part) {
  if (name == find_output(names, tensors) + ".weight") return std::string(names.output[0]) + ".weight";
  const std::string root = find_root(names, tensors);
  if (name.starts_with(root)) return names.roots[0] + name.substr(root.size());
  return is_part ? std::nullopt : std::optional(name);
}

Status add_part(const format::GgufTensorName& name, const ModelConfig& config, const TensorInfo& info,
                GgufTensor& tensor) {
  const bool is_expert = name.expert >= 0;
  const int num_parts = is_expert ? config.num_experts : 1;
  const auto [part, is_new] = tensor.parts.emplace(is_expert ? name.expert : 0, info);
  const TensorInfo& first = tensor.parts.begin()->second;
  if (!is_new || name.expert >= num_parts || info.shape != first.shape ||
      info.dtype_name != first.dtype_name) {
    return error(StatusCode::kCorrupt, "{}: tensor '{}': expected {} parts of one shape and type", info.file,
                 name.name, num_parts);
  }
  tensor.is_transposed = config.tensors.is_transposed && name.layer >= 0 && info.shape.size() == 2;
  tensor.shape = info.shape;
  if (tensor.is_transposed) std::swap(tensor.shape[0], tensor.shape[1]);
  if (is_expert) tensor.shape.insert(tensor.shape.begin(), num_parts);
  return Status();
}

Status check_shape(const std::string& name, const TensorInfo& info) {
  const bool has_weights = std::find(info.shape.begin(), info.shape.end(), 0) == info.shape.end();
  if (has_weights && (info.shape.size() == 1 || info.shape.size() == 2)) return Status();
  return error(StatusCode::kCorrupt, "{}: tensor '{}': expected a vector or a matrix, got shape [{}]",
               info.file, name, fmt::join(info.shape, ","));
}

Result<GgufTensors> name_tensors(const TensorMap& tensors, const ModelConfig& config,
                                 const GgufFamily& family, bool is_part) {
  GgufTensors result;
  const std::string output = std::string(config.tensors.output[0]) + ".weight";
  for (const auto& [original, stored] : tensors) {
    const auto usual = usual_name(config.tensors, tensors, original, is_part);
    // A tied output is the embedding once more.
    if (!usual || is_buffer(*usual) || (config.tie_word_embeddings && *usual == output)) continue;
    KVASIR_ASSIGN_OR_RETURN(const format::GgufTensorName name,
                            format::gguf_tensor_name(family, stored.file, *usual));
    if (name.layer >= config.num_layers) continue;
    KVASIR_RETURN_IF_ERROR(check_shape(original, stored));
    TensorInfo info = stored;
    KVASIR_RETURN_IF_ERROR(
        format::lay_out_for_file(family, name.name, config.num_heads, config.num_kv_heads, info));
    KVASIR_RETURN_IF_ERROR(add_part(name, config, info, result[name.name]));
  }
  for (const auto& [name, tensor] : result) {
    const std::size_t num_parts = tensor.shape.size() == 3 ? tensor.shape[0] : 1;
    if (tensor.parts.size() == num_parts) continue;
    return error(StatusCode::kCorrupt, "{}: tensor '{}': expected {} experts, got {}",
                 tensor.parts.begin()->second.file, name, num_parts, tensor.parts.size());
  }
  return result;
}

}  // namespace

Result<GgufTensors> add_folder(format::ModelFiles& files, format::GgufWriter& writer) {
  KVASIR_ASSIGN_OR_RETURN(const ModelConfig config, read_model_config(files));
  KVASIR_ASSIGN_OR_RETURN(const json object, files.read_json("config.json"));
  const std::string where = files.path("config.json");
  KVASIR_ASSIGN_OR_RETURN(const std::string_view class_name, find_class(where, object));
  KVASIR_ASSIGN_OR_RETURN(const GgufFamily family, format::family_of_class(where, class_name));
  const bool is_part = object.contains("text_config");
  json options = is_part ? object["text_config"] : object;
  for (const char* key : {"bos_token_id", "eos_token_id", "pad_token_id"}) {
    if (is_part && object.contains(key)) options[key] = object[key];
  }
  options["eos_token_id"] = config.eos_token_ids;  // also those of generation_config.json
  KVASIR_ASSIGN_OR_RETURN(const TensorMap tensors, format::read_tensors(files));
  KVASIR_ASSIGN_OR_RETURN(GgufTensors named, name_tensors(tensors, config, family, is_part));
  add_options(config, options, family, writer, named);
  KVASIR_RETURN_IF_ERROR(check_options(where, config, family, writer, named));
  KVASIR_RETURN_IF_ERROR(
      format::add_tokenizer(files, options, static_cast<std::uint32_t>(config.vocab_size), writer));
  return named;
}

}  // namespace kvasir::model
