#include "model/family_options.h"

#include <cmath>
#include <string>
#include <utility>
#include <vector>

namespace kvasir::model {

using backend::Activation;

Activation read_activation(ConfigReader& f, const char* key, std::string_view otherwise) {
  const std::string name = f.text(key, otherwise);
  if (name == "silu" || name == "swish") return Activation::kSilu;
  if (name == "gelu") return Activation::kGelu;
  if (name != "gelu_new" && name != "gelu_pytorch_tanh" && name != "gelu_fast") {
    f.unsupported(key, "silu, gelu, gelu_new or gelu_pytorch_tanh");
  }
  return Activation::kGeluTanh;
}

double number_or_none(ConfigReader& f, const char* key, double otherwise) {
  return f.number(key, 0, 1e9, f.is_null(key) ? 0 : otherwise);
}

void read_shape(ConfigReader& f, ModelConfig& c, const ShapeDefaults& defaults) {
  c.vocab_size = f.integer("vocab_size", 1, 1 << 22, defaults.vocab_size);
  c.hidden_size = f.integer("hidden_size", 1, 1 << 17);
  c.num_layers = f.integer("num_hidden_layers", 1, 1 << 12);
  c.num_heads = f.integer("num_attention_heads", 1, 1 << 12, defaults.num_heads);
  c.num_kv_heads = f.integer("num_key_value_heads", 1, 1 << 12,
                             defaults.num_kv_heads == 0 ? c.num_heads : defaults.num_kv_heads);
  if (c.num_kv_heads > c.num_heads || c.num_heads % c.num_kv_heads != 0) {
    f.wrong("num_key_value_heads", fmt::format("a divisor of num_attention_heads {}", c.num_heads));
  }
  const int head_dim = defaults.head_dim > 0              ? defaults.head_dim
                       : c.hidden_size % c.num_heads == 0 ? c.hidden_size / c.num_heads
                                                          : 0;
  c.head_dim = f.integer("head_dim", 0, 1 << 12, head_dim);
  if (c.head_dim == 0 || c.head_dim % 2 != 0) {
    f.wrong("head_dim", fmt::format("an even number, or heads that divide hidden_size {}", c.hidden_size));
  }
  c.max_position_embeddings = f.integer("max_position_embeddings", 1, 1 << 24, defaults.context);
  c.attention_scale = 1.0f / std::sqrt(static_cast<float>(c.head_dim));
  c.layers.resize(f.ok() ? c.num_layers : 0);
}

void read_norm(ConfigReader& f, ModelConfig& c, NormKind norm, const char* eps_key, double eps) {
  c.norm = norm;
  c.norm_bias = norm == NormKind::kLayer;
  c.norm_eps = static_cast<float>(f.number(eps_key, 0, 1, eps));
}

void read_rope(ConfigReader& f, ModelConfig& c, const RopeDefaults& defaults) {
  Rope rope = read_rope(f, c.head_dim, c.max_position_embeddings, defaults);
  c.rope = std::move(rope.config);
  c.max_position_embeddings = rope.context;
}

void read_attention_bias(ConfigReader& f, ModelConfig& c, bool otherwise) {
  c.qkv_bias = c.attention_output_bias = f.flag("attention_bias", otherwise);
}

std::optional<int> read_window(ConfigReader& f, std::optional<int> otherwise) {
  constexpr const char* kKey[] = {"sliding_window"};
  f.ignore(kKey);
  if (f.is_null("sliding_window") || (!f.has("sliding_window") && !otherwise)) return std::nullopt;
  return f.integer("sliding_window", 1, 1 << 30, otherwise);
}

void read_layer_types(ConfigReader& f, ModelConfig& c, std::optional<int> window,
                      const std::function<bool(int)>& slides) {
  const std::vector<std::string> types = f.texts("layer_types", c.num_layers);
  for (std::size_t i = 0; i < c.layers.size(); ++i) {
    if (!types.empty() && types[i] != "full_attention" && types[i] != "sliding_attention") {
      return f.unsupported("layer_types", "full_attention and sliding_attention");
    }
    const bool slides_here = types.empty() ? slides(static_cast<int>(i)) : types[i] == "sliding_attention";
    if (!slides_here) continue;
    if (!window) return f.wrong("sliding_window", "a number, since layers have sliding_attention");
    if (*window < c.max_position_embeddings) c.layers[i].window = *window;
  }
}

void read_common_window(ConfigReader& f, ModelConfig& c, std::optional<int> otherwise) {
  const std::optional<int> window = read_window(f, otherwise);
  read_layer_types(f, c, window, [&](int) { return window.has_value(); });
}

void read_llama_like(ConfigReader& f, ModelConfig& c, const ShapeDefaults& defaults, double theta,
                     double eps) {
  read_shape(f, c, defaults);
  c.intermediate_size = f.integer("intermediate_size", 1, 1 << 19);
  read_norm(f, c, NormKind::kRms, "rms_norm_eps", eps);
  read_rope(f, c, {.theta = theta});
  c.activation = read_activation(f, "hidden_act", "silu");
}

void read_tokens(ConfigReader& f, ModelConfig& c) {
  std::vector<TokenId> bos;
  f.tokens("bos_token_id", c.vocab_size, bos);
  if (!bos.empty() && !c.bos_token_id) c.bos_token_id = bos[0];
  f.tokens("eos_token_id", c.vocab_size, c.eos_token_ids);
}

}  // namespace kvasir::model
