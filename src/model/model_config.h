#pragma once

// What a model's config.json says about its shape, checked. Orthogonal options, not families: forward() reads
// these and nothing else.

#include <optional>
#include <vector>

#include "base/ids.h"
#include "base/status.h"
#include "format/model_files.h"

namespace kvasir::model {

enum class RopeScaling {
  kNone,
  kLinear,  // positions divided by `factor`
  kLlama3,  // low frequencies divided by `factor`, high ones kept, a ramp between (Llama 3.1)
};

struct RopeConfig {
  double theta = 10000;
  RopeScaling scaling = RopeScaling::kNone;
  double factor = 1;
  double low_freq_factor = 1;  // these three: kLlama3
  double high_freq_factor = 4;
  int original_max_position_embeddings = 8192;
};

struct ModelConfig {
  int vocab_size = 0;
  int hidden_size = 0;
  int intermediate_size = 0;
  int num_layers = 0;
  int num_heads = 0;
  int num_kv_heads = 0;  // divides num_heads
  int head_dim = 0;      // even
  int max_position_embeddings = 0;
  float rms_norm_eps = 0;
  RopeConfig rope;
  bool tie_word_embeddings = false;
  bool attention_bias = false;
  bool mlp_bias = false;
  std::optional<TokenId> bos_token_id;
  std::vector<TokenId> eos_token_ids;  // of generation_config.json and config.json; may be empty
};

// Reads config.json and, where there is one, generation_config.json. Llama, and Mistral without a sliding
// window. A missing key has the default of transformers' LlamaConfig where that defines one. Errors:
// kNotFound, kCorrupt (missing, wrong type, out of range, numbers that contradict each other), kUnsupported
// (an architecture or an option that changes the result and that we do not have), each naming file and key.
Result<ModelConfig> read_model_config(format::ModelFiles& files);

}  // namespace kvasir::model
