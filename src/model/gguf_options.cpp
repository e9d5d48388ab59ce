#include "model/gguf_options.h"

#include <algorithm>
#include <cmath>
#include <nlohmann/json.hpp>
#include <numbers>
#include <span>
#include <string_view>
#include <utility>

#include "format/gguf.h"
#include "format/gguf_config.h"
#include "model/model_families.h"

namespace kvasir::model {
namespace {

using nlohmann::json;

// A number and a list of numbers of an object that read_model_config() has checked; a null is none.
double number(const json& object, const char* key, double otherwise) {
  const json value = object.value(key, json());
  return value.is_number() ? value.get<double>() : otherwise;
}

std::vector<float> numbers(const json& object, const char* key) {
  const json value = object.value(key, json());
  return value.is_array() ? value.get<std::vector<float>>() : std::vector<float>();
}

class OptionWriter {
 public:
  OptionWriter(const ModelConfig& config, const json& object, const format::GgufFamily& family,
               format::GgufWriter& writer, GgufTensors& tensors)
      : config_(config),
        object_(object),
        architecture_(family.architecture),
        context_(number(object, "max_position_embeddings", config.max_position_embeddings)),
        writer_(writer),
        tensors_(tensors) {}

  void add_all() {
    constexpr std::uint32_t kQuantizationVersion = 2;
    writer_.add_text("general.architecture", architecture_);
    writer_.add_count("general.quantization_version", kQuantizationVersion);
    add_sizes();
    add_rope();
    add_windows();
    add_experts();
    add_special();
  }

 private:
  void add_count(const char* name, double value) {
    writer_.add_count(key(name), static_cast<std::uint32_t>(value));
  }
  void add_number(const char* name, double value) {
    writer_.add_number(key(name), static_cast<float>(value));
  }
  std::string key(const char* name) const { return architecture_ + "." + name; }

  void add_sizes() {
    add_count("vocab_size", config_.vocab_size);
    // Without what yarn raises it to.
    add_count("context_length", context_);
    add_count("embedding_length", config_.hidden_size);
    add_count("block_count", config_.num_layers);
    add_count("feed_forward_length", config_.intermediate_size);
    add_count("attention.head_count", config_.num_heads);
    add_count("attention.head_count_kv", config_.num_kv_heads);
    add_count("attention.key_length", config_.head_dim);
    add_count("attention.value_length", config_.head_dim);
    const bool is_rms = config_.norm == NormKind::kRms;
    add_number(is_rms ? "attention.layer_norm_rms_epsilon" : "attention.layer_norm_epsilon",
               config_.norm_eps);
  }

  void add_rope() {
    if (config_.rope.frequencies.empty()) return;  // learned positions
    add_count("rope.dimension_count", 2.0 * static_cast<double>(config_.rope.frequencies.size()));
    add_number("rope.freq_base", config_.rope.theta);
    if (!config_.local_rope.frequencies.empty()) add_number("rope.freq_base_swa", config_.local_rope.theta);
    const json scaling = find_scaling();
    json kind = scaling.value("rope_type", json());
    if (kind.is_null()) kind = scaling.value("type", json());
    if (kind == "linear" || kind == "yarn") {
      writer_.add_text(key("rope.scaling.type"), kind.get<std::string>());
      add_number("rope.scaling.factor", number(scaling, "factor", 1));
    }
    if (kind == "yarn") add_yarn(scaling);
    if (kind == "llama3") add_llama3(scaling);
    if (kind == "longrope" || kind == "su") add_longrope(scaling);
  }

  // Of the layers with full attention; the format has nothing for others.
  json find_scaling() const {
    json scaling = object_.value("rope_parameters", json());
    if (!scaling.is_object() || scaling.empty()) scaling = object_.value("rope_scaling", json());
    if (scaling.is_object() && scaling.contains("full_attention")) scaling = json(scaling["full_attention"]);
    return scaling.is_object() ? scaling : json::object();
  }

  double original_context(const json& scaling) const {
    constexpr const char* kKey = "original_max_position_embeddings";
    return number(scaling, kKey, number(object_, kKey, context_));
  }

  void add_yarn(const json& scaling) {
    add_count("rope.scaling.original_context_length", original_context(scaling));
    // The format's factor is on top of what yarn does to magnitudes.
    const double extra = config_.rope.magnitude / (1 + 0.1 * std::log(number(scaling, "factor", 1)));
    if (std::abs(extra - 1) > 1e-6) add_number("rope.scaling.attn_factor", extra);
    constexpr std::pair<const char*, const char*> kOptions[] = {{"beta_fast", "rope.scaling.yarn_beta_fast"},
                                                                {"beta_slow", "rope.scaling.yarn_beta_slow"}};
    for (const auto& [option, name] : kOptions) {
      if (scaling.value(option, json()).is_number()) add_number(name, number(scaling, option, 0));
    }
  }

  // Which the format has no numbers for, but the factor by which each frequency is divided.
  void add_llama3(const json& scaling) {
    const double factor = number(scaling, "factor", 1), low = number(scaling, "low_freq_factor", 1),
                 high = number(scaling, "high_freq_factor", 4), original = original_context(scaling);
    std::vector<float> factors;
    const auto count = static_cast<double>(config_.rope.frequencies.size());
    for (double i = 0; i < count; ++i) {
      const double turns = original * std::pow(config_.rope.theta, -i / count) / (2 * std::numbers::pi);
      const double kept = std::clamp((turns - low) / (high - low), 0.0, 1.0);
      factors.push_back(static_cast<float>(1 / ((1 - kept) / factor + kept)));
    }
    add_factors("rope_freqs.weight", std::move(factors));
  }

  void add_longrope(const json& scaling) {
    writer_.add_text(key("rope.scaling.type"), "longrope");
    add_number("rope.scaling.attn_factor", config_.rope.magnitude);
    add_count("rope.scaling.original_context_length", original_context(scaling));
    add_factors("rope_factors_long.weight", numbers(scaling, "long_factor"));
    add_factors("rope_factors_short.weight", numbers(scaling, "short_factor"));
  }

  void add_factors(const char* name, std::vector<float> factors) {
    if (factors.empty()) return;
    GgufTensor& tensor = tensors_[name];
    tensor.shape = {static_cast<std::int64_t>(factors.size())};
    tensor.values = std::move(factors);
  }

  void add_windows() {
    int window = 0;
    for (const LayerConfig& layer : config_.layers) window = std::max(window, layer.window);
    const bool is_gemma3 = architecture_ == "gemma3";
    if (architecture_ == "gemma2" || is_gemma3) {
      // One as long as the context is none, but the layers that it would be of rotate as it says.
      add_count("attention.sliding_window", window > 0 ? window : context_);
      if (window > 0 || is_gemma3) add_window_pattern(is_gemma3 ? 6 : 2);
    } else if (architecture_ == "phi3") {
      add_count("attention.sliding_window", window);  // also 0, by which readers tell Phi 4
    } else if (window > 0 && (architecture_ == "llama" || architecture_ == "starcoder2")) {
      add_count("attention.sliding_window", window);
    }
  }

  // Which layers have the window, where that is not all but the last of each run of `period`.
  void add_window_pattern(std::size_t period) {
    std::vector<bool> slides;
    bool is_usual = true;
    for (const LayerConfig& layer : config_.layers) {
      slides.push_back(layer.window > 0 || layer.rope == LayerRope::kLocal);
      is_usual = is_usual && slides.back() == (slides.size() % period != 0);
    }
    if (!is_usual) writer_.add_booleans(key("attention.sliding_window_pattern"), slides);
  }

  void add_experts() {
    if (config_.num_experts == 0) return;
    add_count("expert_count", config_.num_experts);
    add_count("expert_used_count", config_.num_chosen_experts);
    if (architecture_ == "qwen3moe")
      add_count("expert_feed_forward_length", config_.expert_intermediate_size);
  }

  void add_special() {
    if (config_.attention_soft_cap > 0) add_number("attn_logit_softcapping", config_.attention_soft_cap);
    if (config_.logits_soft_cap > 0) add_number("final_logit_softcapping", config_.logits_soft_cap);
    if (architecture_ == "granite") {
      add_number("attention.scale", config_.attention_scale);
      add_number("embedding_scale", config_.embedding_scale);
      add_number("residual_scale", config_.residual_scale);
      add_number("logit_scale", number(object_, "logits_scaling", 1));
    }
    if (architecture_ == "gptneox") {
      writer_.add_boolean(key("use_parallel_residual"), config_.is_parallel);
    }
    if (architecture_ == "falcon") writer_.add_text(key("tensor_data_layout"), "jploski");
  }

  const ModelConfig& config_;
  const json& object_;
  const std::string architecture_;
  const double context_;  // as config.json says it
  format::GgufWriter& writer_;
  GgufTensors& tensors_;
};

// But for what numbers lose in f32, in which the format has them.
bool is_same(const RopeConfig& a, const RopeConfig& b) {
  const auto is_near = [](float x, float y) { return std::abs(x - y) <= 1e-6f * std::abs(x); };
  const auto are_near = [&](const std::vector<float>& x, const std::vector<float>& y) {
    return std::equal(x.begin(), x.end(), y.begin(), y.end(), is_near);
  };
  return are_near(a.frequencies, b.frequencies) && are_near(a.short_frequencies, b.short_frequencies) &&
         a.short_context == b.short_context && is_near(a.magnitude, b.magnitude);
}

template <typename T>
bool is_same_in_layers(const ModelConfig& a, const ModelConfig& b, T LayerConfig::*option) {
  return std::equal(a.layers.begin(), a.layers.end(), b.layers.begin(), b.layers.end(),
                    [&](const LayerConfig& x, const LayerConfig& y) { return x.*option == y.*option; });
}

// The keys of config.json for an option that the two have not in common; null for none.
const char* find_difference(const ModelConfig& a, const ModelConfig& b) {
  const std::pair<const char*, bool> kOptions[] = {
      {"vocab_size", a.vocab_size == b.vocab_size},
      {"hidden_size", a.hidden_size == b.hidden_size},
      {"intermediate_size", a.intermediate_size == b.intermediate_size},
      {"num_hidden_layers", a.num_layers == b.num_layers},
      {"num_attention_heads", a.num_heads == b.num_heads},
      {"num_key_value_heads", a.num_kv_heads == b.num_kv_heads},
      {"head_dim", a.head_dim == b.head_dim},
      {"max_position_embeddings", a.max_position_embeddings == b.max_position_embeddings},
      {"n_positions", a.num_learned_positions == b.num_learned_positions},
      {"sliding_window or layer_types", is_same_in_layers(a, b, &LayerConfig::window)},
      {"no_rope_layers", is_same_in_layers(a, b, &LayerConfig::rope)},
      {"mlp_only_layers or decoder_sparse_step", is_same_in_layers(a, b, &LayerConfig::has_experts)},
      {"the kind of norms", a.norm == b.norm && a.norm_weight_offset == b.norm_weight_offset &&
                                a.norm_bias == b.norm_bias && a.qk_norm == b.qk_norm},
      {"the epsilon of norms", a.norm_eps == b.norm_eps},
      {"parallel_attn or use_parallel_residual", a.is_parallel == b.is_parallel},
      {"rope_theta or rope_scaling", is_same(a.rope, b.rope)},
      {"rope_local_base_freq or rope_parameters", is_same(a.local_rope, b.local_rope)},
      {"query_pre_attn_scalar or another scale of attention", a.attention_scale == b.attention_scale},
      {"attn_logit_softcapping", a.attention_soft_cap == b.attention_soft_cap},
      {"attention_bias", a.qkv_bias == b.qkv_bias && a.attention_output_bias == b.attention_output_bias},
      {"the activation of MLPs", a.activation == b.activation},
      {"mlp_bias", a.mlp_bias == b.mlp_bias},
      {"the number of experts", a.num_experts == b.num_experts},
      {"num_experts_per_tok", a.num_chosen_experts == b.num_chosen_experts},
      {"moe_intermediate_size", a.expert_intermediate_size == b.expert_intermediate_size},
      {"norm_topk_prob", a.normalizes_expert_weights == b.normalizes_expert_weights},
      {"embedding_multiplier", a.embedding_scale == b.embedding_scale},
      {"residual_multiplier", a.residual_scale == b.residual_scale},
      {"logits_scaling", a.logits_scale == b.logits_scale},
      {"final_logit_softcapping", a.logits_soft_cap == b.logits_soft_cap},
      {"tie_word_embeddings", a.tie_word_embeddings == b.tie_word_embeddings},
  };
  for (const auto& [option, is_equal] : kOptions) {
    if (!is_equal) return option;
  }
  return nullptr;
}

}  // namespace

void add_options(const ModelConfig& config, const json& object, const format::GgufFamily& family,
                 format::GgufWriter& writer, GgufTensors& tensors) {
  OptionWriter(config, object, family, writer, tensors).add_all();
}

Status check_options(const std::string& where, const ModelConfig& config, const format::GgufFamily& family,
                     const format::GgufWriter& writer, const GgufTensors& tensors) {
  const std::string name = where + ", as GGUF", header = writer.header();
  KVASIR_ASSIGN_OR_RETURN(format::Gguf file, format::parse_gguf(name, std::as_bytes(std::span(header))));
  for (const auto& [tensor_name, tensor] : tensors) {
    // Of the content only the factors count.
    format::TensorInfo& info = file.tensors[tensor_name];
    info.file = name;
    info.dtype = format::TensorDtype::kF32;
    info.shape = tensor.shape;
    info.data = std::as_bytes(std::span(tensor.values));
  }
  KVASIR_ASSIGN_OR_RETURN(const json object, format::gguf_config(file));
  ModelConfig read;
  KVASIR_RETURN_IF_ERROR(read_family(name, object, read));
  const char* difference = find_difference(config, read);
  if (difference == nullptr) return Status();
  return error(StatusCode::kUnsupported,
               "{}: {}: GGUF has no key for this value in models of architecture '{}'", where, difference,
               family.architecture);
}

}  // namespace kvasir::model
