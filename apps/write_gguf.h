#pragma once

// `kvasir convert` and `kvasir quantize`: a model as a GGUF file.

#include <string>

#include "base/status.h"

namespace kvasir {

struct GgufOptions {
  std::string input, output;
  std::string type;       // "q4_k"; empty: the weights stay as they are
  bool replaces = false;  // an output that is there already
};

// Writes the file, and on standard error what is in it. A signal that ends the process leaves nothing behind.
Status write_gguf(const GgufOptions& options);

}  // namespace kvasir
