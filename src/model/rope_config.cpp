#include "model/rope_config.h"

#include <algorithm>
#include <cmath>
#include <numbers>
#include <optional>
#include <string>

#include "model/config_reader.h"

namespace kvasir::model {
namespace {

constexpr int kMaxContext = 1 << 24;

// An angle of pair i in f32, as transformers computes it.
float plain_frequency(const RopeShape& shape, int i) {
  return static_cast<float>(1.0 / std::pow(shape.theta, 2.0 * i / shape.rotary_dim));
}

// Grattafiori et al. 2024 (The Llama 3 Herd of Models): low frequencies are divided by the factor, high ones
// kept; the ramp is over the number of turns in the original context.
void read_llama3(ConfigReader& scaling, double factor, RopeConfig& rope) {
  const double low = scaling.number("low_freq_factor", 1e-3, 1e6);
  const double high = scaling.number("high_freq_factor", 1e-3, 1e6);
  const int original = scaling.integer("original_max_position_embeddings", 1, kMaxContext);
  if (low >= high)
    return scaling.wrong("low_freq_factor", fmt::format("a number below high_freq_factor {}", high));
  for (float& frequency : rope.frequencies) {
    const double plain = frequency;
    const double turns = original * plain / (2 * std::numbers::pi);
    const double kept = std::clamp((turns - low) / (high - low), 0.0, 1.0);
    frequency = static_cast<float>((1 - kept) * plain / factor + kept * plain);
  }
}

// Peng et al. 2023 (YaRN): likewise, with a ramp over the pairs, and larger magnitudes.
void read_yarn(ConfigReader& scaling, double factor, const RopeShape& shape, Rope& rope) {
  const int original = scaling.integer("original_max_position_embeddings", 1, kMaxContext, shape.context);
  const double beta_fast = scaling.number("beta_fast", 1e-3, 1e6, 32);
  const double beta_slow = scaling.number("beta_slow", 1e-3, 1e6, 1);
  const double mscale = scaling.number("mscale", 0, 1e6, 0);
  const double mscale_all_dim = scaling.number("mscale_all_dim", 0, 1e6, 0);
  scaling.expect("extrapolation_factor", 1.0);
  const bool truncates = scaling.flag("truncate", true);
  const auto magnitude = [&](double scale) { return factor <= 1 ? 1 : 0.1 * scale * std::log(factor) + 1; };
  const double by_factor =
      mscale > 0 && mscale_all_dim > 0 ? magnitude(mscale) / magnitude(mscale_all_dim) : magnitude(1);
  rope.config.magnitude = static_cast<float>(scaling.number("attention_factor", 1e-6, 1e6, by_factor));
  if (!(shape.theta > 1)) {
    return scaling.keep(error(StatusCode::kCorrupt, "{}: yarn: expected a rope_theta above 1, got {}",
                              scaling.where(), shape.theta));
  }
  // The pair that makes so many turns in the original context.
  const auto pair_of = [&](double turns) {
    return shape.rotary_dim * std::log(original / (turns * 2 * std::numbers::pi)) /
           (2 * std::log(shape.theta));
  };
  const double first = std::max(truncates ? std::floor(pair_of(beta_fast)) : pair_of(beta_fast), 0.0);
  double last =
      std::min(truncates ? std::ceil(pair_of(beta_slow)) : pair_of(beta_slow), shape.rotary_dim - 1.0);
  if (first == last) last += 0.001;
  for (std::size_t i = 0; i < rope.config.frequencies.size(); ++i) {
    const double plain = rope.config.frequencies[i];
    const double stretched = std::clamp((static_cast<double>(i) - first) / (last - first), 0.0, 1.0);
    rope.config.frequencies[i] = static_cast<float>(plain / factor * stretched + plain * (1 - stretched));
  }
  rope.context = std::max(shape.context, static_cast<int>(std::min<double>(original * factor, kMaxContext)));
}

// Ding et al. 2024 (LongRoPE): a factor for each pair, of two lists by the context.
void read_longrope(ConfigReader& scaling, int original, bool has_original, const RopeShape& shape,
                   RopeConfig& rope) {
  const bool is_long = shape.context > original;
  const std::size_t count = rope.frequencies.size();
  const std::vector<double> long_factor = scaling.numbers("long_factor", count, 1e-6, 1e9);
  const std::vector<double> short_factor = scaling.numbers("short_factor", count, 1e-6, 1e9);
  const double given = scaling.number("factor", 1e-6, 1e6, 1);
  const double stretch = has_original ? static_cast<double>(shape.context) / original : given;
  const double by_stretch =
      stretch <= 1 || original < 2 ? 1 : std::sqrt(1 + std::log(stretch) / std::log(original));
  rope.magnitude = static_cast<float>(scaling.number("attention_factor", 1e-6, 1e6, by_stretch));
  const std::vector<double>& factors = is_long ? long_factor : short_factor;
  if (factors.size() != count) {
    return scaling.wrong(is_long ? "long_factor" : "short_factor",
                         fmt::format("a list of {} numbers", count));
  }
  for (std::size_t i = 0; i < count; ++i) {
    const double power = std::pow(shape.theta, 2.0 * static_cast<double>(i) / shape.rotary_dim);
    rope.frequencies[i] = static_cast<float>(1.0 / (factors[i] * power));
  }
}

void read_scaling(ConfigReader& config, ConfigReader& scaling, const RopeShape& shape, Rope& rope) {
  const char* key = scaling.has("rope_type") ? "rope_type" : "type";
  const std::string kind = scaling.text(key, "default");
  constexpr const char* kNames[] = {"rope_type", "type"};
  scaling.ignore(kNames);
  if (kind == "longrope" || kind == "su") {
    const bool is_above = config.has("original_max_position_embeddings");
    const int otherwise = shape.original_context > 0 ? shape.original_context : shape.context;
    const int original =
        (is_above ? config : scaling).integer("original_max_position_embeddings", 1, kMaxContext, otherwise);
    scaling.integer("original_max_position_embeddings", 1, kMaxContext, original);
    return read_longrope(scaling, original, is_above || shape.original_context > 0, shape, rope.config);
  }
  constexpr const char* kOriginal[] = {"original_max_position_embeddings"};
  if (kind != "llama3" && kind != "yarn") scaling.ignore(kOriginal);
  if (kind == "default") return;
  const double factor = scaling.number("factor", 1, 1e6);
  if (kind == "linear") {
    for (float& frequency : rope.config.frequencies) frequency = static_cast<float>(frequency / factor);
  } else if (kind == "llama3") {
    read_llama3(scaling, factor, rope.config);
  } else if (kind == "yarn") {
    read_yarn(scaling, factor, shape, rope);
  } else if (kind != "dynamic") {  // which differs from none beyond the context only
    scaling.unsupported(key, "default, linear, dynamic, llama3, yarn or longrope");
  }
}

}  // namespace

RopeConfig plain_rope(const RopeShape& shape) {
  RopeConfig rope;
  for (int i = 0; i < shape.rotary_dim / 2; ++i) rope.frequencies.push_back(plain_frequency(shape, i));
  return rope;
}

Rope read_rope(ConfigReader& config, RopeShape shape) {
  constexpr const char* kKeys[] = {"rope_parameters", "rope_scaling", "original_max_position_embeddings"};
  config.ignore(kKeys);
  const char* key = config.has(kKeys[0]) ? kKeys[0] : kKeys[1];
  const nlohmann::json* object = config.object(key);
  std::optional<ConfigReader> scaling;
  if (object != nullptr) {
    scaling.emplace(fmt::format("{}: {}", config.where(), key), *object);
    shape.theta = scaling->number("rope_theta", 1, 1e12, shape.theta);
  }
  Rope rope = {plain_rope(shape), shape.context};
  if (scaling) {
    read_scaling(config, *scaling, shape, rope);
    config.keep(scaling->finish());
  }
  return rope;
}

}  // namespace kvasir::model
