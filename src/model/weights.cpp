#include "model/weights.h"

#include <algorithm>
#include <atomic>
#include <cstdint>
#include <cstring>
#include <filesystem>
#include <map>

#include "model/tensor_rows.h"

namespace kvasir::model {
namespace {

using backend::Matrix;
using format::TensorInfo;
using format::TensorMap;

constexpr std::int64_t kMinAutoQuantized = 100'000'000;  // weights
constexpr std::size_t kAlignment = 64;
// Bytes of a file after whose conversion its pages are given back.
constexpr std::size_t kReleaseBytes = 1 << 20;

backend::WeightDtype target_dtype(WeightDtype wanted, backend::BlockType stored) {
  switch (wanted) {
    case WeightDtype::kAuto:
      return natural_dtype(stored);
    case WeightDtype::kF32:
      return backend::WeightDtype::kF32;
    case WeightDtype::kF16:
      return backend::WeightDtype::kF16;
    case WeightDtype::kBf16:
      return backend::WeightDtype::kBf16;
    case WeightDtype::kQ8_0:
      return backend::WeightDtype::kQ8_0;
    case WeightDtype::kQ4_0:
      return backend::WeightDtype::kQ4_0;
  }
  return natural_dtype(stored);
}

// Rows of a tensor: of each `stride` of its `total` rows, `count` from `first` on.
struct Rows {
  int total, first, count, stride;
  bool is_transposed = false;  // the tensor has them as columns

  static Rows all(int total) { return {total, 0, total, total}; }
  int num_rows() const { return total / stride * count; }
  int row(int i) const { return i / count * stride + first + i % count; }
  // Whether they lie one after the other as they are.
  bool is_run() const { return !is_transposed && stride == total; }
};

// The same tensor with rows and columns exchanged. bytes: of it, in `memory`.
TensorInfo transposed(const TensorInfo& info, std::vector<std::byte>& memory) {
  const std::size_t rows = info.shape[1], columns = info.shape[0],
                    element = info.data.size() / (rows * columns);
  memory.resize(info.data.size());
  std::byte* to = memory.data();
  for (std::size_t row = 0; row < rows; ++row) {
    for (std::size_t column = 0; column < columns; ++column, to += element) {
      std::memcpy(to, info.data.data() + (column * rows + row) * element, element);
    }
  }
  TensorInfo result = info;
  result.shape = {info.shape[1], info.shape[0]};
  result.data = memory;
  return result;
}

// Takes tensors from the files' maps. Those that need another form get their place in the image, and their
// content from convert().
class WeightReader {
 public:
  WeightReader(const format::ModelFiles& files, const TensorMap& tensors, const LoadOptions& options,
               ThreadPool& pool)
      : files_(files), tensors_(tensors), options_(options), pool_(pool) {}

  const TensorMap& tensors() const { return tensors_; }
  const LoadOptions& options() const { return options_; }

  // A matrix of `wanted` dtype from those rows of a tensor. `out` must stay where it is until finish().
  Status read(const std::string& tensor, const Rows& part, int columns, WeightDtype wanted, Matrix& out) {
    const std::vector<std::int64_t> shape = part.is_transposed
                                                ? std::vector<std::int64_t>{columns, part.total}
                                                : std::vector<std::int64_t>{part.total, columns};
    KVASIR_ASSIGN_OR_RETURN(const TensorInfo* info, find(tensor, shape));
    const backend::BlockType stored = *stored_type(*info);
    if (part.is_transposed && backend::block_size(stored).weights > 1) {
      return error(StatusCode::kUnsupported,
                   "{}: tensor '{}': supported in this order are F32, F16 and BF16, got {}", info->file,
                   tensor, info->dtype_name);
    }
    const backend::WeightDtype target = target_dtype(wanted, stored);
    out = {info->data.data(), target, part.num_rows(), columns};
    if (part.is_run() && is_ready(*info, target)) {
      mapped_bytes_ += backend::matrix_bytes(target, out.rows, columns);
      out.data = info->data.data() + part.first * (info->data.size() / part.total);
      return Status();
    }
    if (wanted == WeightDtype::kAuto && !backend::held_as(stored)) ++num_rounded_[info->dtype_name];
    converted_.push_back({info, part, &out, image_bytes_});
    const std::size_t bytes = backend::matrix_bytes(target, out.rows, columns);
    image_bytes_ += (bytes + kAlignment - 1) / kAlignment * kAlignment;
    return Status();
  }

  // A norm's weight or a bias: always f32.
  Status read(const std::string& tensor, const Rows& part, std::vector<float>& out) {
    KVASIR_ASSIGN_OR_RETURN(const TensorInfo* info, find(tensor, {part.total}));
    const std::vector<float> whole = read_values(*info);
    out.resize(part.num_rows());
    for (int i = 0; i < part.num_rows(); ++i) out[i] = whole[part.row(i)];
    return Status();
  }

  // Of all matrices read so far.
  std::size_t num_bytes() const { return image_bytes_ + mapped_bytes_; }

  // The converted weights: from the weight cache, or made and left there.
  Result<WeightImage> finish(const std::string& fingerprint) {
    for (const auto& [type, count] : num_rounded_) {
      warn(fmt::format("{} matrices of {} are held as q8_0: there is no product with their own blocks", count,
                       type));
    }
    if (converted_.empty()) return WeightImage();
    const std::string path =
        options_.weight_cache.empty()
            ? std::string()
            : (std::filesystem::path(options_.weight_cache) / (fingerprint + ".weights")).string();
    if (!path.empty()) {
      Result<WeightImage> cached = WeightImage::open(path, fingerprint, image_bytes_, pool_);
      if (cached.ok()) {
        place(*cached);
        return cached;
      }
      if (cached.status().code() != StatusCode::kNotFound) warn("weight cache: " + cached.status().message());
    }
    KVASIR_ASSIGN_OR_RETURN(WeightImage image, WeightImage::allocate(image_bytes_));
    place(image);
    convert(image);
    if (!path.empty()) {
      const Status saved = image.save(path, fingerprint, pool_);
      if (!saved.ok()) warn("weight cache: " + saved.message());
    }
    return image;
  }

 private:
  struct Converted {
    const TensorInfo* info;
    Rows part;
    Matrix* matrix;
    std::size_t offset;  // in the image
  };

  void warn(const std::string& message) {
    if (options_.on_warning) options_.on_warning(message);
  }

  void place(const WeightImage& image) {
    for (const Converted& c : converted_) c.matrix->data = image.bytes().data() + c.offset;
  }

  void convert(WeightImage& image) {
    std::size_t total_bytes = 0, done_bytes = 0;
    for (const Converted& c : converted_) total_bytes += c.info->data.size();
    for (const Converted& c : converted_) {
      convert(c, image.memory().data() + c.offset);
      done_bytes += c.info->data.size();
      if (options_.on_progress) options_.on_progress(static_cast<double>(done_bytes) / total_bytes);
    }
  }

  void convert(const Converted& c, std::byte* to) {
    const Matrix& matrix = *c.matrix;
    std::vector<std::byte> memory;
    const TensorInfo info = c.part.is_transposed ? transposed(*c.info, memory) : *c.info;
    const std::size_t row_bytes = info.data.size() / c.part.total;
    const int num_panels = (matrix.rows + backend::kRowsPerPanel - 1) / backend::kRowsPerPanel;
    // A few panels at a time: the pages that they were read from need not stay in memory.
    const int panels_at_once = static_cast<int>(
        std::clamp<std::size_t>(kReleaseBytes / (row_bytes * backend::kRowsPerPanel), 1, num_panels));
    pool_.parallel_for(num_panels, panels_at_once, [&](int begin, int end, int) {
      for (int panel = begin; panel < end; panel += panels_at_once) {
        const int first = panel * backend::kRowsPerPanel;
        const int last =
            std::min(matrix.rows, std::min(end, panel + panels_at_once) * backend::kRowsPerPanel);
        std::vector<std::int32_t> rows;
        for (int i = first; i < last; ++i) rows.push_back(c.part.row(i));
        convert_tensor_rows(info, rows, matrix.columns, matrix.dtype,
                            to + backend::matrix_bytes(matrix.dtype, first, matrix.columns));
        if (!c.part.is_run()) continue;
        files_.release(info.data.subspan((c.part.first + first) * row_bytes, (last - first) * row_bytes));
      }
    });
  }

  Result<const TensorInfo*> find(const std::string& tensor, const std::vector<std::int64_t>& shape) const {
    const auto found = tensors_.find(tensor);
    if (found == tensors_.end()) {
      return error(StatusCode::kCorrupt, "{}: tensor '{}' is missing; config.json calls for one of shape {}",
                   files_.name(), tensor, show(shape));
    }
    const TensorInfo& info = found->second;
    if (info.shape != shape) {
      return error(StatusCode::kCorrupt, "{}: tensor '{}': shape {}, expected {} by config.json", info.file,
                   tensor, show(info.shape), show(shape));
    }
    if (!stored_type(info)) {
      return error(
          StatusCode::kUnsupported,
          "{}: tensor '{}': dtype {}; supported are F32, F16, BF16, Q8_0, Q4_0, Q4_1, Q5_0, Q5_1, Q2_K to "
          "Q6_K and IQ4_NL",
          info.file, tensor, info.dtype_name);
    }
    return &info;
  }

  static std::string show(const std::vector<std::int64_t>& shape) {
    return fmt::format("[{}]", fmt::join(shape, ","));
  }

  const format::ModelFiles& files_;
  const TensorMap& tensors_;
  const LoadOptions& options_;
  ThreadPool& pool_;
  std::vector<Converted> converted_;
  std::size_t image_bytes_ = 0;
  std::size_t mapped_bytes_ = 0;            // of matrices that stay in their file
  std::map<std::string, int> num_rounded_;  // matrices by the types whose blocks are rounded again
};

// Reads what a config calls for by the family's names.
class ModelReader {
 public:
  ModelReader(WeightReader& reader, const ModelConfig& config)
      : reader_(reader),
        config_(config),
        names_(config.tensors),
        root_(find_root(names_, reader.tensors())) {}

  Status read(Weights& weights) {
    const int hidden = config_.hidden_size, vocab = config_.vocab_size;
    KVASIR_RETURN_IF_ERROR(reader_.read(root_ + names_.embedding + ".weight", Rows::all(vocab), hidden,
                                        sensitive_dtype(), weights.embedding));
    if (names_.positions != nullptr) {
      KVASIR_RETURN_IF_ERROR(reader_.read(root_ + names_.positions + ".weight",
                                          Rows::all(config_.num_learned_positions), hidden, sensitive_dtype(),
                                          weights.positions));
    }
    prefix_ = root_;
    KVASIR_RETURN_IF_ERROR(read_norm(names_.norm, hidden, weights.norm));
    if (!config_.tie_word_embeddings) {
      KVASIR_RETURN_IF_ERROR(reader_.read(find_output(names_, reader_.tensors()) + ".weight",
                                          Rows::all(vocab), hidden, sensitive_dtype(), weights.output));
    }
    weights.layers.resize(config_.num_layers);
    for (int i = 0; i < config_.num_layers; ++i) {
      prefix_ = fmt::format("{}{}.{}.", root_, names_.layers, i);
      KVASIR_RETURN_IF_ERROR(read_attention(weights.layers[i]));
      KVASIR_RETURN_IF_ERROR(read_mlp(config_.layers[i], weights.layers[i]));
    }
    return Status();
  }

 private:
  WeightDtype dtype() const { return reader_.options().dtype; }

  // Of matrices whose rounding costs more than their size is worth: they keep 8 bits where others get 4.
  WeightDtype sensitive_dtype() const { return dtype() == WeightDtype::kQ4_0 ? WeightDtype::kQ8_0 : dtype(); }

  Status read_norm(const char* name, int size, Norm& norm) {
    if (name == nullptr) return Status();
    KVASIR_RETURN_IF_ERROR(reader_.read(prefix_ + name + ".weight", Rows::all(size), norm.weight));
    for (float& weight : norm.weight) weight += config_.norm_weight_offset;
    if (!config_.norm_bias) return Status();
    return reader_.read(prefix_ + name + ".bias", Rows::all(size), norm.bias);
  }

  Status read_linear(const std::string& name, Rows rows, int columns, bool has_bias, WeightDtype wanted,
                     Linear& linear) {
    if (has_bias) KVASIR_RETURN_IF_ERROR(reader_.read(prefix_ + name + ".bias", rows, linear.bias));
    rows.is_transposed = names_.is_transposed;
    return reader_.read(prefix_ + name + ".weight", rows, columns, wanted, linear.w);
  }

  Status read_attention(Layer& layer) {
    const int hidden = config_.hidden_size, head_dim = config_.head_dim;
    const int q_size = config_.num_heads * head_dim, kv_size = config_.num_kv_heads * head_dim;
    const int group = q_size / config_.num_kv_heads;  // rows of the queries of a KV head
    KVASIR_RETURN_IF_ERROR(read_norm(names_.attention_norm, hidden, layer.attention_norm));
    KVASIR_RETURN_IF_ERROR(read_norm(names_.attention_post_norm, hidden, layer.attention_post_norm));
    const bool per_head = config_.qk_norm == QkNorm::kHead;
    KVASIR_RETURN_IF_ERROR(read_norm(names_.q_norm, per_head ? head_dim : q_size, layer.q_norm));
    KVASIR_RETURN_IF_ERROR(read_norm(names_.k_norm, per_head ? head_dim : kv_size, layer.k_norm));

    Rows q = Rows::all(q_size), k = Rows::all(kv_size), v = k;
    const int total = q_size + 2 * kv_size;
    if (names_.qkv_layout == QkvLayout::kJoined) {
      q = {total, 0, q_size, total};
      k = {total, q_size, kv_size, total};
      v = {total, q_size + kv_size, kv_size, total};
    } else if (names_.qkv_layout == QkvLayout::kByGroup) {
      const int stride = group + 2 * head_dim;
      q = {total, 0, group, stride};
      k = {total, group, head_dim, stride};
      v = {total, group + head_dim, head_dim, stride};
    }
    const bool is_joined = names_.qkv_layout != QkvLayout::kSeparate, bias = config_.qkv_bias;
    KVASIR_RETURN_IF_ERROR(read_linear(names_.q, q, hidden, bias, dtype(), layer.q));
    KVASIR_RETURN_IF_ERROR(
        read_linear(is_joined ? names_.q : names_.k, k, hidden, bias, sensitive_dtype(), layer.k));
    KVASIR_RETURN_IF_ERROR(
        read_linear(is_joined ? names_.q : names_.v, v, hidden, bias, sensitive_dtype(), layer.v));
    return read_linear(names_.o, Rows::all(hidden), q_size, config_.attention_output_bias, dtype(), layer.o);
  }

  Status read_mlp(const LayerConfig& layer_config, Layer& layer) {
    const int hidden = config_.hidden_size;
    KVASIR_RETURN_IF_ERROR(read_norm(names_.mlp_norm, hidden, layer.mlp_norm));
    KVASIR_RETURN_IF_ERROR(read_norm(names_.mlp_post_norm, hidden, layer.mlp_post_norm));
    if (!layer_config.has_experts) {
      const char* gate = names_.gate == nullptr ? "" : names_.gate;
      return read_projections({gate, names_.up, names_.down}, config_.intermediate_size, layer.mlp);
    }
    // Scores that are rounded may choose other experts: the router stays as it is stored.
    KVASIR_RETURN_IF_ERROR(read_linear(names_.router, Rows::all(config_.num_experts), hidden, false,
                                       WeightDtype::kAuto, layer.router));
    layer.experts.resize(config_.num_experts);
    for (int e = 0; e < config_.num_experts; ++e) {
      const std::string expert = fmt::format("{}.{}.", names_.experts, e);
      KVASIR_RETURN_IF_ERROR(read_projections(
          {expert + names_.expert_gate, expert + names_.expert_up, expert + names_.expert_down},
          config_.expert_intermediate_size, layer.experts[e]));
    }
    return Status();
  }

  struct MlpNames {
    std::string gate, up, down;  // gate: empty without, the same as up where they are joined
  };

  Status read_projections(const MlpNames& names, int intermediate, Mlp& mlp) {
    const int hidden = config_.hidden_size, total = 2 * intermediate;
    const bool bias = config_.mlp_bias, is_joined = names.gate == names.up;
    const Rows gate = is_joined ? Rows{total, 0, intermediate, total} : Rows::all(intermediate);
    const Rows up = is_joined ? Rows{total, intermediate, intermediate, total} : gate;
    if (!names.gate.empty()) {
      KVASIR_RETURN_IF_ERROR(read_linear(names.gate, gate, hidden, bias, dtype(), mlp.gate));
    }
    KVASIR_RETURN_IF_ERROR(read_linear(names.up, up, hidden, bias, dtype(), mlp.up));
    return read_linear(names.down, Rows::all(hidden), intermediate, bias, dtype(), mlp.down);
  }

  WeightReader& reader_;
  const ModelConfig& config_;
  const TensorNames& names_;
  const std::string root_;
  std::string prefix_;  // of the names of norms and projections
};

}  // namespace

std::string find_root(const TensorNames& names, const TensorMap& tensors) {
  for (const char* root : names.roots) {
    if (root == nullptr) break;
    if (tensors.contains(std::string(root) + names.embedding + ".weight")) return root;
  }
  return names.roots[0];
}

std::string find_output(const TensorNames& names, const TensorMap& tensors) {
  for (const char* output : names.output) {
    if (output == nullptr) break;
    if (tensors.contains(std::string(output) + ".weight")) return output;
  }
  return names.output[0];
}

WeightDtype resolve_dtype(WeightDtype wanted, const ModelConfig& config, const TensorMap& tensors) {
  if (wanted != WeightDtype::kAuto) return wanted;
  for (const auto& [name, info] : tensors) {
    const auto stored = stored_type(info);
    if (stored && backend::block_size(*stored).weights > 1) return WeightDtype::kAuto;
  }
  const std::int64_t hidden = config.hidden_size, heads = config.num_heads + config.num_kv_heads;
  const std::int64_t matrices = config.is_gated() ? 3 : 2;
  std::int64_t total = config.vocab_size * hidden * (config.tie_word_embeddings ? 1 : 2);
  for (const LayerConfig& layer : config.layers) {
    const std::int64_t intermediate = layer.has_experts
                                          ? std::int64_t{config.num_experts} * config.expert_intermediate_size
                                          : config.intermediate_size;
    total += 2 * heads * config.head_dim * hidden + matrices * hidden * intermediate;
  }
  return total > kMinAutoQuantized ? WeightDtype::kQ8_0 : WeightDtype::kAuto;
}

Result<Weights> read_weights(const format::ModelFiles& files, const TensorMap& tensors,
                             const ModelConfig& config, const LoadOptions& options,
                             const std::string& fingerprint, ThreadPool& pool) {
  Weights weights;
  WeightReader reader(files, tensors, options, pool);
  KVASIR_RETURN_IF_ERROR(ModelReader(reader, config).read(weights));
  if (options.check_memory) KVASIR_RETURN_IF_ERROR(options.check_memory(config, reader.num_bytes()));
  KVASIR_ASSIGN_OR_RETURN(weights.image, reader.finish(fingerprint));
  if (config.tie_word_embeddings) weights.output = weights.embedding;
  return weights;
}

}  // namespace kvasir::model
