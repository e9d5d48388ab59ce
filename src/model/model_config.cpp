#include "model/model_config.h"

#include <algorithm>
#include <nlohmann/json.hpp>
#include <string>
#include <utility>

namespace kvasir::model {
namespace {

using nlohmann::json;

// One JSON object of a file, its keys read with type and range.
class Fields {
 public:
  Fields(std::string where, const json& object) : where_(std::move(where)), object_(object) {}

  // Whether the key is there and not null.
  bool has(const char* key) const { return object_.contains(key) && !object_[key].is_null(); }
  const json& operator[](const char* key) const { return object_[key]; }

  Status read_int(const char* key, int least, int most, int& out) const {
    if (!has(key)) return missing(key);
    const json& value = object_[key];
    if (!value.is_number_integer() ||
        (value.is_number_unsigned() && value.get<std::uint64_t>() > INT64_MAX) ||
        value.get<std::int64_t>() < least || value.get<std::int64_t>() > most) {
      return error(StatusCode::kCorrupt, "{}: {}: expected an integer from {} to {}, got {}", where_, key,
                   least, most, show(value));
    }
    out = value.get<int>();
    return Status();
  }

  Status read_number(const char* key, double least, double most, double& out) const {
    if (!has(key)) return missing(key);
    const json& value = object_[key];
    if (!value.is_number() || !(value.get<double>() >= least && value.get<double>() <= most)) {
      return error(StatusCode::kCorrupt, "{}: {}: expected a number from {} to {}, got {}", where_, key,
                   least, most, show(value));
    }
    out = value.get<double>();
    return Status();
  }

  Status read_bool(const char* key, bool& out) const {
    if (!has(key)) return Status();
    if (!object_[key].is_boolean()) {
      return error(StatusCode::kCorrupt, "{}: {}: expected true or false, got {}", where_, key,
                   show(object_[key]));
    }
    out = object_[key].get<bool>();
    return Status();
  }

  // A token id or a list of them, added to `out` where they are new.
  Status read_tokens(const char* key, int vocab_size, std::vector<TokenId>& out) const {
    if (!has(key)) return Status();
    const json& value = object_[key];
    const json list = value.is_array() ? value : json::array({value});
    if (list.size() > 1000)
      return error(StatusCode::kCorrupt, "{}: {}: has {} ids", where_, key, list.size());
    for (const json& id : list) {
      if (!id.is_number_unsigned() || id.get<std::uint64_t>() >= static_cast<std::uint64_t>(vocab_size)) {
        return error(StatusCode::kCorrupt, "{}: {}: expected token ids below {}, got {}", where_, key,
                     vocab_size, show(id));
      }
      const auto token = id.get<TokenId>();
      if (std::find(out.begin(), out.end(), token) == out.end()) out.push_back(token);
    }
    return Status();
  }

  std::string text(const char* key) const {
    return has(key) && object_[key].is_string() ? object_[key].get<std::string>() : std::string();
  }

  const std::string& where() const { return where_; }

  static std::string show(const json& value) {
    return value.dump(-1, ' ', true, json::error_handler_t::replace).substr(0, 80);
  }

 private:
  Status missing(const char* key) const {
    return error(StatusCode::kCorrupt, "{}: {}: expected a number, but the key is missing", where_, key);
  }

  std::string where_;
  const json& object_;
};

Status unsupported(const Fields& fields, const char* key, std::string_view supported) {
  return error(StatusCode::kUnsupported, "{}: {}: supported is {}, got {}", fields.where(), key, supported,
               Fields::show(fields[key]));
}

// `where` has the scaling's kind and numbers: rope_scaling, or rope_parameters in files of transformers 5.
Status read_rope_scaling(const Fields& where, RopeConfig& rope) {
  const char* key = where.has("rope_type") ? "rope_type" : "type";
  const std::string kind = where.has(key) ? where.text(key) : "default";
  if (kind == "default") return Status();
  if (kind != "linear" && kind != "llama3") return unsupported(where, key, "default, linear or llama3");
  KVASIR_RETURN_IF_ERROR(where.read_number("factor", 1, 1e6, rope.factor));
  if (kind == "linear") {
    rope.scaling = RopeScaling::kLinear;
    return Status();
  }
  rope.scaling = RopeScaling::kLlama3;
  KVASIR_RETURN_IF_ERROR(where.read_number("low_freq_factor", 1e-3, 1e6, rope.low_freq_factor));
  KVASIR_RETURN_IF_ERROR(where.read_number("high_freq_factor", 1e-3, 1e6, rope.high_freq_factor));
  KVASIR_RETURN_IF_ERROR(
      where.read_int("original_max_position_embeddings", 1, 1 << 24, rope.original_max_position_embeddings));
  if (rope.low_freq_factor >= rope.high_freq_factor) {
    return error(StatusCode::kCorrupt, "{}: expected low_freq_factor below high_freq_factor, got {} and {}",
                 where.where(), rope.low_freq_factor, rope.high_freq_factor);
  }
  return Status();
}

Status read_rope(const Fields& fields, RopeConfig& rope) {
  for (const char* key : {"rope_parameters", "rope_scaling"}) {
    if (!fields.has(key)) continue;
    if (!fields[key].is_object()) {
      return error(StatusCode::kCorrupt, "{}: {}: expected an object, got {}", fields.where(), key,
                   Fields::show(fields[key]));
    }
    const Fields nested(fields.where() + ": " + key, fields[key]);
    KVASIR_RETURN_IF_ERROR(read_rope_scaling(nested, rope));
    if (nested.has("rope_theta"))
      KVASIR_RETURN_IF_ERROR(nested.read_number("rope_theta", 1, 1e12, rope.theta));
    break;
  }
  if (fields.has("rope_theta")) return fields.read_number("rope_theta", 1, 1e12, rope.theta);
  return Status();
}

// Options whose other values would change the result.
Status check_supported(const Fields& fields, const ModelConfig& config) {
  const json& architectures = fields.has("architectures") ? fields["architectures"] : json::array();
  const std::string family =
      architectures.is_array() && !architectures.empty() && architectures[0].is_string()
          ? architectures[0].get<std::string>()
          : std::string();
  if (family.empty() ? fields.text("model_type") != "llama"
                     : family != "LlamaForCausalLM" && family != "MistralForCausalLM") {
    return error(StatusCode::kUnsupported,
                 "{}: architectures: supported are LlamaForCausalLM and MistralForCausalLM, got '{}'",
                 fields.where(), family.empty() ? fields.text("model_type") : family.substr(0, 80));
  }
  if (fields.has("hidden_act") && fields.text("hidden_act") != "silu")
    return unsupported(fields, "hidden_act", "silu");
  if (fields.has("sliding_window")) {
    int window = 0;
    KVASIR_RETURN_IF_ERROR(fields.read_int("sliding_window", 1, 1 << 30, window));
    if (window < config.max_position_embeddings) {
      return unsupported(fields, "sliding_window", "none, or one as long as the context");
    }
  }
  if (fields.has("quantization_config")) return unsupported(fields, "quantization_config", "none");
  if (fields.has("partial_rotary_factor") && fields["partial_rotary_factor"] != 1.0) {
    return unsupported(fields, "partial_rotary_factor", "1");
  }
  return Status();
}

}  // namespace

Result<ModelConfig> read_model_config(format::ModelFiles& files) {
  KVASIR_ASSIGN_OR_RETURN(const json object, files.read_json("config.json"));
  const Fields fields(files.path("config.json"), object);
  ModelConfig config;
  config.max_position_embeddings = 2048;
  if (fields.has("max_position_embeddings")) {
    KVASIR_RETURN_IF_ERROR(
        fields.read_int("max_position_embeddings", 1, 1 << 24, config.max_position_embeddings));
  }
  KVASIR_RETURN_IF_ERROR(check_supported(fields, config));

  KVASIR_RETURN_IF_ERROR(fields.read_int("vocab_size", 1, 1 << 22, config.vocab_size));
  KVASIR_RETURN_IF_ERROR(fields.read_int("hidden_size", 1, 1 << 17, config.hidden_size));
  KVASIR_RETURN_IF_ERROR(fields.read_int("intermediate_size", 1, 1 << 19, config.intermediate_size));
  KVASIR_RETURN_IF_ERROR(fields.read_int("num_hidden_layers", 1, 1 << 12, config.num_layers));
  KVASIR_RETURN_IF_ERROR(fields.read_int("num_attention_heads", 1, 1 << 12, config.num_heads));
  config.num_kv_heads = config.num_heads;
  if (fields.has("num_key_value_heads")) {
    KVASIR_RETURN_IF_ERROR(fields.read_int("num_key_value_heads", 1, config.num_heads, config.num_kv_heads));
  }
  if (config.num_heads % config.num_kv_heads != 0) {
    return error(StatusCode::kCorrupt,
                 "{}: num_key_value_heads: expected a divisor of num_attention_heads {}, got {}",
                 fields.where(), config.num_heads, config.num_kv_heads);
  }
  if (fields.has("head_dim")) {
    KVASIR_RETURN_IF_ERROR(fields.read_int("head_dim", 2, 1 << 12, config.head_dim));
  } else if (config.hidden_size % config.num_heads == 0) {
    config.head_dim = config.hidden_size / config.num_heads;
  }
  if (config.head_dim == 0 || config.head_dim % 2 != 0) {
    return error(StatusCode::kCorrupt,
                 "{}: head_dim: expected an even number, got {} (hidden_size {}, num_attention_heads {})",
                 fields.where(), config.head_dim, config.hidden_size, config.num_heads);
  }
  double rms_norm_eps = 1e-6;
  if (fields.has("rms_norm_eps"))
    KVASIR_RETURN_IF_ERROR(fields.read_number("rms_norm_eps", 0, 1, rms_norm_eps));
  config.rms_norm_eps = static_cast<float>(rms_norm_eps);
  KVASIR_RETURN_IF_ERROR(read_rope(fields, config.rope));
  KVASIR_RETURN_IF_ERROR(fields.read_bool("tie_word_embeddings", config.tie_word_embeddings));
  KVASIR_RETURN_IF_ERROR(fields.read_bool("attention_bias", config.attention_bias));
  KVASIR_RETURN_IF_ERROR(fields.read_bool("mlp_bias", config.mlp_bias));

  std::vector<TokenId> bos;
  KVASIR_RETURN_IF_ERROR(fields.read_tokens("bos_token_id", config.vocab_size, bos));
  if (!bos.empty()) config.bos_token_id = bos[0];
  if (files.has("generation_config.json")) {
    KVASIR_ASSIGN_OR_RETURN(const json generation, files.read_json("generation_config.json"));
    const Fields nested(files.path("generation_config.json"), generation);
    KVASIR_RETURN_IF_ERROR(nested.read_tokens("eos_token_id", config.vocab_size, config.eos_token_ids));
  }
  KVASIR_RETURN_IF_ERROR(fields.read_tokens("eos_token_id", config.vocab_size, config.eos_token_ids));
  return config;
}

}  // namespace kvasir::model
