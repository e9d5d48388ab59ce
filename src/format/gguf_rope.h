#pragma once

// The rotation of a GGUF file's model: keys and factors become what config.json would say.

#include <cstdint>
#include <nlohmann/json_fwd.hpp>

#include "base/status.h"
#include "format/gguf.h"
#include "format/gguf_fields.h"

namespace kvasir::format {

// Adds rope_theta, rope_scaling and partial_rotary_factor to a config that has max_position_embeddings. What
// a missing key means, and what attn_factor multiplies, is as in llama.cpp. Errors: kCorrupt for keys and
// factors that are of another kind; kUnsupported for a kind of scaling that is not known.
Status add_rope(const Gguf& gguf, GgufFields& fields, std::int64_t head_dim, nlohmann::json& config);

}  // namespace kvasir::format
