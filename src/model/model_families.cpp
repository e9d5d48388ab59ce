#include "model/model_families.h"

#include <algorithm>
#include <cmath>
#include <iterator>
#include <nlohmann/json.hpp>
#include <optional>
#include <string_view>

#include "model/config_reader.h"
#include "model/family_options.h"
#include "model/harmless_keys.h"

namespace kvasir::model {
namespace {

using backend::Activation;

void read_llama(ConfigReader& f, ModelConfig& c) {
  read_llama_like(f, c);
  read_attention_bias(f, c);
  c.mlp_bias = f.flag("mlp_bias", false);
  f.expect("is_llama_config", true);
  f.expect("rope_interleaved", false);
  constexpr const char* kUnused[] = {"max_sequence_length"};  // of Llama 1, beside max_position_embeddings
  f.ignore(kUnused);
}

void read_mistral(ConfigReader& f, ModelConfig& c) {
  read_llama_like(f, c, {.num_kv_heads = 8, .context = 131072});
  read_common_window(f, c, 4096);
  f.expect("attention_bias", false);
}

void read_experts(ConfigReader& f, ModelConfig& c, int count, int chosen) {
  constexpr const char* kTraining[] = {"output_router_logits", "router_aux_loss_coef", "router_jitter_noise"};
  f.ignore(kTraining);
  const char* key = f.has("num_local_experts") ? "num_local_experts" : "num_experts";
  c.num_experts = f.integer(key, 0, 1 << 12, count);
  f.expect("num_experts", static_cast<double>(c.num_experts));
  if (c.num_experts > 0) c.num_chosen_experts = f.integer("num_experts_per_tok", 1, c.num_experts, chosen);
}

void read_mixtral(ConfigReader& f, ModelConfig& c) {
  read_llama_like(f, c, {.num_kv_heads = 8, .context = 131072}, 1e6, 1e-5);
  read_common_window(f, c);
  read_experts(f, c, 8, 2);
  c.expert_intermediate_size = c.intermediate_size;
  c.normalizes_expert_weights = true;
  if (c.num_experts == 0) f.wrong("num_local_experts", "at least 1");
  for (LayerConfig& layer : c.layers) layer.has_experts = true;
  c.tensors.router = "block_sparse_moe.gate";
  c.tensors.experts = "block_sparse_moe.experts";
  c.tensors.expert_gate = "w1";
  c.tensors.expert_up = "w3";
  c.tensors.expert_down = "w2";
}

// The windows of Qwen2 and its descendants are there only if use_sliding_window says so.
std::optional<int> read_optional_window(ConfigReader& f, std::optional<int> otherwise) {
  const std::optional<int> window = read_window(f, otherwise);
  return f.flag("use_sliding_window", false) ? window : std::nullopt;
}

void read_qwen2_windows(ConfigReader& f, ModelConfig& c) {
  const std::optional<int> window = read_optional_window(f, 4096);
  const int first = f.integer("max_window_layers", 0, 1 << 12, 28);
  read_layer_types(f, c, window, [&](int layer) { return window && layer >= first; });
}

void read_qwen2(ConfigReader& f, ModelConfig& c) {
  read_llama_like(f, c, {.num_kv_heads = 32, .context = 32768});
  read_qwen2_windows(f, c);
  c.qkv_bias = true;
  constexpr const char* kUnused[] = {"use_mrope"};  // false, or of the vision part that is not there
  f.ignore(kUnused);
}

void read_qk_norms(ModelConfig& c, QkNorm kind) {
  c.qk_norm = kind;
  c.tensors.q_norm = "self_attn.q_norm";
  c.tensors.k_norm = "self_attn.k_norm";
}

void read_qwen3(ConfigReader& f, ModelConfig& c) {
  read_llama_like(f, c, {.num_kv_heads = 32, .head_dim = 128, .context = 32768});
  read_qwen2_windows(f, c);
  read_attention_bias(f, c);
  read_qk_norms(c, QkNorm::kHead);
}

void read_qwen3_moe(ConfigReader& f, ModelConfig& c) {
  read_llama_like(f, c, {.num_kv_heads = 4, .context = 32768});
  const std::optional<int> window = read_optional_window(f, 4096);
  read_layer_types(f, c, window, [&](int) { return window.has_value(); });
  constexpr const char* kUnused[] = {"max_window_layers"};
  f.ignore(kUnused);
  read_attention_bias(f, c);
  f.expect("qkv_bias", false);
  read_qk_norms(c, QkNorm::kHead);
  f.expect("use_qk_norm", true);
  read_experts(f, c, 128, 8);
  f.expect("shared_expert_intermediate_size", 0);
  c.expert_intermediate_size = f.integer("moe_intermediate_size", 1, 1 << 19, 768);
  c.normalizes_expert_weights = f.flag("norm_topk_prob", false);
  const int step = f.integer("decoder_sparse_step", 1, 1 << 12, 1);
  const std::vector<int> dense = f.integers("mlp_only_layers", 0, 1 << 12);
  for (int i = 0; i < static_cast<int>(c.layers.size()); ++i) {
    const bool is_dense = std::find(dense.begin(), dense.end(), i) != dense.end();
    c.layers[i].has_experts = c.num_experts > 0 && !is_dense && (i + 1) % step == 0;
  }
}

// What all Gemmas have in common.
void read_gemma_like(ConfigReader& f, ModelConfig& c, const ShapeDefaults& shape, const RopeDefaults& rope) {
  read_shape(f, c, shape);
  c.intermediate_size = f.integer("intermediate_size", 1, 1 << 19);
  read_norm(f, c, NormKind::kRms, "rms_norm_eps", 1e-6);
  c.norm_weight_offset = 1;
  read_rope(f, c, rope);
  read_attention_bias(f, c);
  f.expect("use_bidirectional_attention", false);
  c.embedding_scale = std::sqrt(static_cast<float>(c.hidden_size));
}

void read_gemma(ConfigReader& f, ModelConfig& c) {
  read_gemma_like(f, c, {.head_dim = 256, .context = 8192}, {});
  // Early files say gelu and mean its approximation, with which the models were trained.
  const bool is_old = f.text("hidden_act", "") == "gelu" && !f.has("hidden_activation");
  const char* key = f.has("hidden_activation") ? "hidden_activation" : "hidden_act";
  c.activation = is_old ? Activation::kGeluTanh : read_activation(f, key, "gelu_pytorch_tanh");
}

void read_gemma2_options(ConfigReader& f, ModelConfig& c, double attention_cap, double logits_cap) {
  constexpr const char* kUnused[] = {"hidden_act"};
  f.ignore(kUnused);
  c.activation = read_activation(f, "hidden_activation", "gelu_pytorch_tanh");
  c.attention_scale = static_cast<float>(1 / std::sqrt(f.number("query_pre_attn_scalar", 1e-6, 1e9, 256)));
  c.attention_soft_cap = static_cast<float>(number_or_none(f, "attn_logit_softcapping", attention_cap));
  c.logits_soft_cap = static_cast<float>(number_or_none(f, "final_logit_softcapping", logits_cap));
  c.tensors.attention_post_norm = "post_attention_layernorm";
  c.tensors.mlp_norm = "pre_feedforward_layernorm";
  c.tensors.mlp_post_norm = "post_feedforward_layernorm";
}

void read_gemma2(ConfigReader& f, ModelConfig& c) {
  read_gemma_like(f, c, {.num_kv_heads = 4, .head_dim = 256, .context = 8192}, {});
  read_gemma2_options(f, c, 50, 30);
  const std::optional<int> window = read_window(f, 4096);
  if (window) f.expect("sliding_window_size", *window);
  read_layer_types(f, c, window, [](int layer) { return layer % 2 == 0; });
}

void read_gemma3(ConfigReader& f, ModelConfig& c) {
  read_gemma_like(
      f, c, {.vocab_size = 262208, .num_heads = 8, .num_kv_heads = 4, .head_dim = 256, .context = 131072},
      {.theta = 1e6, .layer_type = "full_attention"});
  const RopeDefaults local = {.layer_type = "sliding_attention", .theta_key = "rope_local_base_freq"};
  c.local_rope = read_rope(f, c.head_dim, c.max_position_embeddings, local).config;
  read_gemma2_options(f, c, 0, 0);
  read_qk_norms(c, QkNorm::kHead);
  const int pattern =
      f.integer("_sliding_window_pattern", 1, 1 << 12, f.integer("sliding_window_pattern", 1, 1 << 12, 6));
  const auto slides = [&](int layer) { return (layer + 1) % pattern != 0; };
  // A window as long as the context still has the local rotation.
  const std::vector<std::string> types = f.texts("layer_types", c.num_layers);
  for (std::size_t i = 0; i < c.layers.size(); ++i) {
    const bool is_local = types.empty() ? slides(static_cast<int>(i)) : types[i] == "sliding_attention";
    if (is_local) c.layers[i].rope = LayerRope::kLocal;
  }
  read_layer_types(f, c, read_window(f, 4096), slides);
  c.tensors.roots = {"model.", "language_model.model.", "model.language_model."};
  c.tensors.output = {"lm_head", "language_model.lm_head"};
}

void read_phi3(ConfigReader& f, ModelConfig& c) {
  read_shape(f, c, {.context = 4096});
  c.intermediate_size = f.integer("intermediate_size", 1, 1 << 19);
  read_norm(f, c, NormKind::kRms, "rms_norm_eps", 1e-5);
  read_rope(f, c, {.rotary_factor = 1, .original_context = 4096});
  c.activation = read_activation(f, "hidden_act", "silu");
  read_common_window(f, c);
  for (const char* key : {"attention_bias", "mlp_bias", "lm_head_bias"}) f.expect(key, false);
  for (const char* key : {"full_attn_mod", "interpolate_factor"}) f.expect(key, 1.0);
  c.tensors.qkv_layout = QkvLayout::kJoined;
  c.tensors.q = "self_attn.qkv_proj";
  c.tensors.gate = c.tensors.up = "mlp.gate_up_proj";
}

void read_smollm3(ConfigReader& f, ModelConfig& c) {
  read_llama_like(f, c, {.num_kv_heads = 4, .context = 32768}, 2e6);
  read_attention_bias(f, c);
  c.mlp_bias = f.flag("mlp_bias", false);
  const int interval = f.integer("no_rope_layer_interval", 1, 1 << 12, 4);
  const std::vector<double> rope_layers = f.numbers("no_rope_layers", c.num_layers, 0, 1);
  for (int i = 0; i < static_cast<int>(c.layers.size()); ++i) {
    const bool has_rope = rope_layers.empty() ? (i + 1) % interval != 0 : rope_layers[i] != 0;
    if (!has_rope) c.layers[i].rope = LayerRope::kNone;
  }
  const std::optional<int> window = read_optional_window(f, std::nullopt);
  read_layer_types(f, c, window,
                   [&](int layer) { return window && c.layers[layer].rope == LayerRope::kNone; });
  constexpr const char* kUnused[] = {"max_window_layers"};
  f.ignore(kUnused);
}

void read_olmo2(ConfigReader& f, ModelConfig& c) {
  read_llama_like(f, c, {}, 10000, 1e-5);
  read_attention_bias(f, c);
  read_qk_norms(c, QkNorm::kRow);
  c.tensors.attention_norm = c.tensors.mlp_norm = nullptr;
  c.tensors.attention_post_norm = "post_attention_layernorm";
  c.tensors.mlp_post_norm = "post_feedforward_layernorm";
}

void read_granite(ConfigReader& f, ModelConfig& c) {
  read_llama(f, c);
  c.embedding_scale = static_cast<float>(f.number("embedding_multiplier", 1e-9, 1e9, 1));
  c.residual_scale = static_cast<float>(f.number("residual_multiplier", 1e-9, 1e9, 1));
  c.attention_scale = static_cast<float>(f.number("attention_multiplier", 1e-9, 1e9, 1));
  c.logits_scale = static_cast<float>(1 / f.number("logits_scaling", 1e-9, 1e9, 1));
}

void read_starcoder2(ConfigReader& f, ModelConfig& c) {
  read_shape(f, c, {.num_kv_heads = 2, .context = 4096});
  c.intermediate_size = f.integer("intermediate_size", 1, 1 << 19);
  read_norm(f, c, NormKind::kLayer, "norm_epsilon", 1e-5);
  read_rope(f, c, {});
  c.activation = read_activation(f, "hidden_act", "gelu_pytorch_tanh");
  read_common_window(f, c);
  c.qkv_bias = c.attention_output_bias = c.mlp_bias = f.flag("use_bias", true);
  f.expect("norm_type", "layer_norm");
  f.expect("mlp_type", "default");
  f.expect("scale_attn_weights", true);
  constexpr const char* kUnused[] = {"activation_function", "attention_softmax_in_fp32", "layer_norm_epsilon",
                                     "rms_norm_eps", "scale_attention_softmax_in_fp32"};
  f.ignore(kUnused);
  c.tensors.gate = nullptr;
  c.tensors.up = "mlp.c_fc";
  c.tensors.down = "mlp.c_proj";
}

void read_gpt2(ConfigReader& f, ModelConfig& c) {
  c.vocab_size = f.integer("vocab_size", 1, 1 << 22, 50257);
  c.hidden_size = f.integer("n_embd", 1, 1 << 17, 768);
  c.num_layers = f.integer("n_layer", 1, 1 << 12, 12);
  c.num_heads = c.num_kv_heads = f.integer("n_head", 1, 1 << 12, 12);
  c.head_dim = c.hidden_size / c.num_heads;
  if (c.hidden_size % c.num_heads != 0 || c.head_dim % 2 != 0) {
    f.wrong("n_head", fmt::format("heads of an even size that divide n_embd {}", c.hidden_size));
  }
  c.max_position_embeddings = c.num_learned_positions = f.integer("n_positions", 1, 1 << 24, 1024);
  c.intermediate_size = f.integer("n_inner", 1, 1 << 19, 4 * c.hidden_size);
  c.activation = read_activation(f, "activation_function", "gelu_new");
  read_norm(f, c, NormKind::kLayer, "layer_norm_epsilon", 1e-5);
  c.attention_scale = f.flag("scale_attn_weights", true) ? 1 / std::sqrt(static_cast<float>(c.head_dim)) : 1;
  f.expect("scale_attn_by_inverse_layer_idx", false);
  constexpr const char* kUnused[] = {"n_ctx",
                                     "n_special",
                                     "predict_special_tokens",
                                     "reorder_and_upcast_attn",
                                     "summary_activation",
                                     "summary_first_dropout",
                                     "summary_proj_to_labels",
                                     "summary_type",
                                     "summary_use_proj"};
  f.ignore(kUnused);
  c.qkv_bias = c.attention_output_bias = c.mlp_bias = true;
  c.layers.assign(f.ok() ? c.num_layers : 0, LayerConfig{LayerRope::kNone});
  c.tensors = {.roots = {"transformer.", ""},
               .embedding = "wte",
               .positions = "wpe",
               .norm = "ln_f",
               .layers = "h",
               .attention_norm = "ln_1",
               .mlp_norm = "ln_2",
               .qkv_layout = QkvLayout::kJoined,
               .q = "attn.c_attn",
               .o = "attn.c_proj",
               .gate = nullptr,
               .up = "mlp.c_fc",
               .down = "mlp.c_proj",
               .is_transposed = f.flag("is_transposed", true)};  // false in files made from GGUF
}

void read_gpt_neox(ConfigReader& f, ModelConfig& c) {
  read_shape(f, c, {});
  c.intermediate_size = f.integer("intermediate_size", 1, 1 << 19, 24576);
  read_norm(f, c, NormKind::kLayer, "layer_norm_eps", 1e-5);
  read_rope(f, c,
            {.theta = f.number("rotary_emb_base", 1, 1e12, 10000),
             .rotary_factor = f.number("rotary_pct", 0, 1, 0.25)});
  c.activation = read_activation(f, "hidden_act", "gelu");
  c.is_parallel = f.flag("use_parallel_residual", true);
  read_attention_bias(f, c, true);
  c.mlp_bias = true;
  constexpr const char* kUnused[] = {"attention_dropout_prob", "attention_probs_dropout_prob",
                                     "hidden_dropout_prob"};
  f.ignore(kUnused);
  c.tensors = {.roots = {"gpt_neox."},
               .output = {"embed_out", "lm_head"},
               .embedding = "embed_in",
               .norm = "final_layer_norm",
               .qkv_layout = QkvLayout::kByGroup,
               .q = "attention.query_key_value",
               .o = "attention.dense",
               .gate = nullptr,
               .up = "mlp.dense_h_to_4h",
               .down = "mlp.dense_4h_to_h"};
}

void read_falcon(ConfigReader& f, ModelConfig& c) {
  read_shape(f, c, {});
  const bool is_new = f.flag("new_decoder_architecture", false);
  const bool is_multi_query = f.flag("multi_query", true);
  const int num_kv_heads = f.integer("num_kv_heads", 1, 1 << 12, c.num_heads);
  c.num_kv_heads = is_new ? num_kv_heads : is_multi_query ? 1 : c.num_heads;
  if (c.num_heads % c.num_kv_heads != 0) {
    f.wrong("num_kv_heads", fmt::format("a divisor of num_attention_heads {}", c.num_heads));
  }
  c.is_parallel = f.flag("parallel_attn", true);
  const int num_norms = f.integer("num_ln_in_parallel_attn", 1, 2, is_new ? 2 : 1);
  if (is_new && !c.is_parallel) f.unsupported("parallel_attn", "true with new_decoder_architecture");
  if (!is_new && num_norms == 2)
    f.unsupported("num_ln_in_parallel_attn", "1 without new_decoder_architecture");
  f.expect("alibi", false);
  f.expect("apply_residual_connection_post_layernorm", false);
  c.intermediate_size = f.integer("ffn_hidden_size", 1, 1 << 19, std::min(4 * c.hidden_size, 1 << 19));
  read_norm(f, c, NormKind::kLayer, "layer_norm_epsilon", 1e-5);
  read_rope(f, c, {});
  c.activation = read_activation(f, "activation", "gelu");
  c.qkv_bias = c.attention_output_bias = c.mlp_bias = f.flag("bias", false);
  constexpr const char* kUnused[] = {"ff_factor"};  // of hidden_size; transformers takes ffn_hidden_size
  f.ignore(kUnused);
  c.tensors = {.roots = {"transformer."},
               .embedding = "word_embeddings",
               .norm = "ln_f",
               .layers = "h",
               .attention_norm = num_norms == 2 ? "ln_attn" : "input_layernorm",
               .mlp_norm = num_norms == 2  ? "ln_mlp"
                           : c.is_parallel ? "input_layernorm"
                                           : "post_attention_layernorm",
               .qkv_layout = QkvLayout::kByGroup,
               .q = "self_attention.query_key_value",
               .o = "self_attention.dense",
               .gate = nullptr,
               .up = "mlp.dense_h_to_4h",
               .down = "mlp.dense_4h_to_h"};
}

struct Family {
  const char* architecture;
  const char* model_type;
  void (*read)(ConfigReader& f, ModelConfig& c);
  bool ties_by_default;
};

constexpr Family kFamilies[] = {
    {"LlamaForCausalLM", "llama", read_llama, false},
    {"MistralForCausalLM", "mistral", read_mistral, false},
    {"MixtralForCausalLM", "mixtral", read_mixtral, false},
    {"Qwen2ForCausalLM", "qwen2", read_qwen2, false},
    {"Qwen3ForCausalLM", "qwen3", read_qwen3, false},
    {"Qwen3MoeForCausalLM", "qwen3_moe", read_qwen3_moe, false},
    {"GemmaForCausalLM", "gemma", read_gemma, true},
    {"Gemma2ForCausalLM", "gemma2", read_gemma2, true},
    {"Gemma3ForCausalLM", "gemma3_text", read_gemma3, true},
    {"Gemma3ForConditionalGeneration", "gemma3", read_gemma3, true},
    {"Phi3ForCausalLM", "phi3", read_phi3, false},
    {"SmolLM3ForCausalLM", "smollm3", read_smollm3, true},
    {"GPT2LMHeadModel", "gpt2", read_gpt2, true},
    {"GPTNeoXForCausalLM", "gpt_neox", read_gpt_neox, false},
    {"FalconForCausalLM", "falcon", read_falcon, true},
    {"Starcoder2ForCausalLM", "starcoder2", read_starcoder2, true},
    {"Olmo2ForCausalLM", "olmo2", read_olmo2, false},
    {"GraniteForCausalLM", "granite", read_granite, false},
};

Result<const Family*> find_family(const std::string& where, const nlohmann::json& object) {
  const auto text_of = [](const nlohmann::json& value) {
    return value.is_string() ? value.get<std::string>() : std::string();
  };
  const auto list = object.find("architectures");
  const std::string name =
      list != object.end() && list->is_array() && !list->empty() ? text_of((*list)[0]) : "";
  const std::string type = text_of(object.value("model_type", nlohmann::json()));
  const auto found = std::find_if(std::begin(kFamilies), std::end(kFamilies), [&](const Family& family) {
    return name.empty() ? type == family.model_type : name == family.architecture;
  });
  if (found != std::end(kFamilies)) return found;
  std::vector<const char*> names;
  for (const Family& family : kFamilies) names.push_back(family.architecture);
  return error(StatusCode::kUnsupported, "{}: architectures: supported are {}, got '{}'", where,
               fmt::join(names, ", "), name.empty() ? type.substr(0, 80) : name.substr(0, 80));
}

// What every family has: the options around the layers.
void read_family_config(const Family& family, ConfigReader& f, ModelConfig& c) {
  f.ignore(kHarmlessKeys);
  if (f.has("quantization_config")) f.unsupported("quantization_config", "none");
  family.read(f, c);
  c.tie_word_embeddings = f.flag("tie_word_embeddings", family.ties_by_default);
  for (const char* key : {"is_encoder_decoder", "add_cross_attention", "tie_encoder_decoder"}) {
    f.expect(key, false);
  }
  read_tokens(f, c);
}

// Of a model for text and images, the part for text.
Status read_text_part(const Family& family, const std::string& where, const nlohmann::json& object,
                      ModelConfig& c) {
  ConfigReader outer(where, object);
  const nlohmann::json* text_config = outer.object("text_config");
  if (text_config == nullptr) {
    outer.wrong("text_config", "an object");
    return outer.finish();
  }
  ConfigReader inner(where + ": text_config", *text_config);
  read_family_config(family, inner, c);
  KVASIR_RETURN_IF_ERROR(inner.finish());
  constexpr const char* kOfImages[] = {"vision_config",   "mm_tokens_per_image", "boi_token_index",
                                       "eoi_token_index", "image_token_index",   "boi_token_id",
                                       "eoi_token_id",    "image_token_id"};
  outer.ignore(kOfImages);
  outer.ignore(kHarmlessKeys);
  if (outer.has("quantization_config")) outer.unsupported("quantization_config", "none");
  c.tie_word_embeddings = outer.flag("tie_word_embeddings", c.tie_word_embeddings);
  read_tokens(outer, c);
  return outer.finish();
}

}  // namespace

Result<std::string_view> find_class(const std::string& where, const nlohmann::json& object) {
  KVASIR_ASSIGN_OR_RETURN(const Family* family, find_family(where, object));
  return std::string_view(family->architecture);
}

Status read_family(const std::string& where, const nlohmann::json& object, ModelConfig& c) {
  KVASIR_ASSIGN_OR_RETURN(const Family* family, find_family(where, object));
  if (object.contains("text_config")) return read_text_part(*family, where, object, c);
  ConfigReader f(where, object);
  read_family_config(*family, f, c);
  return f.finish();
}

}  // namespace kvasir::model
