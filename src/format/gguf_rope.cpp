#include "format/gguf_rope.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <nlohmann/json.hpp>
#include <numbers>
#include <utility>

#include "format/printable.h"

namespace kvasir::format {
namespace {

using nlohmann::json;

constexpr const char* kLongFactors = "rope_factors_long.weight";
constexpr const char* kShortFactors = "rope_factors_short.weight";

// The floats of a one-dimensional F32 tensor of `count`.
Result<std::vector<float>> read_factors(const TensorInfo& info, std::string_view name, std::int64_t count) {
  if (info.dtype != TensorDtype::kF32 || info.shape != std::vector<std::int64_t>{count}) {
    return error(StatusCode::kCorrupt, "{}: tensor '{}': expected F32 of shape [{}], got {} of [{}]",
                 info.file, name, count, info.dtype_name, fmt::join(info.shape, ","));
  }
  std::vector<float> factors(count);
  std::memcpy(factors.data(), info.data.data(), info.data.size());
  for (const float factor : factors) {
    if (!(factor > 0 && std::isfinite(factor))) {
      return error(StatusCode::kCorrupt, "{}: tensor '{}': expected factors above 0, got {}", info.file, name,
                   factor);
    }
  }
  return factors;
}

// Whether these are the factors of Llama 3's scaling of a model of `context` tokens by `factor`.
bool is_llama3(const std::vector<float>& factors, double theta, double factor, double low, double high,
               int context) {
  for (std::size_t i = 0; i < factors.size(); ++i) {
    const double frequency = std::pow(theta, -static_cast<double>(i) / static_cast<double>(factors.size()));
    const double turns = context * frequency / (2 * std::numbers::pi);
    const double kept = std::clamp((turns - low) / (high - low), 0.0, 1.0);
    const double expected = 1 / ((1 - kept) / factor + kept);
    if (std::abs(factors[i] - expected) > 1e-4 * expected) return false;
  }
  return true;
}

// Llama 3's scaling comes as the factor of each frequency. Its numbers are found again where they are those
// that Meta's models have, but for the factor and the context, a power of two; any other factors are given as
// they are, in the form of longrope.
json llama3_scaling(const std::vector<float>& factors, double theta, std::int64_t context) {
  constexpr double kLow = 1, kHigh = 4;
  const double factor = *std::max_element(factors.begin(), factors.end());
  std::vector<int> contexts = {8192};  // of Meta's models
  for (int bits = 4; bits <= 20; ++bits) contexts.push_back(1 << bits);
  for (const int original : contexts) {
    if (factor <= 1 || !is_llama3(factors, theta, factor, kLow, kHigh, original)) continue;
    return {{"rope_type", "llama3"},
            {"factor", factor},
            {"low_freq_factor", kLow},
            {"high_freq_factor", kHigh},
            {"original_max_position_embeddings", original}};
  }
  return {{"rope_type", "longrope"},
          {"short_factor", factors},
          {"long_factor", factors},
          {"attention_factor", 1.0},
          {"original_max_position_embeddings", context}};
}

// What the keys say, whether or not they have an effect.
struct ScalingKeys {
  std::string_view type;
  double factor = 1;
  double attn_factor = 1;  // on top of what the type does to magnitudes
};

// A factor without a type is of linear scaling, in old files by another name. 0 is none.
Result<ScalingKeys> read_scaling_keys(GgufFields& fields) {
  ScalingKeys keys;
  KVASIR_ASSIGN_OR_RETURN(keys.type, fields.text("rope.scaling.type", "linear"));
  KVASIR_ASSIGN_OR_RETURN(const double old_factor, fields.number("rope.scale_linear", 1.0));
  KVASIR_ASSIGN_OR_RETURN(keys.factor, fields.number("rope.scaling.factor", old_factor));
  if (keys.factor == 0) keys.factor = 1;
  if (keys.type == "linear" && keys.factor == 1) keys.type = "none";
  KVASIR_ASSIGN_OR_RETURN(keys.attn_factor, fields.number("rope.scaling.attn_factor", 1.0));
  fields.ignore("rope.scaling.finetuned");
  return keys;
}

// llama.cpp multiplies what yarn does to magnitudes by attn_factor, where attention_factor of config.json
// replaces it. yarn_attn_factor is either that or a key that transformers has no use for, and llama.cpp does
// not read it in these families.
Status read_yarn(GgufFields& fields, const ScalingKeys& keys, std::int64_t context, json& scaling) {
  KVASIR_ASSIGN_OR_RETURN(scaling["original_max_position_embeddings"],
                          fields.count("rope.scaling.original_context_length", context));
  scaling["factor"] = keys.factor;
  if (keys.attn_factor != 1) {
    scaling["attention_factor"] = keys.attn_factor * (1 + 0.1 * std::log(keys.factor));
  }
  fields.ignore("rope.scaling.yarn_attn_factor");
  constexpr std::pair<const char*, const char*> kOptions[] = {
      {"rope.scaling.yarn_ext_factor", "extrapolation_factor"},
      {"rope.scaling.yarn_beta_fast", "beta_fast"},
      {"rope.scaling.yarn_beta_slow", "beta_slow"}};
  for (const auto& [name, key] : kOptions) {
    if (fields.has(name)) {
      KVASIR_ASSIGN_OR_RETURN(scaling[key], fields.number(name));
    }
  }
  return Status();
}

Status read_longrope(const TensorMap& tensors, GgufFields& fields, const ScalingKeys& keys,
                     std::int64_t num_pairs, json& config) {
  json scaling = {{"rope_type", "longrope"}};
  constexpr std::pair<const char*, const char*> kFactors[] = {{kLongFactors, "long_factor"},
                                                              {kShortFactors, "short_factor"}};
  for (const auto& [name, key] : kFactors) {
    KVASIR_ASSIGN_OR_RETURN(scaling[key], read_factors(tensors.at(name), name, num_pairs));
  }
  if (fields.has("rope.scaling.attn_factor")) scaling["attention_factor"] = keys.attn_factor;
  KVASIR_ASSIGN_OR_RETURN(config["original_max_position_embeddings"],
                          fields.count("rope.scaling.original_context_length",
                                       config["max_position_embeddings"].get<std::int64_t>()));
  config["rope_scaling"] = std::move(scaling);
  return Status();
}

}  // namespace

Status add_rope(const Gguf& gguf, GgufFields& fields, std::int64_t head_dim, json& config) {
  KVASIR_ASSIGN_OR_RETURN(const std::int64_t rotary_dim, fields.count("rope.dimension_count", head_dim));
  if (rotary_dim != head_dim) {
    config["partial_rotary_factor"] = static_cast<double>(rotary_dim) / static_cast<double>(head_dim);
  }
  KVASIR_ASSIGN_OR_RETURN(const double theta, fields.number("rope.freq_base", 10000.0));
  config["rope_theta"] = theta;
  KVASIR_ASSIGN_OR_RETURN(const ScalingKeys keys, read_scaling_keys(fields));
  const auto context = config["max_position_embeddings"].get<std::int64_t>();
  const auto factors = gguf.tensors.find("rope_freqs.weight");
  const bool is_longrope = gguf.tensors.contains(kLongFactors) && gguf.tensors.contains(kShortFactors);
  const bool has_factors = !is_longrope && factors != gguf.tensors.end();
  const bool is_linear = keys.type == "linear", is_yarn = keys.type == "yarn";
  const bool is_known = keys.type == "none" || (is_longrope && keys.type == "longrope" && keys.factor == 1) ||
                        (!is_longrope && !has_factors && (is_linear || is_yarn));
  if (!is_known) {
    return error(StatusCode::kUnsupported,
                 "{}: rope.scaling.type '{}' is not known, or not that of the file's factors",
                 gguf.metadata.file(), printable(keys.type));
  }
  if (keys.attn_factor != 1 && !is_longrope && !is_yarn) {
    return error(StatusCode::kUnsupported, "{}: key '{}': supported is 1 without yarn and longrope, got {}",
                 gguf.metadata.file(), fields.key("rope.scaling.attn_factor"), keys.attn_factor);
  }
  if (is_longrope) return read_longrope(gguf.tensors, fields, keys, rotary_dim / 2, config);
  if (has_factors) {
    KVASIR_ASSIGN_OR_RETURN(const auto each, read_factors(factors->second, factors->first, rotary_dim / 2));
    config["rope_scaling"] = llama3_scaling(each, theta, context);
  } else if (is_yarn) {
    json scaling = {{"rope_type", "yarn"}};
    KVASIR_RETURN_IF_ERROR(read_yarn(fields, keys, context, scaling));
    config["rope_scaling"] = std::move(scaling);
  } else if (is_linear) {
    config["rope_scaling"] = {{"rope_type", "linear"}, {"factor", keys.factor}};
  }
  fields.ignore("rope.scaling.original_context_length");
  return Status();
}

}  // namespace kvasir::format
