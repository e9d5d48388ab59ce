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
#include "model/weights.h"

namespace kvasir::model {
namespace {

using format::TensorMap;

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
  WeightDtype dtype;
  Weights weights;
  std::unique_ptr<backend::CpuBackend> ops;
  std::string fingerprint;
  std::vector<float> rope_frequencies;  // (head_dim / 2)

  void extend_rope_table(int num_positions);
  void resize_buffers();
  void norm_rows(std::span<const int> rows, std::vector<float>& out);
  std::span<const float> forward(std::span<const SequenceSlice> slices, backend::KvPool& kv);

  // Of one forward; they grow and are reused.
  backend::RopeTable rope;
  std::vector<TokenId> tokens;        // (rows)
  std::vector<int> positions;         // (rows)
  std::vector<std::int64_t> slots;    // (rows), where in the pool a row's keys and values go; -1: nowhere
  std::vector<backend::RowRun> runs;  // one for each slice
  backend::AttentionPlan attention_plan;
  std::vector<int> logit_rows;       // the rows whose logits are asked for
  std::vector<int> hidden_rows;      // the rows whose hidden states are
  std::vector<float> x, h;           // (rows, hidden)
  std::vector<float> q, attended;    // (rows, num_heads * head_dim)
  std::vector<float> k, v;           // (rows, num_kv_heads * head_dim)
  std::vector<float> gate, up;       // (rows, intermediate)
  std::vector<float> last, logits;   // (number of logits, hidden) and (.., vocab_size)
  std::vector<float> hidden_states;  // (number of hidden rows, hidden)
};

Model::Model(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
Model::~Model() = default;

Result<std::unique_ptr<Model>> Model::load(format::ModelFiles& files, LoadOptions options, ThreadPool& pool) {
  auto impl = std::make_unique<Impl>();
  KVASIR_ASSIGN_OR_RETURN(impl->ops, backend::CpuBackend::create(pool));
  KVASIR_ASSIGN_OR_RETURN(impl->config, read_model_config(files));
  KVASIR_ASSIGN_OR_RETURN(const TensorMap tensors, format::read_tensors(files));
  impl->dtype = options.dtype = resolve_dtype(options.dtype, impl->config, tensors);
  impl->fingerprint = make_fingerprint(impl->config, tensors, options.dtype);
  KVASIR_ASSIGN_OR_RETURN(impl->weights,
                          read_weights(files, tensors, impl->config, options, impl->fingerprint, pool));
  impl->rope_frequencies = rope_frequencies(impl->config);
  return std::unique_ptr<Model>(new Model(std::move(impl)));
}

const ModelConfig& Model::config() const {
  return impl_->config;
}

WeightDtype Model::dtype() const {
  return impl_->dtype;
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

std::span<const float> Model::hidden_states() const {
  return impl_->hidden_states;
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

void Model::Impl::resize_buffers() {
  const std::size_t num_rows = tokens.size(), num_logits = logit_rows.size();
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
  hidden_states.resize(hidden_rows.size() * config.hidden_size);
}

// These rows of x after the last norm.
void Model::Impl::norm_rows(std::span<const int> rows, std::vector<float>& out) {
  const int hidden = config.hidden_size;
  for (std::size_t i = 0; i < rows.size(); ++i) {
    std::copy_n(x.begin() + static_cast<std::ptrdiff_t>(rows[i]) * hidden, hidden, out.begin() + i * hidden);
  }
  ops->rms_norm(out.data(), static_cast<int>(rows.size()), hidden, weights.norm.data(), config.rms_norm_eps,
                out.data());
}

std::span<const float> Model::Impl::forward(std::span<const SequenceSlice> slices, backend::KvPool& kv) {
  // The rows of the step: all slices' tokens, one after the other.
  tokens.clear();
  positions.clear();
  slots.clear();
  runs.clear();
  logit_rows.clear();
  hidden_rows.clear();
  const int block_size = kv.layout().block_size;
  int num_positions = 0;
  for (const SequenceSlice& slice : slices) {
    const int num_tokens = static_cast<int>(slice.tokens.size());
    const int end = slice.start_position + num_tokens;
    for (const int count : {slice.num_logits, slice.num_hidden, slice.num_stored}) {
      KVASIR_CHECK(count >= 0 && count <= num_tokens);
    }
    KVASIR_CHECK(num_tokens > 0 && slice.start_position >= 0 && end <= config.max_position_embeddings);
    KVASIR_CHECK(static_cast<std::size_t>((end - 1) / block_size) < slice.block_table.size());
    runs.push_back({static_cast<int>(tokens.size()), num_tokens, slice.start_position, slice.block_table});
    for (int i = 0; i < num_tokens; ++i) {
      KVASIR_CHECK(slice.tokens[i] >= 0 && slice.tokens[i] < config.vocab_size);
      const int position = slice.start_position + i;
      const BlockId block = slice.block_table[position / block_size];
      tokens.push_back(slice.tokens[i]);
      positions.push_back(position);
      const std::int64_t slot = std::int64_t{index(block)} * block_size + position % block_size;
      slots.push_back(i < slice.num_stored ? -1 : slot);
    }
    const int num_rows = static_cast<int>(tokens.size());
    for (int row = num_rows - slice.num_logits; row < num_rows; ++row) logit_rows.push_back(row);
    for (int row = num_rows - slice.num_hidden; row < num_rows; ++row) hidden_rows.push_back(row);
    num_positions = std::max(num_positions, end);
  }
  const int rows = static_cast<int>(tokens.size());
  const int hidden = config.hidden_size;
  attention_plan.build(runs, kv, config.num_heads, ops->pool().num_threads());
  extend_rope_table(num_positions);
  resize_buffers();

  ops->embed(weights.embedding, tokens, x.data());
  for (int i = 0; i < config.num_layers; ++i) {
    const Layer& layer = weights.layers[i];

    ops->rms_norm(x.data(), rows, hidden, layer.attention_norm.data(), config.rms_norm_eps, h.data());
    ops->linear(h.data(), rows,
                {{&layer.wq, or_null(layer.bq), q.data()},
                 {&layer.wk, or_null(layer.bk), k.data()},
                 {&layer.wv, or_null(layer.bv), v.data()}});
    ops->rope(q.data(), config.num_heads, config.head_dim, positions, rope);
    ops->rope(k.data(), config.num_kv_heads, config.head_dim, positions, rope);
    // Also this step's keys and values are read back from the blocks, rounded as every later step will find
    // them.
    ops->store_kv(k.data(), v.data(), i, slots, kv);
    ops->attention(q.data(), attention_plan, i, kv, attended.data());
    ops->linear(attended.data(), rows, {{&layer.wo, or_null(layer.bo), h.data()}});
    ops->add(x.data(), h.data(), x.size());

    ops->rms_norm(x.data(), rows, hidden, layer.mlp_norm.data(), config.rms_norm_eps, h.data());
    ops->linear(h.data(), rows,
                {{&layer.gate, or_null(layer.gate_bias), gate.data()},
                 {&layer.up, or_null(layer.up_bias), up.data()}});
    ops->silu_mul(gate.data(), up.data(), gate.size(), gate.data());
    ops->linear(gate.data(), rows, {{&layer.down, or_null(layer.down_bias), h.data()}});
    ops->add(x.data(), h.data(), x.size());
  }

  if (!hidden_rows.empty()) norm_rows(hidden_rows, hidden_states);
  if (logit_rows.empty()) return {};
  const int num_logits = static_cast<int>(logit_rows.size());
  norm_rows(logit_rows, last);
  ops->linear(last.data(), num_logits, {{&weights.output, nullptr, logits.data()}});
  return logits;
}

}  // namespace kvasir::model
