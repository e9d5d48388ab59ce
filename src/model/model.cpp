#include "model/model.h"

#include <xxhash.h>

#include <algorithm>
#include <cmath>
#include <map>
#include <numbers>
#include <string_view>

#include "backend/cpu_backend.h"
#include "base/check.h"
#include "format/safetensors.h"

namespace kvasir::model {
namespace {

using backend::Matrix;
using format::TensorInfo;
using format::TensorMap;

struct Layer {
  std::vector<float> attention_norm, mlp_norm;  // (hidden_size)
  Matrix wq, wk, wv, wo;              // (num_heads * head_dim, hidden), (num_kv_heads * head_dim, hidden)
  Matrix gate, up, down;              // (intermediate, hidden), (hidden, intermediate)
  std::vector<float> bq, bk, bv, bo;  // empty without attention_bias
  std::vector<float> gate_bias, up_bias, down_bias;
};

struct Weights {
  Matrix embedding;  // (vocab_size, hidden)
  std::vector<Layer> layers;
  std::vector<float> norm;                              // (hidden)
  Matrix output;                                        // (vocab_size, hidden); the embedding when tied
  std::vector<std::unique_ptr<std::byte[]>> converted;  // what is not used as it lies in its file
};

std::optional<backend::WeightDtype> as_weight_dtype(format::TensorDtype dtype) {
  switch (dtype) {
    case format::TensorDtype::kF32:
      return backend::WeightDtype::kF32;
    case format::TensorDtype::kF16:
      return backend::WeightDtype::kF16;
    case format::TensorDtype::kBf16:
      return backend::WeightDtype::kBf16;
    case format::TensorDtype::kOther:
      return std::nullopt;
  }
  return std::nullopt;
}

backend::WeightDtype target_dtype(WeightDtype wanted, backend::WeightDtype stored) {
  switch (wanted) {
    case WeightDtype::kAuto:
      return stored;
    case WeightDtype::kF32:
      return backend::WeightDtype::kF32;
    case WeightDtype::kF16:
      return backend::WeightDtype::kF16;
    case WeightDtype::kBf16:
      return backend::WeightDtype::kBf16;
  }
  return stored;
}

bool is_aligned(const void* data, std::size_t bytes) {
  return reinterpret_cast<std::uintptr_t>(data) % bytes == 0;
}

// Takes tensors from a file's map, checked against the shapes that the config calls for.
class WeightReader {
 public:
  WeightReader(const std::string& name, const TensorMap& tensors, WeightDtype dtype, ThreadPool& pool,
               std::vector<std::unique_ptr<std::byte[]>>& converted)
      : name_(name), tensors_(tensors), dtype_(dtype), pool_(pool), converted_(converted) {}

  Status read(const std::string& tensor, int rows, int columns, Matrix& out) {
    KVASIR_ASSIGN_OR_RETURN(const TensorInfo* info, find(tensor, {rows, columns}));
    const backend::WeightDtype stored = *as_weight_dtype(info->dtype);
    const backend::WeightDtype target = target_dtype(dtype_, stored);
    out = {info->data.data(), target, rows, columns};
    if (target == stored && is_aligned(out.data, backend::element_bytes(stored))) return Status();
    const std::size_t count = std::size_t(rows) * columns;
    converted_.push_back(std::make_unique_for_overwrite<std::byte[]>(count * backend::element_bytes(target)));
    backend::convert(info->data.data(), stored, converted_.back().get(), target, count, pool_);
    out.data = converted_.back().get();
    return Status();
  }

  // A norm's weight or a bias: always f32.
  Status read(const std::string& tensor, int count, std::vector<float>& out) {
    KVASIR_ASSIGN_OR_RETURN(const TensorInfo* info, find(tensor, {count}));
    out.resize(count);
    backend::convert(info->data.data(), *as_weight_dtype(info->dtype), out.data(), backend::WeightDtype::kF32,
                     count, pool_);
    return Status();
  }

 private:
  Result<const TensorInfo*> find(const std::string& tensor, const std::vector<std::int64_t>& shape) const {
    const auto found = tensors_.find(tensor);
    if (found == tensors_.end()) {
      return error(StatusCode::kCorrupt, "{}: tensor '{}' is missing; config.json calls for one of shape {}",
                   name_, tensor, show(shape));
    }
    const TensorInfo& info = found->second;
    if (info.shape != shape) {
      return error(StatusCode::kCorrupt, "{}: tensor '{}': shape {}, expected {} by config.json", info.file,
                   tensor, show(info.shape), show(shape));
    }
    if (!as_weight_dtype(info.dtype)) {
      return error(StatusCode::kUnsupported, "{}: tensor '{}': dtype {}, supported are F32, F16 and BF16",
                   info.file, tensor, info.dtype_name);
    }
    return &info;
  }

  static std::string show(const std::vector<std::int64_t>& shape) {
    return fmt::format("[{}]", fmt::join(shape, ","));
  }

  const std::string& name_;
  const TensorMap& tensors_;
  const WeightDtype dtype_;
  ThreadPool& pool_;
  std::vector<std::unique_ptr<std::byte[]>>& converted_;
};

Result<Weights> read_weights(const std::string& name, const TensorMap& tensors, const ModelConfig& config,
                             WeightDtype dtype, ThreadPool& pool) {
  Weights weights;
  WeightReader reader(name, tensors, dtype, pool, weights.converted);
  const int hidden = config.hidden_size;
  const int q_size = config.num_heads * config.head_dim;
  const int kv_size = config.num_kv_heads * config.head_dim;
  KVASIR_RETURN_IF_ERROR(
      reader.read("model.embed_tokens.weight", config.vocab_size, hidden, weights.embedding));
  KVASIR_RETURN_IF_ERROR(reader.read("model.norm.weight", hidden, weights.norm));
  weights.output = weights.embedding;
  if (!config.tie_word_embeddings) {
    KVASIR_RETURN_IF_ERROR(reader.read("lm_head.weight", config.vocab_size, hidden, weights.output));
  }
  for (int i = 0; i < config.num_layers; ++i) {
    const std::string prefix = fmt::format("model.layers.{}.", i);
    const std::string attention = prefix + "self_attn.", mlp = prefix + "mlp.";
    Layer layer;
    KVASIR_RETURN_IF_ERROR(reader.read(prefix + "input_layernorm.weight", hidden, layer.attention_norm));
    KVASIR_RETURN_IF_ERROR(reader.read(attention + "q_proj.weight", q_size, hidden, layer.wq));
    KVASIR_RETURN_IF_ERROR(reader.read(attention + "k_proj.weight", kv_size, hidden, layer.wk));
    KVASIR_RETURN_IF_ERROR(reader.read(attention + "v_proj.weight", kv_size, hidden, layer.wv));
    KVASIR_RETURN_IF_ERROR(reader.read(attention + "o_proj.weight", hidden, q_size, layer.wo));
    if (config.attention_bias) {
      KVASIR_RETURN_IF_ERROR(reader.read(attention + "q_proj.bias", q_size, layer.bq));
      KVASIR_RETURN_IF_ERROR(reader.read(attention + "k_proj.bias", kv_size, layer.bk));
      KVASIR_RETURN_IF_ERROR(reader.read(attention + "v_proj.bias", kv_size, layer.bv));
      KVASIR_RETURN_IF_ERROR(reader.read(attention + "o_proj.bias", hidden, layer.bo));
    }
    KVASIR_RETURN_IF_ERROR(reader.read(prefix + "post_attention_layernorm.weight", hidden, layer.mlp_norm));
    KVASIR_RETURN_IF_ERROR(
        reader.read(mlp + "gate_proj.weight", config.intermediate_size, hidden, layer.gate));
    KVASIR_RETURN_IF_ERROR(reader.read(mlp + "up_proj.weight", config.intermediate_size, hidden, layer.up));
    KVASIR_RETURN_IF_ERROR(
        reader.read(mlp + "down_proj.weight", hidden, config.intermediate_size, layer.down));
    if (config.mlp_bias) {
      KVASIR_RETURN_IF_ERROR(reader.read(mlp + "gate_proj.bias", config.intermediate_size, layer.gate_bias));
      KVASIR_RETURN_IF_ERROR(reader.read(mlp + "up_proj.bias", config.intermediate_size, layer.up_bias));
      KVASIR_RETURN_IF_ERROR(reader.read(mlp + "down_proj.bias", hidden, layer.down_bias));
    }
    weights.layers.push_back(std::move(layer));
  }
  return weights;
}

// The angle per position of each pair of dimensions, in f32 as transformers computes it.
std::vector<float> rope_frequencies(const ModelConfig& config) {
  const RopeConfig& rope = config.rope;
  std::vector<float> frequencies;
  for (int i = 0; i < config.head_dim / 2; ++i) {
    const auto plain = static_cast<float>(1.0 / std::pow(rope.theta, 2.0 * i / config.head_dim));
    double frequency = plain;
    if (rope.scaling == RopeScaling::kLinear) {
      frequency = plain / rope.factor;
    } else if (rope.scaling == RopeScaling::kLlama3) {
      // Grattafiori et al. 2024 (The Llama 3 Herd of Models); the ramp is over the number of turns in the
      // original context.
      const double turns = rope.original_max_position_embeddings * plain / (2 * std::numbers::pi);
      const double kept = std::clamp(
          (turns - rope.low_freq_factor) / (rope.high_freq_factor - rope.low_freq_factor), 0.0, 1.0);
      frequency = (1 - kept) * plain / rope.factor + kept * plain;
    }
    frequencies.push_back(static_cast<float>(frequency));
  }
  return frequencies;
}

// Everything that the contents of a KV block depend on, apart from the tokens.
std::string make_fingerprint(const ModelConfig& config, const TensorMap& tensors, WeightDtype dtype) {
  constexpr std::size_t kSampleBytes = 4096;
  XXH3_state_t* state = XXH3_createState();
  XXH3_128bits_reset(state);
  const auto add = [&](const void* data, std::size_t bytes) { XXH3_128bits_update(state, data, bytes); };
  const auto add_text = [&](std::string_view text) {
    const std::uint64_t size = text.size();
    add(&size, sizeof size);
    add(text.data(), text.size());
  };
  add_text(fmt::format("{} {} {} {} {} {} {} {}", config.num_heads, config.num_kv_heads, config.head_dim,
                       config.rms_norm_eps, config.rope.theta, static_cast<int>(config.rope.scaling),
                       config.rope.factor, static_cast<int>(dtype)));
  add_text(fmt::format("{} {} {} {}", config.num_layers, config.tie_word_embeddings, config.attention_bias,
                       config.mlp_bias));
  add_text(fmt::format("{} {} {}", config.rope.low_freq_factor, config.rope.high_freq_factor,
                       config.rope.original_max_position_embeddings));
  for (const auto& [name, tensor] : tensors) {
    add_text(name);
    add_text(tensor.dtype_name);
    for (const std::int64_t size : tensor.shape) add(&size, sizeof size);
    const std::span<const std::byte> data = tensor.data;
    add(data.data(), std::min(data.size(), kSampleBytes));
    if (data.size() > kSampleBytes) {
      add(data.data() + data.size() / 2, std::min(data.size() - data.size() / 2, kSampleBytes));
      add(data.data() + data.size() - kSampleBytes, kSampleBytes);
    }
  }
  const XXH128_hash_t hash = XXH3_128bits_digest(state);
  XXH3_freeState(state);
  return fmt::format("{:016x}{:016x}", hash.high64, hash.low64);
}

const float* or_null(const std::vector<float>& bias) {
  return bias.empty() ? nullptr : bias.data();
}

}  // namespace

struct Model::Impl {
  ModelConfig config;
  Weights weights;
  std::unique_ptr<backend::CpuBackend> ops;
  std::string fingerprint;
  std::vector<float> rope_frequencies;  // (head_dim / 2)

  void extend_rope_table(int num_positions);
  void resize_buffers(std::size_t num_rows, std::size_t num_logits);
  std::span<const float> forward(std::span<const SequenceSlice> slices, backend::KvPool& kv);

  // Of one forward; they grow and are reused.
  backend::RopeTable rope;
  std::vector<TokenId> tokens;        // (rows)
  std::vector<int> positions;         // (rows)
  std::vector<std::int64_t> slots;    // (rows), where in the pool a row's keys and values go
  std::vector<backend::RowRun> runs;  // one for each slice
  std::vector<int> logit_rows;        // the rows whose logits are asked for
  std::vector<float> x, h;            // (rows, hidden)
  std::vector<float> q, attended;     // (rows, num_heads * head_dim)
  std::vector<float> k, v;            // (rows, num_kv_heads * head_dim)
  std::vector<float> gate, up;        // (rows, intermediate)
  std::vector<float> last, logits;    // (number of logits, hidden) and (.., vocab_size)
};

Model::Model(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
Model::~Model() = default;

Result<std::unique_ptr<Model>> Model::load(format::ModelFiles& files, WeightDtype dtype, ThreadPool& pool) {
  auto impl = std::make_unique<Impl>();
  KVASIR_ASSIGN_OR_RETURN(impl->ops, backend::CpuBackend::create(pool));
  KVASIR_ASSIGN_OR_RETURN(impl->config, read_model_config(files));
  KVASIR_ASSIGN_OR_RETURN(const TensorMap tensors, format::read_tensors(files));
  KVASIR_ASSIGN_OR_RETURN(impl->weights, read_weights(files.name(), tensors, impl->config, dtype, pool));
  impl->rope_frequencies = rope_frequencies(impl->config);
  impl->fingerprint = make_fingerprint(impl->config, tensors, dtype);
  return std::unique_ptr<Model>(new Model(std::move(impl)));
}

const ModelConfig& Model::config() const {
  return impl_->config;
}

const std::string& Model::fingerprint() const {
  return impl_->fingerprint;
}

backend::KvLayout Model::kv_layout(int block_size, backend::KvDtype dtype) const {
  return {impl_->config.num_layers, impl_->config.num_kv_heads, impl_->config.head_dim, block_size, dtype};
}

std::span<const float> Model::forward(std::span<const SequenceSlice> slices, backend::KvPool& kv) {
  return impl_->forward(slices, kv);
}

void Model::Impl::extend_rope_table(int num_positions) {
  const std::size_t half = rope_frequencies.size();
  const std::size_t known = rope.cos.size() / half;
  if (known >= static_cast<std::size_t>(num_positions)) return;
  const std::size_t wanted =
      std::min<std::size_t>(config.max_position_embeddings, std::max<std::size_t>(num_positions, 2 * known));
  for (std::size_t position = known; position < wanted; ++position) {
    for (std::size_t i = 0; i < half; ++i) {
      const double angle = static_cast<float>(position) * rope_frequencies[i];
      rope.cos.push_back(static_cast<float>(std::cos(angle)));
      rope.sin.push_back(static_cast<float>(std::sin(angle)));
    }
  }
}

void Model::Impl::resize_buffers(std::size_t num_rows, std::size_t num_logits) {
  x.resize(num_rows * config.hidden_size);
  h.resize(x.size());
  q.resize(num_rows * config.num_heads * config.head_dim);
  attended.resize(q.size());
  k.resize(num_rows * config.num_kv_heads * config.head_dim);
  v.resize(k.size());
  gate.resize(num_rows * config.intermediate_size);
  up.resize(gate.size());
  last.resize(num_logits * config.hidden_size);
  logits.resize(num_logits * config.vocab_size);
}

std::span<const float> Model::Impl::forward(std::span<const SequenceSlice> slices, backend::KvPool& kv) {
  // The rows of the step: all slices' tokens, one after the other.
  tokens.clear();
  positions.clear();
  slots.clear();
  runs.clear();
  logit_rows.clear();
  const int block_size = kv.layout().block_size;
  int num_positions = 0;
  for (const SequenceSlice& slice : slices) {
    const int num_tokens = static_cast<int>(slice.tokens.size());
    const int end = slice.start_position + num_tokens;
    KVASIR_CHECK(slice.num_logits >= 0 && slice.num_logits <= num_tokens);
    KVASIR_CHECK(num_tokens > 0 && slice.start_position >= 0 && end <= config.max_position_embeddings);
    KVASIR_CHECK(static_cast<std::size_t>((end - 1) / block_size) < slice.block_table.size());
    runs.push_back({static_cast<int>(tokens.size()), num_tokens, slice.start_position, slice.block_table});
    for (int i = 0; i < num_tokens; ++i) {
      KVASIR_CHECK(slice.tokens[i] >= 0 && slice.tokens[i] < config.vocab_size);
      const int position = slice.start_position + i;
      const BlockId block = slice.block_table[position / block_size];
      tokens.push_back(slice.tokens[i]);
      positions.push_back(position);
      slots.push_back(std::int64_t{index(block)} * block_size + position % block_size);
    }
    const int num_rows = static_cast<int>(tokens.size());
    for (int row = num_rows - slice.num_logits; row < num_rows; ++row) logit_rows.push_back(row);
    num_positions = std::max(num_positions, end);
  }
  const int rows = static_cast<int>(tokens.size());
  const int hidden = config.hidden_size;
  extend_rope_table(num_positions);
  resize_buffers(rows, logit_rows.size());

  ops->embed(weights.embedding, tokens, x.data());
  for (int i = 0; i < config.num_layers; ++i) {
    const Layer& layer = weights.layers[i];

    ops->rms_norm(x.data(), rows, hidden, layer.attention_norm.data(), config.rms_norm_eps, h.data());
    ops->linear(h.data(), rows, layer.wq, or_null(layer.bq), q.data());
    ops->linear(h.data(), rows, layer.wk, or_null(layer.bk), k.data());
    ops->linear(h.data(), rows, layer.wv, or_null(layer.bv), v.data());
    ops->rope(q.data(), config.num_heads, config.head_dim, positions, rope);
    ops->rope(k.data(), config.num_kv_heads, config.head_dim, positions, rope);
    // Also this step's keys and values are read back from the blocks, rounded as every later step will find
    // them.
    ops->store_kv(k.data(), v.data(), i, slots, kv);
    ops->attention(q.data(), config.num_heads, i, runs, kv, attended.data());
    ops->linear(attended.data(), rows, layer.wo, or_null(layer.bo), h.data());
    ops->add(x.data(), h.data(), x.size());

    ops->rms_norm(x.data(), rows, hidden, layer.mlp_norm.data(), config.rms_norm_eps, h.data());
    ops->linear(h.data(), rows, layer.gate, or_null(layer.gate_bias), gate.data());
    ops->linear(h.data(), rows, layer.up, or_null(layer.up_bias), up.data());
    ops->silu_mul(gate.data(), up.data(), gate.size(), gate.data());
    ops->linear(gate.data(), rows, layer.down, or_null(layer.down_bias), h.data());
    ops->add(x.data(), h.data(), x.size());
  }

  if (logit_rows.empty()) return {};
  for (std::size_t i = 0; i < logit_rows.size(); ++i) {
    std::copy_n(x.begin() + static_cast<std::ptrdiff_t>(logit_rows[i]) * hidden, hidden,
                last.begin() + i * hidden);
  }
  const int num_logits = static_cast<int>(logit_rows.size());
  ops->rms_norm(last.data(), num_logits, hidden, weights.norm.data(), config.rms_norm_eps, last.data());
  ops->linear(last.data(), num_logits, weights.output, nullptr, logits.data());
  return logits;
}

}  // namespace kvasir::model
