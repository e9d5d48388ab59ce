#pragma once

// What a reply says about itself, the same in every API: token counts, what the cache did, times.

#include <nlohmann/json_fwd.hpp>
#include <string>

#include "api/generation.h"

namespace kvasir::api {

// OpenAI's usage. `prompt_tokens_details.cached_tokens` is always an integer.
nlohmann::ordered_json usage_json(const Usage& usage);

// {"cached_tokens", "computed_tokens", "miss_reason", "divergence_token", "timings"}: token counts over all
// prompts; the reason of the first prompt that was not found whole, null when all were. Requires: it has
// ended.
nlohmann::ordered_json cache_json(const Generation& generation);

// llama.cpp's timings. Requires: it has ended.
nlohmann::ordered_json timings_json(const Generation& generation);

// vLLM's stop_reason: the caller's stop string or stop token that ended the choice, else null.
nlohmann::ordered_json stop_reason(const Choice& choice);

const char* name_of(engine::MissReason reason);

// The JSON text of what a server sends: invalid UTF-8 becomes U+FFFD.
std::string dump(const nlohmann::ordered_json& json);
// Appends a JSON string. Requires: valid UTF-8.
void append_quoted(std::string& out, std::string_view text);

// `prefix` and 24 random hexadecimal digits.
std::string random_id(std::string_view prefix);
// Seconds since 1970.
std::int64_t unix_seconds();

}  // namespace kvasir::api
