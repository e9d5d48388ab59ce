#pragma once

// OpenAI's POST /v1/chat/completions.

#include <nlohmann/json_fwd.hpp>
#include <variant>

#include "api/call.h"
#include "api/chat_request.h"

namespace kvasir::api {

std::variant<ChatRequest, Refusal> parse_chat(const nlohmann::ordered_json& body, const ModelFacts& model);

std::unique_ptr<Call> make_chat(std::unique_ptr<Generation> generation, const Environment& environment,
                                const ToolUse& tools);

}  // namespace kvasir::api
