#pragma once

// Anthropic's POST /v1/messages.

#include <nlohmann/json_fwd.hpp>
#include <variant>

#include "api/call.h"
#include "api/chat_request.h"

namespace kvasir::api {

std::variant<ChatRequest, Refusal> parse_messages(const nlohmann::ordered_json& body,
                                                  const ModelFacts& model);

std::unique_ptr<Call> make_messages(std::unique_ptr<Generation> generation, const Environment& environment,
                                    const ToolUse& tools);

}  // namespace kvasir::api
