#pragma once

// The original's POST /generate.

#include <nlohmann/json_fwd.hpp>
#include <variant>

#include "api/call.h"
#include "api/generation_spec.h"

namespace kvasir::api {

// Every field is checked for type and range; an unknown one is refused by name.
std::variant<GenerationSpec, Refusal> parse_generate(const nlohmann::ordered_json& body,
                                                     const ModelFacts& model);

std::unique_ptr<Call> make_generate(std::unique_ptr<Generation> generation);

}  // namespace kvasir::api
