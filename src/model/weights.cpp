#include "model/weights.h"

#include <algorithm>
#include <atomic>
#include <cstdint>
#include <filesystem>
#include <map>
#include <numeric>

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

// Takes tensors from the files' maps. Those that need another form get their place in the image, and their
// content from convert().
class WeightReader {
 public:
  WeightReader(const format::ModelFiles& files, const TensorMap& tensors, const LoadOptions& options,
               ThreadPool& pool)
      : files_(files), tensors_(tensors), options_(options), pool_(pool) {}

  // A matrix of a layer. `out` must stay where it is until finish().
  Status read(const std::string& tensor, int rows, int columns, Matrix& out) {
    return read(tensor, rows, columns, options_.dtype, out);
  }

  // A matrix whose rounding costs more than its size is worth: it keeps 8 bits where the others get 4.
  Status read_sensitive(const std::string& tensor, int rows, int columns, Matrix& out) {
    const bool is_4_bits = options_.dtype == WeightDtype::kQ4_0;
    return read(tensor, rows, columns, is_4_bits ? WeightDtype::kQ8_0 : options_.dtype, out);
  }

  // A norm's weight or a bias: always f32.
  Status read(const std::string& tensor, int count, std::vector<float>& out) {
    KVASIR_ASSIGN_OR_RETURN(const TensorInfo* info, find(tensor, {count}));
    out = read_values(*info);
    return Status();
  }

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
    Matrix* matrix;
    std::size_t offset;  // in the image
  };

  Status read(const std::string& tensor, int rows, int columns, WeightDtype wanted, Matrix& out) {
    KVASIR_ASSIGN_OR_RETURN(const TensorInfo* info, find(tensor, {rows, columns}));
    const backend::BlockType stored = *stored_type(*info);
    const backend::WeightDtype target = target_dtype(wanted, stored);
    out = {info->data.data(), target, rows, columns};
    if (is_ready(*info, target)) return Status();
    if (wanted == WeightDtype::kAuto && !has_own_dtype(stored)) ++num_rounded_[info->dtype_name];
    converted_.push_back({info, &out, image_bytes_});
    const std::size_t bytes = backend::matrix_bytes(target, rows, columns);
    image_bytes_ += (bytes + kAlignment - 1) / kAlignment * kAlignment;
    return Status();
  }

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
    const std::size_t row_bytes = c.info->data.size() / matrix.rows;
    const int num_panels = (matrix.rows + backend::kRowsPerPanel - 1) / backend::kRowsPerPanel;
    // A few panels at a time: the pages that they were read from need not stay in memory.
    const int panels_at_once = static_cast<int>(
        std::clamp<std::size_t>(kReleaseBytes / (row_bytes * backend::kRowsPerPanel), 1, num_panels));
    pool_.parallel_for(num_panels, panels_at_once, [&](int begin, int end, int) {
      for (int panel = begin; panel < end; panel += panels_at_once) {
        const int first = panel * backend::kRowsPerPanel;
        const int last =
            std::min(matrix.rows, std::min(end, panel + panels_at_once) * backend::kRowsPerPanel);
        std::vector<std::int32_t> rows(last - first);
        std::iota(rows.begin(), rows.end(), first);
        convert_tensor_rows(*c.info, rows, matrix.columns, matrix.dtype,
                            to + backend::matrix_bytes(matrix.dtype, first, matrix.columns));
        files_.release(c.info->data.subspan(first * row_bytes, (last - first) * row_bytes));
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
  std::map<std::string, int> num_rounded_;  // matrices by the types whose blocks are rounded again
};

Status read_layer(WeightReader& reader, const ModelConfig& config, int index, Layer& layer) {
  const int hidden = config.hidden_size, intermediate = config.intermediate_size;
  const int q_size = config.num_heads * config.head_dim;
  const int kv_size = config.num_kv_heads * config.head_dim;
  const std::string prefix = fmt::format("model.layers.{}.", index);
  const std::string attention = prefix + "self_attn.", mlp = prefix + "mlp.";
  KVASIR_RETURN_IF_ERROR(reader.read(prefix + "input_layernorm.weight", hidden, layer.attention_norm));
  KVASIR_RETURN_IF_ERROR(reader.read(attention + "q_proj.weight", q_size, hidden, layer.wq));
  KVASIR_RETURN_IF_ERROR(reader.read_sensitive(attention + "k_proj.weight", kv_size, hidden, layer.wk));
  KVASIR_RETURN_IF_ERROR(reader.read_sensitive(attention + "v_proj.weight", kv_size, hidden, layer.wv));
  KVASIR_RETURN_IF_ERROR(reader.read(attention + "o_proj.weight", hidden, q_size, layer.wo));
  if (config.attention_bias) {
    KVASIR_RETURN_IF_ERROR(reader.read(attention + "q_proj.bias", q_size, layer.bq));
    KVASIR_RETURN_IF_ERROR(reader.read(attention + "k_proj.bias", kv_size, layer.bk));
    KVASIR_RETURN_IF_ERROR(reader.read(attention + "v_proj.bias", kv_size, layer.bv));
    KVASIR_RETURN_IF_ERROR(reader.read(attention + "o_proj.bias", hidden, layer.bo));
  }
  KVASIR_RETURN_IF_ERROR(reader.read(prefix + "post_attention_layernorm.weight", hidden, layer.mlp_norm));
  KVASIR_RETURN_IF_ERROR(reader.read(mlp + "gate_proj.weight", intermediate, hidden, layer.gate));
  KVASIR_RETURN_IF_ERROR(reader.read(mlp + "up_proj.weight", intermediate, hidden, layer.up));
  KVASIR_RETURN_IF_ERROR(reader.read(mlp + "down_proj.weight", hidden, intermediate, layer.down));
  if (config.mlp_bias) {
    KVASIR_RETURN_IF_ERROR(reader.read(mlp + "gate_proj.bias", intermediate, layer.gate_bias));
    KVASIR_RETURN_IF_ERROR(reader.read(mlp + "up_proj.bias", intermediate, layer.up_bias));
    KVASIR_RETURN_IF_ERROR(reader.read(mlp + "down_proj.bias", hidden, layer.down_bias));
  }
  return Status();
}

}  // namespace

WeightDtype resolve_dtype(WeightDtype wanted, const ModelConfig& config, const TensorMap& tensors) {
  if (wanted != WeightDtype::kAuto) return wanted;
  for (const auto& [name, info] : tensors) {
    const auto stored = stored_type(info);
    if (stored && backend::block_size(*stored).weights > 1) return WeightDtype::kAuto;
  }
  const std::int64_t hidden = config.hidden_size, heads = config.num_heads + config.num_kv_heads;
  const std::int64_t per_layer = 2 * heads * config.head_dim * hidden + 3 * hidden * config.intermediate_size;
  const std::int64_t tokens = config.vocab_size * hidden * (config.tie_word_embeddings ? 1 : 2);
  const std::int64_t total = config.num_layers * per_layer + tokens;
  return total > kMinAutoQuantized ? WeightDtype::kQ8_0 : WeightDtype::kAuto;
}

Result<Weights> read_weights(const format::ModelFiles& files, const TensorMap& tensors,
                             const ModelConfig& config, const LoadOptions& options,
                             const std::string& fingerprint, ThreadPool& pool) {
  Weights weights;
  WeightReader reader(files, tensors, options, pool);
  const int hidden = config.hidden_size;
  KVASIR_RETURN_IF_ERROR(
      reader.read_sensitive("model.embed_tokens.weight", config.vocab_size, hidden, weights.embedding));
  KVASIR_RETURN_IF_ERROR(reader.read("model.norm.weight", hidden, weights.norm));
  if (!config.tie_word_embeddings) {
    KVASIR_RETURN_IF_ERROR(
        reader.read_sensitive("lm_head.weight", config.vocab_size, hidden, weights.output));
  }
  weights.layers.resize(config.num_layers);
  for (int i = 0; i < config.num_layers; ++i) {
    KVASIR_RETURN_IF_ERROR(read_layer(reader, config, i, weights.layers[i]));
  }
  KVASIR_ASSIGN_OR_RETURN(weights.image, reader.finish(fingerprint));
  if (config.tie_word_embeddings) weights.output = weights.embedding;
  return weights;
}

}  // namespace kvasir::model
