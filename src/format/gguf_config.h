#pragma once

// What a GGUF file says of its model, as the config.json that it was converted from would.

#include <nlohmann/json_fwd.hpp>

#include "base/status.h"
#include "format/gguf.h"

namespace kvasir::format {

// Errors: kCorrupt for keys that are missing or of another kind; kUnsupported for an architecture that is not
// known, and for a key of its own that is not, which might change the result.
Result<nlohmann::json> gguf_config(const Gguf& gguf);

}  // namespace kvasir::format
