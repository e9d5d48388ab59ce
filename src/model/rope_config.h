#pragma once

// Rotary position embeddings (Su et al. 2021): the angle per position of each pair of dimensions, with the
// ways in which models are stretched to longer contexts. The angles are fixed when a model is loaded, also
// where transformers takes them by the length of the text (dynamic, longrope): cached keys are used by texts
// of all lengths. They are those for the model's context.

#include <vector>

namespace kvasir::model {

class ConfigReader;

struct RopeConfig {
  std::vector<float> frequencies;  // angle per position of each pair
  float magnitude = 1;             // multiplies cos and sin
};

struct RopeShape {
  int rotary_dim = 0;  // dimensions of a head that are rotated; even
  double theta = 10000;
  int context = 0;           // max_position_embeddings
  int original_context = 0;  // before it was stretched, where the config does not say; 0: as `context`
};

struct Rope {
  RopeConfig config;
  int context;  // what yarn was made for where that is more, else shape.context
};

// By `rope_parameters` (files of transformers 5) or `rope_scaling`, of which the first that is there counts;
// a rope_theta in it is used instead of shape.theta. Errors are kept in the reader.
Rope read_rope(ConfigReader& config, RopeShape shape);

// Without scaling.
RopeConfig plain_rope(const RopeShape& shape);

}  // namespace kvasir::model
