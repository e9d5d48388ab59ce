#include "format/gguf_config.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <nlohmann/json.hpp>
#include <numbers>
#include <set>

#include "format/gguf_names.h"
#include "format/printable.h"

namespace kvasir::format {
namespace {

using nlohmann::json;

constexpr std::int64_t kMaxCount = 1 << 30;
constexpr std::int64_t kMaxLayers = 4096;

// The keys of an architecture, llama.block_count and so on. It remembers which were asked for.
class Fields {
 public:
  Fields(const GgufMetadata& metadata, std::string_view architecture)
      : metadata_(metadata), prefix_(std::string(architecture) + ".") {}

  bool has(std::string_view name) { return metadata_.has(key(name)); }

  Result<std::int64_t> count(std::string_view name, std::optional<std::int64_t> fallback = std::nullopt) {
    return metadata_.integer(key(name), 0, kMaxCount, fallback);
  }

  // One number for all layers. Also an array that has the same one for each.
  Result<std::int64_t> count_of_all_layers(std::string_view name,
                                           std::optional<std::int64_t> fallback = std::nullopt) {
    if (!metadata_.has_array(key(name))) return count(name, fallback);
    KVASIR_ASSIGN_OR_RETURN(const auto numbers, metadata_.numbers(key(name)));
    const bool is_one = !numbers.empty() && std::equal(numbers.begin() + 1, numbers.end(), numbers.begin());
    if (!is_one || numbers[0] < 0 || numbers[0] > kMaxCount) {
      return error(StatusCode::kUnsupported, "{}: key '{}': supported is the same count for all layers",
                   metadata_.file(), key(name));
    }
    return static_cast<std::int64_t>(numbers[0]);
  }

  // A number that is stored in f32, with the digits that it was written with: 1e-5, not 9.99999974e-06.
  Result<double> number(std::string_view name, std::optional<double> fallback = std::nullopt) {
    KVASIR_ASSIGN_OR_RETURN(const double value, metadata_.number(key(name), fallback));
    const auto single = static_cast<float>(value);
    return value == static_cast<double>(single) ? std::stod(fmt::format("{}", single)) : value;
  }

  bool has_array(std::string_view name) { return metadata_.has_array(key(name)); }

  // An array of numbers or booleans, one for each layer.
  Result<std::vector<double>> each_layer(std::string_view name, std::int64_t num_layers) {
    KVASIR_ASSIGN_OR_RETURN(std::vector<double> numbers, metadata_.numbers(key(name)));
    if (static_cast<std::int64_t>(numbers.size()) == num_layers) return numbers;
    return error(StatusCode::kCorrupt, "{}: key '{}': has {} elements, expected one for each of {} layers",
                 metadata_.file(), key(name), numbers.size(), num_layers);
  }

  Result<std::string_view> text(std::string_view name, std::string_view fallback) {
    return metadata_.text(key(name), fallback);
  }

  Result<bool> boolean(std::string_view name, bool fallback) {
    return metadata_.boolean(key(name), fallback);
  }

  void ignore(std::string_view name) { static_cast<void>(key(name)); }

  // Whether all keys of the architecture have been asked for.
  Status check_all_read() const {
    for (const auto& [each, value] : metadata_.values()) {
      if (!each.starts_with(prefix_) || read_.contains(std::string(each))) continue;
      return error(StatusCode::kUnsupported, "{}: key '{}': this option is not known", metadata_.file(),
                   printable(each));
    }
    return Status();
  }

  const GgufMetadata& metadata() const { return metadata_; }

 private:
  std::string key(std::string_view name) {
    std::string result = prefix_ + std::string(name);
    read_.insert(result);
    return result;
  }

  const GgufMetadata& metadata_;
  std::string prefix_;
  std::set<std::string> read_;
};

// The floats of a one-dimensional F32 tensor of `count`.
Result<std::vector<float>> read_factors(const TensorInfo& info, std::string_view name, std::int64_t count) {
  if (info.dtype != TensorDtype::kF32 || info.shape != std::vector<std::int64_t>{count}) {
    return error(StatusCode::kCorrupt, "{}: tensor '{}': expected F32 of shape [{}], got {} of [{}]",
                 info.file, name, count, info.dtype_name, fmt::join(info.shape, ","));
  }
  std::vector<float> factors(count);
  std::memcpy(factors.data(), info.data.data(), info.data.size());
  for (const float factor : factors) {
    if (!(factor > 0 && std::isfinite(factor))) {
      return error(StatusCode::kCorrupt, "{}: tensor '{}': expected factors above 0, got {}", info.file, name,
                   factor);
    }
  }
  return factors;
}

// Whether these are the factors of Llama 3's scaling of a model of `context` tokens by `factor`.
bool is_llama3(const std::vector<float>& factors, double theta, double factor, double low, double high,
               int context) {
  for (std::size_t i = 0; i < factors.size(); ++i) {
    const double frequency = std::pow(theta, -static_cast<double>(i) / static_cast<double>(factors.size()));
    const double turns = context * frequency / (2 * std::numbers::pi);
    const double kept = std::clamp((turns - low) / (high - low), 0.0, 1.0);
    const double expected = 1 / ((1 - kept) / factor + kept);
    if (std::abs(factors[i] - expected) > 1e-4 * expected) return false;
  }
  return true;
}

// Llama 3's scaling comes as the factor of each frequency. Its numbers are found again where they are those
// that Meta's models have, but for the factor and the context, a power of two; any other factors are given as
// they are, in the form of longrope.
json llama3_scaling(const std::vector<float>& factors, double theta, std::int64_t context) {
  constexpr double kLow = 1, kHigh = 4;
  const double factor = *std::max_element(factors.begin(), factors.end());
  std::vector<int> contexts = {8192};  // of Meta's models
  for (int bits = 4; bits <= 20; ++bits) contexts.push_back(1 << bits);
  for (const int original : contexts) {
    if (factor <= 1 || !is_llama3(factors, theta, factor, kLow, kHigh, original)) continue;
    return {{"rope_type", "llama3"},
            {"factor", factor},
            {"low_freq_factor", kLow},
            {"high_freq_factor", kHigh},
            {"original_max_position_embeddings", original}};
  }
  return {{"rope_type", "longrope"},
          {"short_factor", factors},
          {"long_factor", factors},
          {"attention_factor", 1.0},
          {"original_max_position_embeddings", context}};
}

Status read_yarn(Fields& fields, json& scaling) {
  KVASIR_ASSIGN_OR_RETURN(scaling["original_max_position_embeddings"],
                          fields.count("rope.scaling.original_context_length"));
  constexpr std::pair<const char*, const char*> kOptions[] = {
      {"rope.scaling.yarn_ext_factor", "extrapolation_factor"},
      {"rope.scaling.yarn_attn_factor", "attention_factor"},
      {"rope.scaling.attn_factor", "attention_factor"},
      {"rope.scaling.yarn_beta_fast", "beta_fast"},
      {"rope.scaling.yarn_beta_slow", "beta_slow"}};
  for (const auto& [name, key] : kOptions) {
    if (fields.has(name)) {
      KVASIR_ASSIGN_OR_RETURN(scaling[key], fields.number(name));
    }
  }
  return Status();
}

// rope_theta, rope_scaling and partial_rotary_factor.
Status read_rope(const Gguf& gguf, Fields& fields, std::int64_t head_dim, json& config) {
  KVASIR_ASSIGN_OR_RETURN(const std::int64_t rotary_dim, fields.count("rope.dimension_count", head_dim));
  if (rotary_dim != head_dim) {
    config["partial_rotary_factor"] = static_cast<double>(rotary_dim) / static_cast<double>(head_dim);
  }
  KVASIR_ASSIGN_OR_RETURN(const double theta, fields.number("rope.freq_base", 10000.0));
  config["rope_theta"] = theta;
  KVASIR_ASSIGN_OR_RETURN(const std::string_view kind, fields.text("rope.scaling.type", "none"));
  fields.ignore("rope.scaling.finetuned");
  const std::int64_t context = config["max_position_embeddings"].get<std::int64_t>();
  const auto factors = gguf.tensors.find("rope_freqs.weight");
  const auto long_factors = gguf.tensors.find("rope_factors_long.weight");
  const auto short_factors = gguf.tensors.find("rope_factors_short.weight");
  if (long_factors != gguf.tensors.end() && short_factors != gguf.tensors.end()) {
    json scaling = {{"rope_type", "longrope"}};
    KVASIR_ASSIGN_OR_RETURN(scaling["long_factor"],
                            read_factors(long_factors->second, long_factors->first, rotary_dim / 2));
    KVASIR_ASSIGN_OR_RETURN(scaling["short_factor"],
                            read_factors(short_factors->second, short_factors->first, rotary_dim / 2));
    if (fields.has("rope.scaling.attn_factor")) {
      KVASIR_ASSIGN_OR_RETURN(scaling["attention_factor"], fields.number("rope.scaling.attn_factor"));
    }
    KVASIR_ASSIGN_OR_RETURN(config["original_max_position_embeddings"],
                            fields.count("rope.scaling.original_context_length", context));
    config["rope_scaling"] = std::move(scaling);
  } else if (factors != gguf.tensors.end()) {
    KVASIR_ASSIGN_OR_RETURN(const auto each, read_factors(factors->second, factors->first, rotary_dim / 2));
    config["rope_scaling"] = llama3_scaling(each, theta, context);
  } else if (kind == "linear" || kind == "yarn") {
    json scaling = {{"rope_type", kind}};
    KVASIR_ASSIGN_OR_RETURN(scaling["factor"], fields.number("rope.scaling.factor"));
    if (kind == "yarn") KVASIR_RETURN_IF_ERROR(read_yarn(fields, scaling));
    config["rope_scaling"] = std::move(scaling);
  } else if (kind != "none") {
    return error(StatusCode::kUnsupported,
                 "{}: rope.scaling.type '{}' is not known, or its factors are missing", gguf.metadata.file(),
                 printable(kind));
  } else {
    fields.ignore("rope.scaling.original_context_length");
  }
  return Status();
}

// The sizes that all families have.
Result<json> read_sizes(const Gguf& gguf, const GgufFamily& family, Fields& fields) {
  json config = {{"architectures", {family.class_name}}, {"model_type", family.model_type}};
  const auto embedding = gguf.tensors.find("token_embd.weight");
  if (embedding == gguf.tensors.end() || embedding->second.shape.size() != 2) {
    return error(StatusCode::kCorrupt, "{}: tensor 'token_embd.weight': expected a matrix",
                 gguf.metadata.file());
  }
  // The embedding may have more rows than there are tokens.
  config["vocab_size"] = embedding->second.shape[0];
  fields.ignore("vocab_size");
  KVASIR_ASSIGN_OR_RETURN(const std::int64_t hidden, fields.count("embedding_length"));
  KVASIR_ASSIGN_OR_RETURN(const std::int64_t layers, fields.count("block_count"));
  if (layers > kMaxLayers) {
    return error(StatusCode::kCorrupt, "{}: key '{}.block_count': expected at most {}, got {}",
                 gguf.metadata.file(), family.architecture, kMaxLayers, layers);
  }
  config["hidden_size"] = hidden;
  config["num_hidden_layers"] = layers;
  KVASIR_ASSIGN_OR_RETURN(config["max_position_embeddings"], fields.count("context_length"));
  KVASIR_ASSIGN_OR_RETURN(config["intermediate_size"], fields.count_of_all_layers("feed_forward_length"));
  KVASIR_ASSIGN_OR_RETURN(const std::int64_t heads, fields.count_of_all_layers("attention.head_count"));
  KVASIR_ASSIGN_OR_RETURN(const std::int64_t kv_heads,
                          fields.count_of_all_layers("attention.head_count_kv", heads));
  config["num_attention_heads"] = heads;
  config["num_key_value_heads"] = kv_heads;
  KVASIR_ASSIGN_OR_RETURN(const std::int64_t head_dim,
                          fields.count("attention.key_length", heads > 0 ? hidden / heads : 0));
  KVASIR_ASSIGN_OR_RETURN(const std::int64_t value_dim, fields.count("attention.value_length", head_dim));
  if (head_dim == 0 || value_dim != head_dim) {
    return error(StatusCode::kUnsupported,
                 "{}: attention.value_length: supported is that of keys, {}; got {}", gguf.metadata.file(),
                 head_dim, value_dim);
  }
  config["head_dim"] = head_dim;
  config["tie_word_embeddings"] = !gguf.tensors.contains("output.weight");
  KVASIR_RETURN_IF_ERROR(read_rope(gguf, fields, head_dim, config));
  return config;
}

// Which layers have a window, as layer_types: those that the file names or, where it names none, those whose
// number in each run of `period` is not the last.
Result<json> layer_types(Fields& fields, std::int64_t num_layers, std::int64_t period) {
  constexpr std::string_view kKey = "attention.sliding_window_pattern";
  std::vector<double> slides;
  if (fields.has_array(kKey)) {
    KVASIR_ASSIGN_OR_RETURN(slides, fields.each_layer(kKey, num_layers));
  } else {
    KVASIR_ASSIGN_OR_RETURN(period, fields.count(kKey, period));
    for (std::int64_t i = 0; i < num_layers; ++i) slides.push_back(period == 0 || (i + 1) % period != 0);
  }
  json types = json::array();
  for (const double each : slides) types.push_back(each != 0 ? "sliding_attention" : "full_attention");
  return types;
}

Status read_window(Fields& fields, json& config) {
  KVASIR_ASSIGN_OR_RETURN(const std::int64_t window, fields.count("attention.sliding_window", 0));
  config["sliding_window"] = window > 0 ? json(window) : json(nullptr);
  return Status();
}

Status read_experts(Fields& fields, const char* count_key, json& config) {
  KVASIR_ASSIGN_OR_RETURN(config[count_key], fields.count("expert_count"));
  KVASIR_ASSIGN_OR_RETURN(config["num_experts_per_tok"], fields.count("expert_used_count"));
  return Status();
}

Status read_llama(Fields& fields, json& config) {
  KVASIR_ASSIGN_OR_RETURN(const std::int64_t num_experts, fields.count("expert_count", 0));
  fields.ignore("expert_used_count");
  if (fields.has("attention.sliding_window")) {
    KVASIR_RETURN_IF_ERROR(read_window(fields, config));
    config["architectures"] = {"MistralForCausalLM"};
    config["model_type"] = "mistral";
  }
  if (num_experts == 0) return Status();
  config["architectures"] = {"MixtralForCausalLM"};
  config["model_type"] = "mixtral";
  return read_experts(fields, "num_local_experts", config);
}

// Gemma 2 and 3. Of all sizes only the largest divides scores by the width of a head of the model and not by
// that of the keys, which the format has no key for.
Status read_gemma(Fields& fields, std::int64_t largest_num_layers, std::int64_t period, json& config) {
  const auto layers = config["num_hidden_layers"].get<std::int64_t>();
  config["hidden_activation"] = "gelu_pytorch_tanh";
  const auto hidden = config["hidden_size"].get<std::int64_t>();
  const auto heads = config["num_attention_heads"].get<std::int64_t>();
  config["query_pre_attn_scalar"] = layers == largest_num_layers
                                        ? json(static_cast<double>(hidden) / static_cast<double>(heads))
                                        : config["head_dim"];
  for (const char* name : {"attn_logit_softcapping", "final_logit_softcapping"}) {
    config[name] = nullptr;
    if (fields.has(name)) {
      KVASIR_ASSIGN_OR_RETURN(config[name], fields.number(name));
    }
  }
  KVASIR_RETURN_IF_ERROR(read_window(fields, config));
  KVASIR_ASSIGN_OR_RETURN(config["layer_types"], layer_types(fields, layers, period));
  return Status();
}

Status read_gemma3(Fields& fields, json& config) {
  KVASIR_RETURN_IF_ERROR(read_gemma(fields, 62, 6, config));
  KVASIR_ASSIGN_OR_RETURN(config["rope_local_base_freq"], fields.number("rope.freq_base_swa", 10000.0));
  return Status();
}

Status read_granite(Fields& fields, json& config) {
  constexpr std::pair<const char*, const char*> kScales[] = {{"attention.scale", "attention_multiplier"},
                                                             {"embedding_scale", "embedding_multiplier"},
                                                             {"residual_scale", "residual_multiplier"},
                                                             {"logit_scale", "logits_scaling"}};
  for (const auto& [name, key] : kScales) {
    if (fields.has(name)) {
      KVASIR_ASSIGN_OR_RETURN(config[key], fields.number(name));
    }
  }
  return Status();
}

// Three layers of four turn queries and keys.
void add_no_rope_layers(json& config) {
  json has_rope = json::array();
  const auto layers = config["num_hidden_layers"].get<std::int64_t>();
  for (std::int64_t i = 0; i < layers; ++i) has_rope.push_back((i + 1) % 4 == 0 ? 0 : 1);
  config["no_rope_layers"] = std::move(has_rope);
}

// Which has keys of its own for the sizes.
Status read_gpt2(Fields& fields, json& config) {
  constexpr std::pair<const char*, const char*> kNames[] = {
      {"architectures", "architectures"}, {"model_type", "model_type"},
      {"vocab_size", "vocab_size"},       {"tie_word_embeddings", "tie_word_embeddings"},
      {"hidden_size", "n_embd"},          {"num_hidden_layers", "n_layer"},
      {"num_attention_heads", "n_head"},  {"max_position_embeddings", "n_positions"},
      {"intermediate_size", "n_inner"}};
  json own = json::object();
  for (const auto& [name, key] : kNames) own[key] = config[name];
  config = std::move(own);
  config["activation_function"] = "gelu_new";
  config["is_transposed"] = false;  // which the original's matrices are
  KVASIR_ASSIGN_OR_RETURN(config["layer_norm_epsilon"], fields.number("attention.layer_norm_epsilon"));
  return Status();
}

Status read_neox(Fields& fields, json& config) {
  KVASIR_ASSIGN_OR_RETURN(config["layer_norm_eps"], fields.number("attention.layer_norm_epsilon"));
  KVASIR_ASSIGN_OR_RETURN(config["use_parallel_residual"], fields.boolean("use_parallel_residual", true));
  config["rotary_pct"] = config.value("partial_rotary_factor", 1.0);
  config["rotary_emb_base"] = config["rope_theta"];
  config["hidden_act"] = "gelu";
  return Status();
}

Status read_falcon(const Gguf& gguf, Fields& fields, json& config) {
  KVASIR_ASSIGN_OR_RETURN(config["layer_norm_epsilon"], fields.number("attention.layer_norm_epsilon"));
  fields.ignore("tensor_data_layout");
  config.erase("attention_bias");
  config["ffn_hidden_size"] = config["intermediate_size"];
  config.erase("intermediate_size");
  const bool has_two_norms = gguf.tensors.contains("blk.0.attn_norm_2.weight");
  config["num_kv_heads"] = config["num_key_value_heads"];
  config["multi_query"] = config["num_key_value_heads"] == 1;
  config["new_decoder_architecture"] = has_two_norms || config["num_key_value_heads"] != 1;
  config["num_ln_in_parallel_attn"] = has_two_norms ? 2 : 1;
  config["parallel_attn"] = true;
  config["alibi"] = false;
  config["bias"] = gguf.tensors.contains("blk.0.attn_qkv.bias");
  return Status();
}

// What is special in the family.
Status read_family(const Gguf& gguf, const GgufFamily& family, Fields& fields, json& config) {
  const std::string_view name = family.architecture;
  // Those of Qwen 2 are not an option.
  const bool has_q_bias = gguf.tensors.contains("blk.0.attn_q.bias") && name != "qwen2";
  if (has_q_bias || gguf.tensors.contains("blk.0.attn_output.bias")) config["attention_bias"] = true;
  if (gguf.tensors.contains("blk.0.ffn_gate.bias")) config["mlp_bias"] = true;
  if (fields.has("attention.layer_norm_rms_epsilon")) {
    KVASIR_ASSIGN_OR_RETURN(config["rms_norm_eps"], fields.number("attention.layer_norm_rms_epsilon"));
  }
  if (name == "llama") return read_llama(fields, config);
  if (name == "mistral") return read_window(fields, config);
  if (name == "granite") return read_granite(fields, config);
  if (name == "smollm3") add_no_rope_layers(config);
  if (name == "qwen3moe") {
    KVASIR_ASSIGN_OR_RETURN(config["moe_intermediate_size"], fields.count("expert_feed_forward_length"));
    config["norm_topk_prob"] = true;
    config["decoder_sparse_step"] = 1;
    return read_experts(fields, "num_experts", config);
  }
  if (name == "gemma") config["hidden_activation"] = "gelu_pytorch_tanh";
  if (name == "gemma2") return read_gemma(fields, 46, 2, config);
  if (name == "gemma3") return read_gemma3(fields, config);
  if (name == "phi3") return read_window(fields, config);
  if (name == "gpt2") return read_gpt2(fields, config);
  if (name == "starcoder2") {
    config.erase("attention_bias");
    KVASIR_ASSIGN_OR_RETURN(config["norm_epsilon"], fields.number("attention.layer_norm_epsilon"));
    config["hidden_act"] = "gelu_pytorch_tanh";
    config["use_bias"] = gguf.tensors.contains("blk.0.attn_q.bias");
    return read_window(fields, config);
  }
  if (name == "gptneox") return read_neox(fields, config);
  if (name == "falcon") return read_falcon(gguf, fields, config);
  return Status();
}

// Tokens that end a turn in models whose file names only the end of a text.
constexpr std::string_view kTurnEnds[] = {"<|eot_id|>", "<|im_end|>", "<|end|>", "<end_of_turn>",
                                          "<|eom_id|>"};

Status read_special_tokens(const GgufMetadata& metadata, json& config) {
  const std::int64_t most = config["vocab_size"].get<std::int64_t>() - 1;
  KVASIR_ASSIGN_OR_RETURN(const std::int64_t bos,
                          metadata.integer("tokenizer.ggml.bos_token_id", 0, most, -1));
  if (bos >= 0) config["bos_token_id"] = bos;
  std::vector<std::int64_t> ends;
  for (const char* name : {"eos", "eot", "eom"}) {
    KVASIR_ASSIGN_OR_RETURN(const std::int64_t id,
                            metadata.integer(fmt::format("tokenizer.ggml.{}_token_id", name), 0, most, -1));
    if (id >= 0 && std::find(ends.begin(), ends.end(), id) == ends.end()) ends.push_back(id);
  }
  if (metadata.has("tokenizer.ggml.tokens")) {
    KVASIR_ASSIGN_OR_RETURN(const auto tokens, metadata.texts("tokenizer.ggml.tokens"));
    for (std::size_t i = 0; i < tokens.size() && i <= static_cast<std::size_t>(most); ++i) {
      if (std::find(std::begin(kTurnEnds), std::end(kTurnEnds), tokens[i]) == std::end(kTurnEnds)) continue;
      const auto id = static_cast<std::int64_t>(i);
      if (std::find(ends.begin(), ends.end(), id) == ends.end()) ends.push_back(id);
    }
  }
  config["eos_token_id"] = ends;
  return Status();
}

}  // namespace

Result<json> gguf_config(const Gguf& gguf) {
  KVASIR_ASSIGN_OR_RETURN(const GgufFamily family, find_family(gguf.metadata));
  Fields fields(gguf.metadata, family.architecture);
  KVASIR_ASSIGN_OR_RETURN(json config, read_sizes(gguf, family, fields));
  KVASIR_RETURN_IF_ERROR(read_family(gguf, family, fields, config));
  KVASIR_RETURN_IF_ERROR(read_special_tokens(gguf.metadata, config));
  KVASIR_RETURN_IF_ERROR(fields.check_all_read());
  return config;
}

}  // namespace kvasir::format
