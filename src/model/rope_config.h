#pragma once

// Rotary position embeddings (Su et al. 2021): the angle per position of each pair of dimensions, with the
// ways in which models are stretched to longer contexts. The angles are fixed when a model is loaded, also
// where transformers takes them by the length of the text (dynamic, longrope): cached keys are used by texts
// of all lengths. They are those for the longest text that is served.

#include <optional>
#include <vector>

namespace kvasir::model {

class ConfigReader;

struct RopeConfig {
  double theta = 0;                // base of the frequencies before they are scaled
  std::vector<float> frequencies;  // angle per position of each pair
  float magnitude = 1;             // multiplies cos and sin
  // Of longrope, while `frequencies` are those for long texts: those for texts of up to short_context tokens.
  std::vector<float> short_frequencies;
  int short_context = 0;

  bool operator==(const RopeConfig&) const = default;
};

// What a family says where its config does not.
struct RopeDefaults {
  double theta = 10000;
  std::optional<double> rotary_factor = std::nullopt;  // the part of a head that is rotated; none: always all
  int original_context = 0;                            // before it was stretched; 0: the context
  // Where layers differ: the object of rope_parameters that is read, and the key for theta beside it.
  const char* layer_type = nullptr;
  const char* theta_key = "rope_theta";
};

struct Rope {
  RopeConfig config;
  int context;  // what yarn was made for where that is more, else as it was given
};

// By `rope_parameters`, an object or one for each layer type (files of transformers 5), or by `rope_scaling`,
// which is about layers with full attention. What stands both in the object and beside it must be the same.
// context: max_position_embeddings. Errors are kept in the reader.
Rope read_rope(ConfigReader& config, int head_dim, int context, const RopeDefaults& defaults);

}  // namespace kvasir::model
