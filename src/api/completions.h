#pragma once

// OpenAI's POST /v1/completions.

#include <nlohmann/json_fwd.hpp>
#include <variant>

#include "api/call.h"
#include "api/generation_spec.h"

namespace kvasir::api {

std::variant<GenerationSpec, Refusal> parse_completion(const nlohmann::ordered_json& body,
                                                       const ModelFacts& model);

std::unique_ptr<Call> make_completion(std::unique_ptr<Generation> generation, const Environment& environment);

}  // namespace kvasir::api
