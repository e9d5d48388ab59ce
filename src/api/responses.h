#pragma once

// OpenAI's POST /v1/responses. Nothing is stored: each request carries its whole conversation.

#include <nlohmann/json_fwd.hpp>
#include <variant>

#include "api/call.h"
#include "api/chat_request.h"

namespace kvasir::api {

std::variant<ChatRequest, Refusal> parse_responses(const nlohmann::ordered_json& body,
                                                   const ModelFacts& model);

// `request` without its spec, which the generation has.
std::unique_ptr<Call> make_responses(std::unique_ptr<Generation> generation, const Environment& environment,
                                     ChatRequest request);

}  // namespace kvasir::api
