#pragma once

// Options that several families have in common, by the keys that they share in config.json. `f` reads the
// config and keeps the errors; `c` is what becomes of it.

#include <functional>
#include <optional>
#include <string_view>

#include "model/config_reader.h"
#include "model/model_config.h"

namespace kvasir::model {

struct ShapeDefaults {
  std::optional<int> vocab_size = std::nullopt, num_heads = std::nullopt;
  int num_kv_heads = 0;  // 0: as many as heads
  int head_dim = 0;      // 0: hidden_size / heads
  int context = 2048;
};

// Sizes by the names that most families use; intermediate_size is the caller's.
void read_shape(ConfigReader& f, ModelConfig& c, const ShapeDefaults& defaults);

void read_norm(ConfigReader& f, ModelConfig& c, NormKind norm, const char* eps_key, double eps);

// The rotation of all layers, or of those with full attention; max_position_embeddings may grow by it.
void read_rope(ConfigReader& f, ModelConfig& c, const RopeDefaults& defaults);

// What most families after Llama have in common.
void read_llama_like(ConfigReader& f, ModelConfig& c, const ShapeDefaults& defaults = {},
                     double theta = 10000, double eps = 1e-6);

// attention_bias, of all projections of attention.
void read_attention_bias(ConfigReader& f, ModelConfig& c, bool otherwise = false);

backend::Activation read_activation(ConfigReader& f, const char* key, std::string_view otherwise);

// A number that may be null, for none: 0.
double number_or_none(ConfigReader& f, const char* key, double otherwise);

// sliding_window, which may be null. otherwise: where the key is missing.
std::optional<int> read_window(ConfigReader& f, std::optional<int> otherwise = std::nullopt);

// Gives a window to those layers that layer_types says, else to those for which slides(layer).
void read_layer_types(ConfigReader& f, ModelConfig& c, std::optional<int> window,
                      const std::function<bool(int)>& slides);

// One window for all layers, or none.
void read_common_window(ConfigReader& f, ModelConfig& c, std::optional<int> otherwise = std::nullopt);

// Where a text begins, if the config has said nothing yet, and the tokens that end it.
void read_tokens(ConfigReader& f, ModelConfig& c);

}  // namespace kvasir::model
