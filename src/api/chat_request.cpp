#include "api/chat_request.h"

namespace kvasir::api {

std::optional<Refusal> read_translated(const nlohmann::ordered_json& translated, const ModelFacts& model,
                                       ChatRequest& request) {
  FieldReader reader(translated);
  read_messages(reader, request.conversation);
  read_tools(reader, "tools", request.conversation);
  request.tools = read_tool_choice(reader, request.conversation.tools, model.tool_format);
  return reader.refusal();
}

std::optional<Refusal> apply_tools(const ModelFacts& model, ChatRequest& request) {
  if (!request.tools.is_active()) return std::nullopt;
  request.spec.skip_special_tokens = false;
  auto grammar = tool_grammar(request.tools, request.conversation.tools, model.tool_syntax);
  if (auto* refusal = std::get_if<Refusal>(&grammar)) return *refusal;
  auto& format = std::get<OutputFormat>(grammar);
  if (format == nullptr) return std::nullopt;
  if (request.spec.format != nullptr) {
    return Refusal{error(StatusCode::kInvalidArgument,
                         "tool_choice: a reply that must call a tool cannot have a response_format as well"),
                   "tool_choice"};
  }
  request.spec.format = std::move(format);
  return std::nullopt;
}

}  // namespace kvasir::api
