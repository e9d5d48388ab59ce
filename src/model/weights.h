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

struct Layer {
  std::vector<float> attention_norm, mlp_norm;  // (hidden_size)
  backend::Matrix wq, wk, wv, wo;     // (num_heads * head_dim, hidden), (num_kv_heads * head_dim, hidden)
  backend::Matrix gate, up, down;     // (intermediate, hidden), (hidden, intermediate)
  std::vector<float> bq, bk, bv, bo;  // empty without attention_bias
  std::vector<float> gate_bias, up_bias, down_bias;
};

struct Weights {
  backend::Matrix embedding;  // (vocab_size, hidden)
  std::vector<Layer> layers;
  std::vector<float> norm;  // (hidden)
  backend::Matrix output;   // (vocab_size, hidden); the embedding when tied
  WeightImage image;        // what is not used as it lies in its file
};

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
