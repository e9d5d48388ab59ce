#include "model/rope_config.h"

#include <algorithm>
#include <cmath>
#include <nlohmann/json.hpp>
#include <numbers>
#include <optional>
#include <string>
#include <string_view>
#include <utility>

#include "model/config_reader.h"

namespace kvasir::model {
namespace {

using nlohmann::json;

constexpr int kMaxContext = 1 << 24;
constexpr const char* kOriginal = "original_max_position_embeddings";

struct Shape {
  int rotary_dim;  // dimensions of a head that are rotated; even
  double theta;
  int context;
  int original_context;  // where the config does not say
};

// An angle of pair i in f32, as transformers computes it.
float plain_frequency(const Shape& shape, int i) {
  return static_cast<float>(1.0 / std::pow(shape.theta, 2.0 * i / shape.rotary_dim));
}

// A number of `own`, or of the config around it; in both it must be the same.
double read_number(ConfigReader& config, const char* key, std::optional<ConfigReader>& own,
                   const char* own_key, double least, double most, double otherwise) {
  if (!own || !own->has(own_key)) return config.number(key, least, most, otherwise);
  const double value = own->number(own_key, least, most);
  config.expect(key, value);
  return value;
}

int read_original_context(ConfigReader& config, ConfigReader& own, std::optional<int> otherwise) {
  if (!own.has(kOriginal) && config.has(kOriginal)) return config.integer(kOriginal, 1, kMaxContext);
  const int original = own.integer(kOriginal, 1, kMaxContext, otherwise);
  config.expect(kOriginal, static_cast<double>(original));
  return original;
}

double read_factor(ConfigReader& scaling) {
  return scaling.number("factor", 1, 1e6);
}

// Grattafiori et al. 2024 (The Llama 3 Herd of Models): low frequencies are divided by the factor, high ones
// kept; the ramp is over the number of turns in the original context.
void read_llama3(ConfigReader& scaling, int original, RopeConfig& rope) {
  const double factor = read_factor(scaling);
  const double low = scaling.number("low_freq_factor", 1e-3, 1e6);
  const double high = scaling.number("high_freq_factor", 1e-3, 1e6);
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
void read_yarn(ConfigReader& scaling, int original, const Shape& shape, Rope& rope) {
  const double factor = read_factor(scaling);
  const double beta_fast = scaling.number("beta_fast", 1e-3, 1e6, 32);
  const double beta_slow = scaling.number("beta_slow", 1e-3, 1e6, 1);
  const double mscale = scaling.number("mscale", 0, 1e6, 0);
  const double mscale_all_dim = scaling.number("mscale_all_dim", 0, 1e6, 0);
  scaling.expect("extrapolation_factor", 1.0);
  constexpr const char* kUnused[] = {"attn_factor", "finetuned"};  // transformers has no use for them, too
  scaling.ignore(kUnused);
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

// Ding et al. 2024 (LongRoPE): a factor for each pair, of two lists by the length of the text, in f32 as in
// transformers.
void read_longrope(ConfigReader& scaling, int original, const Shape& shape, RopeConfig& rope) {
  const std::size_t count = rope.frequencies.size();
  const std::vector<double> long_factor = scaling.numbers("long_factor", count, 1e-6, 1e9);
  const std::vector<double> short_factor = scaling.numbers("short_factor", count, 1e-6, 1e9);
  const double stretch = scaling.number("factor", 1e-6, 1e6, static_cast<double>(shape.context) / original);
  const double by_stretch =
      stretch <= 1 || original < 2 ? 1 : std::sqrt(1 + std::log(stretch) / std::log(original));
  rope.magnitude = static_cast<float>(scaling.number("attention_factor", 1e-6, 1e6, by_stretch));
  const auto stretched = [&](const char* key, const std::vector<double>& factors) {
    if (factors.size() != count) scaling.wrong(key, fmt::format("a list of {} numbers", count));
    std::vector<float> frequencies;
    for (std::size_t i = 0; i < factors.size(); ++i) {
      const double power = std::pow(shape.theta, 2.0 * static_cast<double>(i) / shape.rotary_dim);
      frequencies.push_back(static_cast<float>(1.0 / (static_cast<float>(factors[i]) * power)));
    }
    return frequencies;
  };
  rope.frequencies = stretched("short_factor", short_factor);
  if (shape.context <= original) return;
  rope.short_frequencies = std::exchange(rope.frequencies, stretched("long_factor", long_factor));
  rope.short_context = original;
}

void read_scaling(ConfigReader& config, ConfigReader& scaling, const Shape& shape, Rope& rope) {
  const char* key = scaling.has("rope_type") ? "rope_type" : "type";
  const std::string kind = scaling.text(key, "default");
  constexpr const char* kNames[] = {"rope_type", "type"};
  scaling.ignore(kNames);
  if (kind == "longrope" || kind == "su") {
    const int original = read_original_context(config, scaling, shape.original_context);
    return read_longrope(scaling, original, shape, rope.config);
  }
  if (kind == "llama3") {
    return read_llama3(scaling, read_original_context(config, scaling, std::nullopt), rope.config);
  }
  if (kind == "yarn") {
    return read_yarn(scaling, read_original_context(config, scaling, shape.context), shape, rope);
  }
  constexpr const char* kUnused[] = {kOriginal};
  scaling.ignore(kUnused);
  if (kind == "linear") {
    const double factor = read_factor(scaling);
    for (float& frequency : rope.config.frequencies) frequency = static_cast<float>(frequency / factor);
  } else if (kind == "dynamic") {
    read_factor(scaling);  // without effect up to the context
  } else if (kind != "default") {
    scaling.unsupported(key, "default, linear, dynamic, llama3, yarn or longrope");
  }
}

// The object with the options of layers of that type (null: of all layers), if the config has one.
std::optional<ConfigReader> find_options(ConfigReader& config, const char* layer_type) {
  constexpr const char* kTypes[] = {"full_attention", "sliding_attention"};
  const json* parameters = config.object("rope_parameters");
  const json* scaling = config.object("rope_scaling");
  const std::string where = config.where() + ": rope_parameters";
  if (parameters == nullptr || parameters->empty()) {
    const bool is_about_these = layer_type == nullptr || std::string_view(layer_type) == kTypes[0];
    if (scaling == nullptr || !is_about_these) return std::nullopt;
    return ConfigReader(config.where() + ": rope_scaling", *scaling);
  }
  if (scaling != nullptr && !scaling->empty())
    config.unsupported("rope_scaling", "none with rope_parameters");
  if (layer_type == nullptr) return ConfigReader(where, *parameters);
  ConfigReader by_type(where, *parameters);
  by_type.ignore(kTypes);
  if (!by_type.finish().ok()) {
    config.unsupported("rope_parameters", "an object for full_attention and one for sliding_attention");
  }
  const json* options = by_type.object(layer_type);
  config.keep(by_type.finish());
  if (options == nullptr) return std::nullopt;
  return ConfigReader(fmt::format("{}: {}", where, layer_type), *options);
}

}  // namespace

Rope read_rope(ConfigReader& config, int head_dim, int context, const RopeDefaults& defaults) {
  std::optional<ConfigReader> options = find_options(config, defaults.layer_type);
  constexpr const char* kFactor = "partial_rotary_factor";
  if (!defaults.rotary_factor) {
    config.expect(kFactor, 1.0);
    if (options) options->expect(kFactor, 1.0);
  }
  const double rotary_factor =
      read_number(config, kFactor, options, kFactor, 0, 1, defaults.rotary_factor.value_or(1));
  const double theta =
      read_number(config, defaults.theta_key, options, "rope_theta", 1, 1e12, defaults.theta);
  const Shape shape = {static_cast<int>(head_dim * rotary_factor), theta, context,
                       defaults.original_context > 0 ? defaults.original_context : context};
  constexpr const char* kMaybeUnused[] = {kOriginal};  // by types without scaling
  config.ignore(kMaybeUnused);
  if (options && !options->ok()) config.keep(options->finish());
  Rope rope = {{}, context};
  if (shape.rotary_dim == 0 || shape.rotary_dim % 2 != 0) {
    config.keep(error(StatusCode::kCorrupt, "{}: expected an even number of rotated dimensions, got {} of {}",
                      config.where(), shape.rotary_dim, head_dim));
    return rope;
  }
  rope.config.theta = theta;
  for (int i = 0; i < shape.rotary_dim / 2; ++i) rope.config.frequencies.push_back(plain_frequency(shape, i));
  if (options) {
    read_scaling(config, *options, shape, rope);
    config.keep(options->finish());
  }
  return rope;
}

}  // namespace kvasir::model
