#include "model/model.h"

#include <xxhash.h>

#include <algorithm>
#include <cmath>
#include <nlohmann/json.hpp>
#include <string_view>

#include "backend/cpu_backend.h"
#include "base/check.h"
#include "format/safetensors.h"
#include "model/weights.h"

namespace kvasir::model {
namespace {

using format::TensorMap;

// Everything that the contents of a KV block depend on, apart from the tokens.
std::string make_fingerprint(std::string_view config, const TensorMap& tensors, const LoadOptions& options) {
  constexpr std::size_t kSampleBytes = 4096;
  XXH3_state_t* state = XXH3_createState();
  XXH3_128bits_reset(state);
  const auto add = [&](const void* data, std::size_t bytes) { XXH3_128bits_update(state, data, bytes); };
  const auto add_text = [&](std::string_view text) {
    const std::uint64_t size = text.size();
    add(&size, sizeof size);
    add(text.data(), text.size());
  };
  // All of the config: what a key means is not known here.
  add_text(config);
  add_text(fmt::format("{}", static_cast<int>(options.dtype)));
  if (options.max_model_len > 0) add_text(fmt::format("{}", options.max_model_len));
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

bool has(const Norm& norm) {
  return !norm.weight.empty();
}

const float* or_null(const std::vector<float>& values) {
  return values.empty() ? nullptr : values.data();
}

backend::Projection onto(float* y, const Linear& linear) {
  return {&linear.w, or_null(linear.bias), y};
}

// Makes the table know positions below num_positions, at most `limit`.
void extend(const RopeConfig& rope, int num_positions, int limit, backend::RopeTable& table) {
  const std::size_t num_pairs = rope.frequencies.size();
  table.num_pairs = static_cast<int>(num_pairs);
  if (num_pairs == 0) return;
  const std::size_t known = table.cos.size() / num_pairs;
  if (known >= static_cast<std::size_t>(num_positions)) return;
  const std::size_t wanted = std::min<std::size_t>(limit, std::max<std::size_t>(num_positions, 2 * known));
  for (std::size_t position = known; position < wanted; ++position) {
    for (const float frequency : rope.frequencies) {
      const double angle = static_cast<float>(position) * frequency;
      table.cos.push_back(static_cast<float>(std::cos(angle)) * rope.magnitude);
      table.sin.push_back(static_cast<float>(std::sin(angle)) * rope.magnitude);
    }
  }
}

}  // namespace

struct Model::Impl {
  ModelConfig config;
  WeightDtype dtype;
  Weights weights;
  std::unique_ptr<backend::CpuBackend> ops;
  std::string fingerprint;

  void take_rows(std::span<const SequenceSlice> slices, int block_size);
  void prepare_tables_and_buffers();
  void norm(const float* in, int rows, int columns, const Norm& norm, float* out);
  void norm_last(std::span<const int> rows, std::vector<float>& out);
  void attend(int layer, backend::KvPool& kv);
  void run_mlp(const Mlp& mlp);
  void run_experts(const Layer& layer);
  std::span<const float> forward(std::span<const SequenceSlice> slices, backend::KvPool& kv);

  // Of one forward; they grow and are reused.
  backend::RopeTable rope, local_rope;
  std::vector<TokenId> tokens;        // (rows)
  std::vector<int> positions;         // (rows)
  std::vector<std::int64_t> slots;    // (rows), where in the pool a row's keys and values go; -1: nowhere
  std::vector<backend::RowRun> runs;  // one for each slice
  backend::AttentionPlan attention_plan;
  std::vector<int> logit_rows;                // the rows whose logits are asked for
  std::vector<int> hidden_rows;               // the rows whose hidden states are
  std::vector<float> x;                       // (rows, hidden): the residual stream
  std::vector<float> h;                       // (rows, hidden): what a block reads, then what it gives
  std::vector<float> attention_out;           // (rows, hidden), where blocks are parallel
  std::vector<float> q, attended;             // (rows, num_heads * head_dim)
  std::vector<float> k, v;                    // (rows, num_kv_heads * head_dim)
  std::vector<float> gate, up;                // (rows, intermediate), or (copies, expert_intermediate)
  std::vector<float> scores;                  // (rows, num_experts)
  std::vector<float> copies;                  // (copies, hidden): what experts read, then what they give
  std::vector<backend::Projection> products;  // of all experts
  backend::ExpertRouting routing;
  std::vector<float> last, logits;   // (number of logits, hidden) and (.., vocab_size)
  std::vector<float> hidden_states;  // (number of hidden rows, hidden)
};

Model::Model(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
Model::~Model() = default;

Result<std::unique_ptr<Model>> Model::load(format::ModelFiles& files, LoadOptions options, ThreadPool& pool) {
  auto impl = std::make_unique<Impl>();
  KVASIR_ASSIGN_OR_RETURN(impl->ops, backend::CpuBackend::create(pool));
  KVASIR_ASSIGN_OR_RETURN(impl->config, read_model_config(files));
  if (options.max_model_len > 0) {
    KVASIR_RETURN_IF_ERROR(limit_context(impl->config, options.max_model_len));
  }
  KVASIR_ASSIGN_OR_RETURN(const TensorMap tensors, format::read_tensors(files));
  impl->dtype = options.dtype = resolve_dtype(options.dtype, impl->config, tensors);
  KVASIR_ASSIGN_OR_RETURN(const nlohmann::json config, files.read_json("config.json"));
  impl->products.reserve(2 * impl->config.num_experts);
  impl->fingerprint = make_fingerprint(config.dump(), tensors, options);
  KVASIR_ASSIGN_OR_RETURN(impl->weights,
                          read_weights(files, tensors, impl->config, options, impl->fingerprint, pool));
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

// The rows of the step: all slices' tokens, one after the other.
void Model::Impl::take_rows(std::span<const SequenceSlice> slices, int block_size) {
  tokens.clear();
  positions.clear();
  slots.clear();
  runs.clear();
  logit_rows.clear();
  hidden_rows.clear();
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
  }
}

void Model::Impl::prepare_tables_and_buffers() {
  const int num_positions = positions.empty() ? 0 : *std::max_element(positions.begin(), positions.end()) + 1;
  extend(config.rope, num_positions, config.max_position_embeddings, rope);
  extend(config.local_rope, num_positions, config.max_position_embeddings, local_rope);

  const std::size_t num_rows = tokens.size(), num_logits = logit_rows.size();
  const std::size_t num_copies = num_rows * config.num_chosen_experts;
  x.resize(num_rows * config.hidden_size);
  h.resize(x.size());
  attention_out.resize(config.is_parallel ? x.size() : 0);
  q.resize(num_rows * config.num_heads * config.head_dim);
  attended.resize(q.size());
  k.resize(num_rows * config.num_kv_heads * config.head_dim);
  v.resize(k.size());
  gate.resize(std::max(num_rows * config.intermediate_size, num_copies * config.expert_intermediate_size));
  up.resize(gate.size());
  scores.resize(num_rows * config.num_experts);
  copies.resize(num_copies * config.hidden_size);
  last.resize(num_logits * config.hidden_size);
  logits.resize(num_logits * config.vocab_size);
  hidden_states.resize(hidden_rows.size() * config.hidden_size);
}

std::size_t scratch_bytes(const ModelConfig& config, int max_tokens, int max_logits) {
  const std::size_t hidden = config.hidden_size, num_chosen = config.num_chosen_experts;
  const std::size_t heads = config.num_heads + config.num_kv_heads;
  const std::size_t inner =
      std::max<std::size_t>(config.intermediate_size, num_chosen * config.expert_intermediate_size);
  const std::size_t of_token =
      4 * hidden + 2 * heads * config.head_dim + 2 * inner + config.num_experts + num_chosen * hidden;
  const std::size_t of_logits = hidden + config.vocab_size;
  const std::size_t of_position = 2 * (config.rope.frequencies.size() + config.local_rope.frequencies.size());
  return sizeof(float) *
         (of_token * max_tokens + of_logits * max_logits + of_position * config.max_position_embeddings);
}

// out may be in.
void Model::Impl::norm(const float* in, int rows, int columns, const Norm& norm, float* out) {
  if (config.norm == NormKind::kRms) {
    ops->rms_norm(in, rows, columns, norm.weight.data(), config.norm_eps, out);
  } else {
    ops->layer_norm(in, rows, columns, norm.weight.data(), or_null(norm.bias), config.norm_eps, out);
  }
}

// These rows of x after the last norm.
void Model::Impl::norm_last(std::span<const int> rows, std::vector<float>& out) {
  const int hidden = config.hidden_size;
  for (std::size_t i = 0; i < rows.size(); ++i) {
    std::copy_n(x.begin() + static_cast<std::ptrdiff_t>(rows[i]) * hidden, hidden, out.begin() + i * hidden);
  }
  norm(out.data(), static_cast<int>(rows.size()), hidden, weights.norm, out.data());
}

// h becomes the attention block's output for it.
void Model::Impl::attend(int layer_index, backend::KvPool& kv) {
  const Layer& layer = weights.layers[layer_index];
  const LayerConfig& layer_config = config.layers[layer_index];
  const int rows = static_cast<int>(tokens.size());
  const int num_heads = config.num_heads, num_kv_heads = config.num_kv_heads, head_dim = config.head_dim;
  ops->linear(h.data(), rows, {onto(q.data(), layer.q), onto(k.data(), layer.k), onto(v.data(), layer.v)});
  if (config.qk_norm == QkNorm::kHead) {
    norm(q.data(), rows * num_heads, head_dim, layer.q_norm, q.data());
    norm(k.data(), rows * num_kv_heads, head_dim, layer.k_norm, k.data());
  } else if (config.qk_norm == QkNorm::kRow) {
    norm(q.data(), rows, num_heads * head_dim, layer.q_norm, q.data());
    norm(k.data(), rows, num_kv_heads * head_dim, layer.k_norm, k.data());
  }
  if (layer_config.rope != LayerRope::kNone) {
    const backend::RopeTable& table = layer_config.rope == LayerRope::kLocal ? local_rope : rope;
    ops->rope(q.data(), num_heads, head_dim, positions, table);
    ops->rope(k.data(), num_kv_heads, head_dim, positions, table);
  }
  // Also this step's keys and values are read back from the blocks, rounded as every later step will find
  // them.
  ops->store_kv(k.data(), v.data(), layer_index, slots, kv);
  ops->attention(q.data(), attention_plan, layer_index, kv,
                 {config.attention_scale, config.attention_soft_cap, layer_config.window}, attended.data());
  ops->linear(attended.data(), rows, {onto(h.data(), layer.o)});
}

// h becomes the MLP's output for it.
void Model::Impl::run_mlp(const Mlp& mlp) {
  const int rows = static_cast<int>(tokens.size());
  const std::size_t count = tokens.size() * config.intermediate_size;
  if (config.is_gated()) {
    ops->linear(h.data(), rows, {onto(gate.data(), mlp.gate), onto(up.data(), mlp.up)});
    ops->activate(config.activation, gate.data(), up.data(), count, gate.data());
  } else {
    ops->linear(h.data(), rows, {onto(gate.data(), mlp.up)});
    ops->activate(config.activation, gate.data(), nullptr, count, gate.data());
  }
  ops->linear(gate.data(), rows, {onto(h.data(), mlp.down)});
}

// h becomes the sum of each row's experts' outputs for it.
void Model::Impl::run_experts(const Layer& layer) {
  const int rows = static_cast<int>(tokens.size());
  const int hidden = config.hidden_size, intermediate = config.expert_intermediate_size;
  ops->linear(h.data(), rows, {onto(scores.data(), layer.router)});
  ops->route(scores.data(), rows, config.num_experts, config.num_chosen_experts,
             config.normalizes_expert_weights, routing);
  ops->copy_to_experts(h.data(), hidden, routing, copies.data());
  const auto add_product = [&](int expert, const Linear& linear, std::vector<float>& y) {
    const int first = routing.first_copy[expert], count = routing.first_copy[expert + 1] - first;
    if (count == 0) return;
    backend::Projection product = onto(y.data() + static_cast<std::size_t>(first) * linear.w.rows, linear);
    product.first_row = first;
    product.num_rows = count;
    products.push_back(product);
  };
  products.clear();
  for (int e = 0; e < config.num_experts; ++e) {
    add_product(e, layer.experts[e].gate, gate);
    add_product(e, layer.experts[e].up, up);
  }
  ops->linear(copies.data(), routing.num_copies(), products);
  ops->activate(config.activation, gate.data(), up.data(),
                static_cast<std::size_t>(routing.num_copies()) * intermediate, gate.data());
  products.clear();
  for (int e = 0; e < config.num_experts; ++e) add_product(e, layer.experts[e].down, copies);
  ops->linear(gate.data(), routing.num_copies(), products);
  ops->add_experts(copies.data(), hidden, routing, h.data());
}

std::span<const float> Model::Impl::forward(std::span<const SequenceSlice> slices, backend::KvPool& kv) {
  take_rows(slices, kv.layout().block_size);
  prepare_tables_and_buffers();
  attention_plan.build(runs, kv, config.num_heads, ops->pool().num_threads());
  const int rows = static_cast<int>(tokens.size());
  const int hidden = config.hidden_size;

  ops->embed(weights.embedding, tokens, x.data());
  if (config.embedding_scale != 1) ops->scale(x.data(), config.embedding_scale, x.size());
  if (weights.positions.data != nullptr) {
    ops->embed(weights.positions, positions, h.data());
    ops->add(x.data(), h.data(), x.size());
  }
  for (int i = 0; i < config.num_layers; ++i) {
    const Layer& layer = weights.layers[i];

    if (has(layer.attention_norm))
      norm(x.data(), rows, hidden, layer.attention_norm, h.data());
    else
      h = x;
    attend(i, kv);
    if (has(layer.attention_post_norm)) norm(h.data(), rows, hidden, layer.attention_post_norm, h.data());
    if (config.is_parallel)
      attention_out.swap(h);
    else
      ops->add(x.data(), h.data(), x.size(), config.residual_scale);

    if (has(layer.mlp_norm))
      norm(x.data(), rows, hidden, layer.mlp_norm, h.data());
    else
      h = x;
    if (config.layers[i].has_experts)
      run_experts(layer);
    else
      run_mlp(layer.mlp);
    if (has(layer.mlp_post_norm)) norm(h.data(), rows, hidden, layer.mlp_post_norm, h.data());
    if (config.is_parallel) ops->add(x.data(), attention_out.data(), x.size(), config.residual_scale);
    ops->add(x.data(), h.data(), x.size(), config.residual_scale);
  }

  if (!hidden_rows.empty()) norm_last(hidden_rows, hidden_states);
  if (logit_rows.empty()) return {};
  norm_last(logit_rows, last);
  ops->linear(last.data(), static_cast<int>(logit_rows.size()), {{&weights.output, nullptr, logits.data()}});
  if (config.logits_scale != 1) ops->scale(logits.data(), config.logits_scale, logits.size());
  if (config.logits_soft_cap != 0) ops->soft_cap(logits.data(), config.logits_soft_cap, logits.size());
  return logits;
}

}  // namespace kvasir::model
