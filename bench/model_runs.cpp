#include "bench/model_runs.h"

#include <fmt/format.h>

#include <algorithm>
#include <chrono>
#include <cstring>
#include <iterator>

#include "base/check.h"
#include "format/safetensors.h"

namespace kvasir::bench {
namespace {

struct Dtype {
  model::WeightDtype dtype;
  const char* name;
  double bytes;       // of a weight
  double kept_bytes;  // of one in the matrices that stay at 8 bits (see model::WeightDtype)
  bool has_integer_products;
};

constexpr Dtype kDtypes[] = {
    {model::WeightDtype::kF32, "f32", 4, 4, false},
    {model::WeightDtype::kF16, "f16", 2, 2, false},
    {model::WeightDtype::kBf16, "bf16", 2, 2, false},
    {model::WeightDtype::kQ8_0, "q8_0", 34.0 / 32, 34.0 / 32, true},
    {model::WeightDtype::kQ4_0, "q4_0", 18.0 / 32, 34.0 / 32, true},
};

// The type of the stored weights.
Result<model::WeightDtype> stored_dtype(format::ModelFiles& files) {
  KVASIR_ASSIGN_OR_RETURN(const format::TensorMap tensors, format::read_tensors(files));
  for (const auto& [name, tensor] : tensors) {
    if (tensor.shape.size() != 2) continue;
    if (tensor.dtype == format::TensorDtype::kF32) return model::WeightDtype::kF32;
    return tensor.dtype == format::TensorDtype::kF16 ? model::WeightDtype::kF16 : model::WeightDtype::kBf16;
  }
  return error(StatusCode::kCorrupt, "{}: no matrix among its tensors", files.name());
}

constexpr int kBlockSize = 16;

// Keys and values of random signs between 1/16 and 1/8, as f16: their values do not matter, but denormal
// numbers and NaN might be slower than others.
void fill(backend::KvPool& kv) {
  std::uint32_t random = 1;
  for (int i = 0; i < kv.num_blocks(); ++i) {
    const std::span<std::byte> block = kv.block(BlockId{i});
    for (std::size_t offset = 0; offset + 2 <= block.size(); offset += 2) {
      random = random * 1664525 + 1013904223;  // Numerical Recipes' linear congruential generator
      const auto half = static_cast<std::uint16_t>(0x2c00 | (random >> 16 & 0x83ff));
      std::memcpy(block.data() + offset, &half, 2);
    }
  }
}

}  // namespace

Result<std::unique_ptr<RandomModelFiles>> RandomModelFiles::create(const ModelShape& shape,
                                                                   ThreadPool& pool) {
  const RandomModel model(shape, backend::WeightDtype::kBf16, 1);
  auto files = std::make_unique<RandomModelFiles>();
  files->config_ = model.config();
  files->weights_.reserve(model.weights_bytes());
  KVASIR_RETURN_IF_ERROR(model.write_weights(pool, [&](std::span<const std::byte> bytes) {
    files->weights_.insert(files->weights_.end(), bytes.begin(), bytes.end());
    return Status();
  }));
  return files;
}

format::ModelFiles RandomModelFiles::open() const {
  const format::ModelFiles::MemoryFile files[] = {{"config.json", std::as_bytes(std::span(config_))},
                                                  {"model.safetensors", weights_}};
  return format::ModelFiles::from_memory("random weights", files);
}

ModelRuns::ModelRuns(std::unique_ptr<model::Model> model, model::WeightDtype dtype, MachineLimits& limits)
    : model_(std::move(model)), limits_(limits) {
  const auto found = std::find_if(std::begin(kDtypes), std::end(kDtypes),
                                  [&](const Dtype& candidate) { return candidate.dtype == dtype; });
  KVASIR_CHECK(found != std::end(kDtypes));
  dtype_ = found->name;
  has_integer_products_ = found->has_integer_products;
  const model::ModelConfig& config = model_->config();
  const double q = 1.0 * config.num_heads * config.head_dim, kv = 1.0 * config.num_kv_heads * config.head_dim;
  const double keys_and_values = 2.0 * config.num_layers * config.hidden_size * kv;
  layer_weights_ =
      config.num_layers * config.hidden_size * (2 * q + 3.0 * config.intermediate_size) + keys_and_values;
  output_weights_ = 1.0 * config.vocab_size * config.hidden_size;
  weight_bytes_ = (layer_weights_ - keys_and_values) * found->bytes +
                  (keys_and_values + output_weights_) * found->kept_bytes;
}

Result<std::unique_ptr<ModelRuns>> ModelRuns::load(format::ModelFiles& files, model::WeightDtype dtype,
                                                   ThreadPool& pool, MachineLimits& limits) {
  KVASIR_ASSIGN_OR_RETURN(auto model, model::Model::load(files, {dtype}, pool));
  model::WeightDtype held = model->dtype();
  if (held == model::WeightDtype::kAuto) {
    KVASIR_ASSIGN_OR_RETURN(held, stored_dtype(files));
  }
  return std::unique_ptr<ModelRuns>(new ModelRuns(std::move(model), held, limits));
}

// Seconds of each run of a step in which each sequence gets the `num_tokens` tokens after its context.
Result<std::vector<double>> ModelRuns::time(int num_sequences, int context, int num_tokens, int num_runs) {
  const model::ModelConfig& config = model_->config();
  if (context + num_tokens > config.max_position_embeddings) {
    return error(StatusCode::kInvalidArgument, "{} tokens: the model's context has room for {}",
                 context + num_tokens, config.max_position_embeddings);
  }
  const int blocks_each = (context + num_tokens - 1) / kBlockSize + 1;
  KVASIR_ASSIGN_OR_RETURN(backend::KvPool kv,
                          backend::KvPool::create(model_->kv_layout(kBlockSize, backend::KvDtype::kF16),
                                                  num_sequences * blocks_each));
  fill(kv);
  std::vector<BlockId> blocks;
  for (int i = 0; i < kv.num_blocks(); ++i) blocks.push_back(BlockId{i});
  std::vector<TokenId> tokens;
  for (int i = 0; i < num_sequences * num_tokens; ++i) tokens.push_back(i * 7919 % config.vocab_size);
  std::vector<model::SequenceSlice> slices;
  for (int i = 0; i < num_sequences; ++i) {
    model::SequenceSlice slice;
    slice.tokens = std::span(tokens).subspan(i * num_tokens, num_tokens);
    slice.start_position = context;
    slice.block_table = std::span(blocks).subspan(i * blocks_each, blocks_each);
    slice.num_logits = 1;
    slices.push_back(slice);
  }
  model_->forward(slices, kv);  // grows the buffers
  std::vector<double> seconds;
  for (int i = 0; i < num_runs; ++i) {
    limits_.sample();
    const auto begin = std::chrono::steady_clock::now();
    model_->forward(slices, kv);
    seconds.push_back(std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count());
  }
  return seconds;
}

Result<Measurement> ModelRuns::prefill(int num_tokens, int num_runs) {
  KVASIR_ASSIGN_OR_RETURN(const std::vector<double> seconds, time(1, 0, num_tokens, num_runs));
  Measurement result = {fmt::format("{} prefill of {} tokens", dtype_, num_tokens), "tokens/s", {}, {}};
  for (const double s : seconds) result.runs.push_back(num_tokens / s);
  result.limit = {"Gop/s", has_integer_products_ ? limits_.int8_gops() : limits_.fma_gflops(),
                  2e-9 * (layer_weights_ + output_weights_ / num_tokens)};
  return result;
}

Result<Measurement> ModelRuns::decode(int num_sequences, int context, int num_runs) {
  KVASIR_ASSIGN_OR_RETURN(const std::vector<double> seconds, time(num_sequences, context, 1, num_runs));
  Measurement result = {
      fmt::format("{} decode of {} x 1 token after {}", dtype_, num_sequences, context), "tokens/s", {}, {}};
  for (const double s : seconds) result.runs.push_back(num_sequences / s);
  const double kv_bytes_per_token =
      static_cast<double>(model_->kv_layout(kBlockSize, backend::KvDtype::kF16).block_bytes()) / kBlockSize;
  result.limit = {"GB/s", limits_.read_gbs(),
                  1e-9 * (weight_bytes_ / num_sequences + (context + 1) * kv_bytes_per_token)};
  return result;
}

}  // namespace kvasir::bench
