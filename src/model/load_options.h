#pragma once

// How a model is loaded.

#include <cstddef>
#include <functional>
#include <string>

#include "base/status.h"

namespace kvasir::model {

struct ModelConfig;

// How weights are held: as stored in the file or as suits the model (kAuto, see resolve_dtype), or converted
// at load. q8_0 and q4_0: 8 and 4 bits, and a scale for each 32 weights; with q4_0 the embedding, the output
// matrix and those of keys and values stay at 8.
enum class WeightDtype { kAuto, kF32, kF16, kBf16, kQ8_0, kQ4_0 };

struct LoadOptions {
  WeightDtype dtype = WeightDtype::kAuto;
  int max_model_len = 0;  // tokens of a sequence at most; 0: the model's context
  // Folder in which converted weights are kept as files, for the next start; empty: nowhere.
  std::string weight_cache = {};
  // Called when it is known how many bytes the weights will take, in memory of their own or mapped from their
  // file, and before they are read; an error ends the load. May be empty.
  std::function<Status(const ModelConfig& config, std::size_t weight_bytes)> check_memory = {};
  // Both may be empty; called on the loading thread. The share of weights that are ready, while some are
  // converted; what went wrong without stopping the load, a line.
  std::function<void(double)> on_progress = {};
  std::function<void(const std::string&)> on_warning = {};
};

}  // namespace kvasir::model
