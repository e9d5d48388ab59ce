#pragma once

// What a model's config.json says, checked. Orthogonal options, not families: loading and forward() read
// these and nothing else. How each family's keys become options is in model_families.cpp.

#include <optional>
#include <vector>

#include "backend/activation.h"
#include "base/ids.h"
#include "base/status.h"
#include "format/model_files.h"
#include "model/rope_config.h"
#include "model/tensor_names.h"

namespace kvasir::model {

enum class NormKind { kRms, kLayer };

// What is brought to unit size before queries and keys are rotated.
enum class QkNorm {
  kNone,
  kHead,  // each head
  kRow,   // all heads of a token together (OLMo 2)
};

enum class LayerRope {
  kNone,
  kGlobal,  // ModelConfig::rope
  kLocal,   // ModelConfig::local_rope
};

struct LayerConfig {
  LayerRope rope = LayerRope::kGlobal;
  int window = 0;  // a token sees that many, itself the last; 0: all before it
  bool has_experts = false;

  bool operator==(const LayerConfig&) const = default;
};

struct ModelConfig {
  int vocab_size = 0;
  int hidden_size = 0;
  int intermediate_size = 0;  // of a dense MLP
  int num_layers = 0;
  int num_heads = 0;
  int num_kv_heads = 0;             // divides num_heads
  int head_dim = 0;                 // even
  int max_position_embeddings = 0;  // tokens of a sequence at most
  std::vector<LayerConfig> layers;  // (num_layers)

  NormKind norm = NormKind::kRms;
  float norm_eps = 0;
  float norm_weight_offset = 0;  // added to the weights as stored; 1: they are stored relative to 1 (Gemma)
  bool norm_bias = false;
  QkNorm qk_norm = QkNorm::kNone;
  // Both blocks of a layer read its input, and their outputs are added to it together.
  bool is_parallel = false;

  RopeConfig rope, local_rope;
  float attention_scale = 0;     // multiplies q k
  float attention_soft_cap = 0;  // 0: none
  bool qkv_bias = false;
  bool attention_output_bias = false;

  backend::Activation activation = backend::Activation::kSilu;
  bool mlp_bias = false;
  int num_experts = 0;
  int num_chosen_experts = 0;  // of a token
  int expert_intermediate_size = 0;
  bool normalizes_expert_weights = false;

  int num_learned_positions = 0;  // 0: none are added to the embedding
  float embedding_scale = 1;
  float residual_scale = 1;  // multiplies what is added to the residual stream
  float logits_scale = 1;
  float logits_soft_cap = 0;  // 0: none
  bool tie_word_embeddings = false;

  TensorNames tensors;
  std::optional<TokenId> bos_token_id;
  std::vector<TokenId> eos_token_ids;  // of generation_config.json and config.json; may be empty

  bool is_gated() const { return tensors.gate != nullptr; }
  bool operator==(const ModelConfig&) const = default;
};

// Reads config.json and, where there is one, generation_config.json. A missing key has the default of
// transformers' class. Errors: kNotFound, kCorrupt (missing, wrong type, out of range, numbers that
// contradict each other), kUnsupported (a family that we do not have, an option that changes the result and
// that we do not have, or one that we do not know), each naming file and key.
Result<ModelConfig> read_model_config(format::ModelFiles& files);

// Makes sequences end at max_model_len tokens, with the angles that are right for those. Errors:
// kInvalidArgument for more than the model has.
Status limit_context(ModelConfig& config, int max_model_len);

}  // namespace kvasir::model
