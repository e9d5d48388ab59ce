#pragma once

// What the chat APIs (OpenAI's chat and responses, Anthropic's messages) have beside a generation.

#include "api/conversation.h"
#include "api/generation_spec.h"
#include "api/tool_use.h"

namespace kvasir::api {

struct ChatRequest {
  GenerationSpec spec;  // without its prompt, which the conversation becomes
  Conversation conversation;
  ToolUse tools;
  nlohmann::ordered_json echo;  // what the response repeats of the request (responses API)

  bool operator==(const ChatRequest&) const = default;
};

// The messages, tools and tool_choice of another API in OpenAI's words. `translated`: an object.
std::optional<Refusal> read_translated(const nlohmann::ordered_json& translated, const ModelFacts& model,
                                       ChatRequest& request);

// Calls of tools that the reply must make become its format, and special tokens stay in its text, since some
// models mark calls by them. A refusal when the reply must have another format too.
std::optional<Refusal> apply_tools(const ModelFacts& model, ChatRequest& request);

}  // namespace kvasir::api
