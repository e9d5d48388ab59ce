#include "format/gguf_config.h"

#include <algorithm>
#include <nlohmann/json.hpp>
#include <utility>

#include "format/gguf_fields.h"
#include "format/gguf_names.h"
#include "format/gguf_rope.h"

namespace kvasir::format {
namespace {

using nlohmann::json;

constexpr std::int64_t kMaxLayers = 4096;

// The sizes that all families have.
Result<json> read_sizes(const Gguf& gguf, const GgufFamily& family, GgufFields& fields) {
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
  constexpr std::int64_t kMean = 1;  // which an embedding is
  KVASIR_ASSIGN_OR_RETURN(const std::int64_t pooling, fields.count("pooling_type", kMean));
  if (pooling != kMean) {
    return error(StatusCode::kUnsupported, "{}: key '{}': supported is {}, the mean of all tokens, got {}",
                 gguf.metadata.file(), fields.key("pooling_type"), kMean, pooling);
  }
  config["tie_word_embeddings"] = !gguf.tensors.contains("output.weight");
  KVASIR_RETURN_IF_ERROR(add_rope(gguf, fields, head_dim, config));
  return config;
}

// Which layers have a window, as layer_types: those that the file names or, where it names none, those whose
// number in each run of `period` is not the last.
Result<json> layer_types(GgufFields& fields, std::int64_t num_layers, std::int64_t period) {
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

Status read_window(GgufFields& fields, json& config, std::int64_t otherwise = 0) {
  KVASIR_ASSIGN_OR_RETURN(const std::int64_t window, fields.count("attention.sliding_window", otherwise));
  config["sliding_window"] = window > 0 ? json(window) : json(nullptr);
  return Status();
}

Status read_experts(GgufFields& fields, const char* count_key, json& config) {
  KVASIR_ASSIGN_OR_RETURN(config[count_key], fields.count("expert_count"));
  KVASIR_ASSIGN_OR_RETURN(config["num_experts_per_tok"], fields.count("expert_used_count"));
  return Status();
}

Status read_qwen3_moe(GgufFields& fields, json& config) {
  KVASIR_ASSIGN_OR_RETURN(config["moe_intermediate_size"], fields.count("expert_feed_forward_length"));
  if (fields.has("expert_shared_feed_forward_length")) {
    KVASIR_ASSIGN_OR_RETURN(config["shared_expert_intermediate_size"],
                            fields.count("expert_shared_feed_forward_length"));
  }
  config["norm_topk_prob"] = true;
  config["decoder_sparse_step"] = 1;
  return read_experts(fields, "num_experts", config);
}

Status read_llama(GgufFields& fields, json& config) {
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

// What is not the same in Gemma 2 and 3. Early files of Gemma 2 have no keys for caps and window; all its
// models have the same ones.
struct GemmaKind {
  std::int64_t largest_num_layers, period;
  double attention_cap = 0, logits_cap = 0;  // 0: none
  std::int64_t window = 0;
};

// Of all sizes only the largest divides scores by the width of a head of the model and not by that of the
// keys, which the format has no key for.
Status read_gemma(GgufFields& fields, const GemmaKind& kind, json& config) {
  const auto layers = config["num_hidden_layers"].get<std::int64_t>();
  config["hidden_activation"] = "gelu_pytorch_tanh";
  const auto hidden = config["hidden_size"].get<std::int64_t>();
  const auto heads = config["num_attention_heads"].get<std::int64_t>();
  config["query_pre_attn_scalar"] = layers == kind.largest_num_layers
                                        ? json(static_cast<double>(hidden) / static_cast<double>(heads))
                                        : config["head_dim"];
  for (const auto& [name, otherwise] : {std::pair("attn_logit_softcapping", kind.attention_cap),
                                        std::pair("final_logit_softcapping", kind.logits_cap)}) {
    KVASIR_ASSIGN_OR_RETURN(const double cap, fields.number(name, otherwise));
    config[name] = cap == 0 ? json(nullptr) : json(cap);
  }
  KVASIR_RETURN_IF_ERROR(read_window(fields, config, kind.window));
  KVASIR_ASSIGN_OR_RETURN(config["layer_types"], layer_types(fields, layers, kind.period));
  return Status();
}

Status read_gemma3(GgufFields& fields, json& config) {
  KVASIR_RETURN_IF_ERROR(read_gemma(fields, {.largest_num_layers = 62, .period = 6}, config));
  KVASIR_ASSIGN_OR_RETURN(config["rope_local_base_freq"], fields.number("rope.freq_base_swa", 10000.0));
  return Status();
}

Status read_granite(GgufFields& fields, json& config) {
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
Status read_gpt2(GgufFields& fields, json& config) {
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

Status read_neox(GgufFields& fields, json& config) {
  KVASIR_ASSIGN_OR_RETURN(config["layer_norm_eps"], fields.number("attention.layer_norm_epsilon"));
  KVASIR_ASSIGN_OR_RETURN(config["use_parallel_residual"], fields.boolean("use_parallel_residual", true));
  config["rotary_pct"] = config.value("partial_rotary_factor", 1.0);
  config["rotary_emb_base"] = config["rope_theta"];
  config["hidden_act"] = "gelu";
  return Status();
}

Status read_falcon(const Gguf& gguf, GgufFields& fields, json& config) {
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
Status read_family(const Gguf& gguf, const GgufFamily& family, GgufFields& fields, json& config) {
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
  if (name == "qwen3moe") return read_qwen3_moe(fields, config);
  if (name == "gemma") config["hidden_activation"] = "gelu_pytorch_tanh";
  if (name == "gemma2") {
    return read_gemma(
        fields,
        {.largest_num_layers = 46, .period = 2, .attention_cap = 50, .logits_cap = 30, .window = 4096},
        config);
  }
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
// And those that may be plain text in another model: they count where the file says that they are special.
constexpr std::string_view kSpecialEnds[] = {"<|endoftext|>",
                                             "<|end_of_text|>",
                                             "<EOT>",
                                             "_<EOT>",
                                             "[EOT]",
                                             "[EOS]",
                                             "</s>",
                                             "<eos>",
                                             "<end_of_utterance>",
                                             "<\uff5cend\u2581of\u2581sentence\uff5c>"};

// The ids of these tokens, up to `most`.
Result<std::vector<std::int64_t>> find_ends(const GgufMetadata& metadata, std::int64_t most) {
  constexpr double kControl = 3, kUserDefined = 4;
  std::vector<std::int64_t> ends;
  if (!metadata.has("tokenizer.ggml.tokens")) return ends;
  KVASIR_ASSIGN_OR_RETURN(const auto tokens, metadata.texts("tokenizer.ggml.tokens"));
  std::vector<double> types;
  if (metadata.has("tokenizer.ggml.token_type")) {
    KVASIR_ASSIGN_OR_RETURN(types, metadata.numbers("tokenizer.ggml.token_type"));
  }
  const auto contains = [](const auto& list, std::string_view text) {
    return std::find(std::begin(list), std::end(list), text) != std::end(list);
  };
  for (std::size_t i = 0; i < tokens.size() && i <= static_cast<std::size_t>(most); ++i) {
    const bool is_special = i < types.size() && (types[i] == kControl || types[i] == kUserDefined);
    if (contains(kTurnEnds, tokens[i]) || (is_special && contains(kSpecialEnds, tokens[i]))) {
      ends.push_back(static_cast<std::int64_t>(i));
    }
  }
  return ends;
}

Status read_special_tokens(const GgufMetadata& metadata, json& config) {
  const std::int64_t most = config["vocab_size"].get<std::int64_t>() - 1;
  KVASIR_ASSIGN_OR_RETURN(const std::int64_t bos,
                          metadata.integer("tokenizer.ggml.bos_token_id", 0, most, -1));
  if (bos >= 0) config["bos_token_id"] = bos;
  std::vector<std::int64_t> ends;
  const auto add = [&](std::int64_t id) {
    if (id >= 0 && std::find(ends.begin(), ends.end(), id) == ends.end()) ends.push_back(id);
  };
  for (const char* name : {"eos", "eot", "eom"}) {
    KVASIR_ASSIGN_OR_RETURN(const std::int64_t id,
                            metadata.integer(fmt::format("tokenizer.ggml.{}_token_id", name), 0, most, -1));
    add(id);
  }
  KVASIR_ASSIGN_OR_RETURN(const auto found, find_ends(metadata, most));
  for (const std::int64_t id : found) add(id);
  config["eos_token_id"] = ends;
  return Status();
}

}  // namespace

Result<json> gguf_config(const Gguf& gguf) {
  KVASIR_ASSIGN_OR_RETURN(const GgufFamily family, find_family(gguf.metadata));
  GgufFields fields(gguf.metadata, family.architecture);
  KVASIR_ASSIGN_OR_RETURN(json config, read_sizes(gguf, family, fields));
  KVASIR_RETURN_IF_ERROR(read_family(gguf, family, fields, config));
  KVASIR_RETURN_IF_ERROR(read_special_tokens(gguf.metadata, config));
  KVASIR_RETURN_IF_ERROR(fields.check_all_read());
  return config;
}

}  // namespace kvasir::format
