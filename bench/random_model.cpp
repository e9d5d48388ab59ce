#include "bench/random_model.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <cstring>
#include <nlohmann/json.hpp>

#include "base/check.h"
#include "kernels/float_formats.h"

namespace kvasir::bench {
namespace {

using backend::WeightDtype;

constexpr ModelShape kShapes[] = {
    {"tinyllama", 2048, 5632, 22, 32, 4},
    {"llama-160m", 768, 3072, 12, 12, 12},
    {"tiny", 256, 704, 4, 4, 2},
};

constexpr std::size_t kNumQuantiles = std::size_t{1} << 16;
constexpr float kDeviation = 0.02f, kEmbeddingDeviation = 1;
constexpr std::size_t kChunkElements = std::size_t{1} << 24;  // handed to the sink at once
constexpr int kPieceElements = 1 << 16;                       // computed by one thread at once

// A random 64-bit number for each input: SplitMix64's finalizer (Steele et al. 2014).
std::uint64_t mix(std::uint64_t value) {
  value += 0x9e3779b97f4a7c15u;
  value = (value ^ (value >> 30)) * 0xbf58476d1ce4e5b9u;
  value = (value ^ (value >> 27)) * 0x94d049bb133111ebu;
  return value ^ (value >> 31);
}

// The middles of kNumQuantiles equally likely parts of the standard normal distribution: drawing one is
// drawing from it, up to 4.3 deviations. Newton's method, each from the one before.
std::vector<float> normal_quantiles() {
  std::vector<float> quantiles(kNumQuantiles);
  double x = 0;
  for (std::size_t i = kNumQuantiles / 2; i < kNumQuantiles; ++i) {
    const double upper = 1 - (static_cast<double>(i) + 0.5) / kNumQuantiles;
    for (int step = 0; step < 6; ++step) {
      const double density = std::exp(-0.5 * x * x) / std::sqrt(2 * M_PI);
      x += (0.5 * std::erfc(x / M_SQRT2) - upper) / density;
    }
    quantiles[i] = static_cast<float>(x);
    quantiles[kNumQuantiles - 1 - i] = -quantiles[i];
  }
  return quantiles;
}

template <typename Element>
Element convert_to(float value, WeightDtype dtype) {
  if constexpr (sizeof(Element) == 4) {
    return value;
  } else {
    return dtype == WeightDtype::kF16 ? kernels::f32_to_f16(value) : kernels::f32_to_bf16(value);
  }
}

// Element i takes 16 bits of the random number i / 4. Requires: first is a multiple of 4.
template <typename Element>
void draw(const std::vector<Element>& table, std::uint64_t seed, std::size_t first, std::span<Element> out) {
  for (std::size_t i = 0; i < out.size(); i += 4) {
    std::uint64_t bits = mix(seed + (first + i) / 4);
    for (std::size_t j = i; j < std::min(i + 4, out.size()); ++j, bits >>= 16) out[j] = table[bits & 0xffff];
  }
}

const char* dtype_name(WeightDtype dtype) {
  return dtype == WeightDtype::kF32 ? "F32" : dtype == WeightDtype::kF16 ? "F16" : "BF16";
}

}  // namespace

std::span<const ModelShape> model_shapes() {
  return kShapes;
}

const ModelShape& model_shape(std::string_view name) {
  const auto found =
      std::find_if(std::begin(kShapes), std::end(kShapes), [&](const auto& s) { return s.name == name; });
  KVASIR_CHECK(found != std::end(kShapes));
  return *found;
}

RandomModel::RandomModel(const ModelShape& shape, WeightDtype dtype, std::uint64_t seed)
    : shape_(shape), dtype_(dtype), seed_(seed) {
  const int kv_size = shape.hidden / shape.num_heads * shape.num_kv_heads;
  tensors_ = {{"model.embed_tokens.weight", shape.vocab_size, shape.hidden},
              {"model.norm.weight", shape.hidden, 0},
              {"lm_head.weight", shape.vocab_size, shape.hidden}};
  for (int i = 0; i < shape.num_layers; ++i) {
    const std::string prefix = fmt::format("model.layers.{}.", i);
    tensors_.insert(tensors_.end(), {{prefix + "input_layernorm.weight", shape.hidden, 0},
                                     {prefix + "post_attention_layernorm.weight", shape.hidden, 0},
                                     {prefix + "self_attn.q_proj.weight", shape.hidden, shape.hidden},
                                     {prefix + "self_attn.k_proj.weight", kv_size, shape.hidden},
                                     {prefix + "self_attn.v_proj.weight", kv_size, shape.hidden},
                                     {prefix + "self_attn.o_proj.weight", shape.hidden, shape.hidden},
                                     {prefix + "mlp.gate_proj.weight", shape.intermediate, shape.hidden},
                                     {prefix + "mlp.up_proj.weight", shape.intermediate, shape.hidden},
                                     {prefix + "mlp.down_proj.weight", shape.hidden, shape.intermediate}});
  }
  nlohmann::json header;
  for (const Tensor& tensor : tensors_) {
    const std::size_t bytes = tensor.num_elements() * element_bytes(dtype);
    nlohmann::json sizes = {tensor.rows};
    if (tensor.columns > 0) sizes.push_back(tensor.columns);
    header[tensor.name] = {
        {"dtype", dtype_name(dtype)}, {"shape", sizes}, {"data_offsets", {data_bytes_, data_bytes_ + bytes}}};
    data_bytes_ += bytes;
    num_weights_ += static_cast<std::int64_t>(tensor.num_elements());
  }
  std::string text = header.dump();
  text.resize((text.size() + 8 + 63) / 64 * 64 - 8, ' ');
  const std::uint64_t length = text.size();
  header_.resize(8);
  std::memcpy(header_.data(), &length, 8);
  header_ += text;
}

std::string RandomModel::config() const {
  return nlohmann::json({{"architectures", {"LlamaForCausalLM"}},
                         {"model_type", "llama"},
                         {"hidden_act", "silu"},
                         {"hidden_size", shape_.hidden},
                         {"intermediate_size", shape_.intermediate},
                         {"num_hidden_layers", shape_.num_layers},
                         {"num_attention_heads", shape_.num_heads},
                         {"num_key_value_heads", shape_.num_kv_heads},
                         {"vocab_size", shape_.vocab_size},
                         {"max_position_embeddings", shape_.context},
                         {"rms_norm_eps", 1e-5},
                         {"rope_theta", 10000.0},
                         {"tie_word_embeddings", false},
                         {"attention_bias", false},
                         {"mlp_bias", false},
                         {"bos_token_id", kBeginToken},
                         {"eos_token_id", kEndToken},
                         {"torch_dtype", dtype_ == WeightDtype::kF32   ? "float32"
                                         : dtype_ == WeightDtype::kF16 ? "float16"
                                                                       : "bfloat16"}})
      .dump(2);
}

template <typename Element>
Status RandomModel::write_tensors(ThreadPool& pool, const Sink& sink) const {
  std::vector<Element> table(kNumQuantiles), embedding_table(kNumQuantiles);
  const std::vector<float> quantiles = normal_quantiles();
  for (std::size_t i = 0; i < kNumQuantiles; ++i) {
    table[i] = convert_to<Element>(quantiles[i] * kDeviation, dtype_);
    embedding_table[i] = convert_to<Element>(quantiles[i] * kEmbeddingDeviation, dtype_);
  }
  std::vector<Element> chunk;
  for (std::size_t t = 0; t < tensors_.size(); ++t) {
    const Tensor& tensor = tensors_[t];
    const std::uint64_t seed = mix(mix(seed_) + t);
    const bool is_embedding = t == 0;
    for (std::size_t first = 0; first < tensor.num_elements(); first += chunk.size()) {
      chunk.resize(std::min(kChunkElements, tensor.num_elements() - first));
      pool.parallel_for(static_cast<int>(chunk.size()), kPieceElements, [&](int begin, int end, int) {
        const std::span<Element> piece = std::span(chunk).subspan(begin, end - begin);
        if (tensor.columns == 0) {
          std::fill(piece.begin(), piece.end(), convert_to<Element>(1, dtype_));
        } else {
          draw(is_embedding ? embedding_table : table, seed, first + begin, piece);
        }
      });
      if (tensor.name == "lm_head.weight" && first == 0) {
        std::fill_n(chunk.begin() + std::ptrdiff_t{kEndToken} * tensor.columns, tensor.columns, Element());
      }
      KVASIR_RETURN_IF_ERROR(sink(std::as_bytes(std::span(chunk))));
    }
  }
  return Status();
}

Status RandomModel::write_weights(ThreadPool& pool, const Sink& sink) const {
  KVASIR_RETURN_IF_ERROR(sink(std::as_bytes(std::span(header_))));
  return dtype_ == WeightDtype::kF32 ? write_tensors<float>(pool, sink)
                                     : write_tensors<std::uint16_t>(pool, sink);
}

}  // namespace kvasir::bench
