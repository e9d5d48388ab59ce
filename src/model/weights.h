#pragma once

// A model's weights: taken from its files, checked against the shapes that the config calls for, and brought
// into the form in which they are held.

#include <string>
#include <vector>

#include "backend/matrix.h"
#include "base/status.h"
#include "base/thread_pool.h"
#include "format/safetensors.h"
#include "model/load_options.h"
#include "model/model_config.h"
#include "model/weight_image.h"

namespace kvasir::model {

struct Norm {
  std::vector<float> weight;  // empty: there is none
  std::vector<float> bias;    // as long, or empty
};

// y = w x + bias.
struct Linear {
  backend::Matrix w;
  std::vector<float> bias;  // (w.rows), or empty
};

struct Mlp {
  Linear gate;  // (intermediate, hidden); without data where the MLP is not gated
  Linear up;    // (intermediate, hidden)
  Linear down;  // (hidden, intermediate)
};

struct Layer {
  Norm attention_norm, attention_post_norm, mlp_norm, mlp_post_norm;  // (hidden)
  Norm q_norm, k_norm;                                                // (head_dim), or all heads of a token
  Linear q;                                                           // (num_heads * head_dim, hidden)
  Linear k, v;                                                        // (num_kv_heads * head_dim, hidden)
  Linear o;                                                           // (hidden, num_heads * head_dim)
  Mlp mlp;                                                            // of a layer without experts
  Linear router;                                                      // (num_experts, hidden)
  std::vector<Mlp> experts;
};

struct Weights {
  backend::Matrix embedding;  // (vocab_size, hidden)
  backend::Matrix positions;  // (num_learned_positions, hidden), or no data
  std::vector<Layer> layers;
  Norm norm;               // (hidden)
  backend::Matrix output;  // (vocab_size, hidden); the embedding when tied
  WeightImage image;       // what is not used as it lies in its file
};

// What the names of the model's tensors begin with in these files, and what its output matrix is called.
std::string find_root(const TensorNames& names, const format::TensorMap& tensors);
std::string find_output(const TensorNames& names, const format::TensorMap& tensors);

// How the weights of a model are held that was asked for as `wanted`: kAuto is q8_0 for models of more than
// 100 million weights, and as stored (it stays kAuto) for smaller ones and those that are stored in blocks.
WeightDtype resolve_dtype(WeightDtype wanted, const ModelConfig& config, const format::TensorMap& tensors);

// Reads all weights; `files` must outlive them. options.dtype: resolved. fingerprint: of the model with this
// dtype, names the file of the weight cache. Errors: kCorrupt, kUnsupported naming file and tensor,
// kResourceExhausted.
Result<Weights> read_weights(const format::ModelFiles& files, const format::TensorMap& tensors,
                             const ModelConfig& config, const LoadOptions& options,
                             const std::string& fingerprint, ThreadPool& pool);

}  // namespace kvasir::model
