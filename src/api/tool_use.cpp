#include "api/tool_use.h"

#include <algorithm>
#include <nlohmann/json.hpp>

#include "api/report.h"
#include "grammar/grammar_builder.h"
#include "grammar/json_schema.h"

namespace kvasir::api {
namespace {

using nlohmann::ordered_json;

std::string name_of(const ordered_json& tool) {
  return tool.at("function").at("name").get<std::string>();
}

}  // namespace

ToolUse read_tool_choice(FieldReader& reader, const ordered_json& tools, ToolFormat format) {
  ToolUse use;
  use.format = format;
  for (const ordered_json& tool : tools) use.names.push_back(name_of(tool));
  if (!use.names.empty()) use.choice = ToolChoice::kAuto;
  reader.read("parallel_tool_calls", use.allows_several);
  const ordered_json* choice = reader.take("tool_choice");
  if (choice == nullptr) return use;
  if (*choice == "none") {
    use.choice = ToolChoice::kNone;
  } else if (*choice == "auto") {
  } else if (*choice == "required") {
    if (use.names.empty()) reader.refuse("tool_choice", "'required' needs tools");
    use.choice = ToolChoice::kRequired;
  } else if (choice->is_object() && member(*choice, "type") == "function") {
    // The chat API has the name inside `function`, the responses API beside the type.
    const ordered_json function = member(*choice, "function", *choice);
    const ordered_json name = function.is_object() ? member(function, "name") : ordered_json();
    if (!name.is_string() ||
        std::find(use.names.begin(), use.names.end(), name.get<std::string>()) == use.names.end()) {
      reader.refuse("tool_choice", fmt::format("there is no tool {}", show(name)));
      return use;
    }
    use.choice = ToolChoice::kNamed;
    use.names = {name.get<std::string>()};
    use.allows_several = false;
  } else {
    reader.refuse("tool_choice",
                  fmt::format("expected 'none', 'auto', 'required' or a function, got {}", show(*choice)));
  }
  return use;
}

std::variant<OutputFormat, Refusal> tool_grammar(const ToolUse& use, const ordered_json& tools,
                                                 const ToolCallSyntax& syntax) {
  if (use.choice != ToolChoice::kRequired && use.choice != ToolChoice::kNamed) return OutputFormat();
  grammar::GrammarBuilder builder;
  std::vector<grammar::Expr> calls;
  for (const ordered_json& tool : tools) {
    const std::string name = name_of(tool);
    if (std::find(use.names.begin(), use.names.end(), name) == use.names.end()) continue;
    const ordered_json schema = member(tool.at("function"), "parameters");
    grammar::Expr arguments = grammar::add_json_object(builder);
    if (!schema.is_null() && !schema.empty()) {
      auto added = grammar::add_json_schema(builder, schema);
      if (!added.ok()) {
        return Refusal{error(StatusCode::kInvalidArgument, "tools: function '{}', parameters: {}", name,
                             added.status().message()),
                       "tools"};
      }
      arguments = *added;
    }
    calls.push_back(
        builder.sequence({builder.literal(syntax.before_name + name + syntax.between_name_and_arguments),
                          arguments, builder.literal(syntax.after_arguments)}));
  }
  const grammar::Expr call = builder.any_of(std::move(calls));
  std::vector<grammar::Expr> parts = {builder.literal(syntax.prefix), call};
  if (use.allows_several) {
    const grammar::Expr further = builder.sequence({builder.literal(syntax.separator), call});
    parts.push_back(builder.repeat(further, 0, grammar::GrammarBuilder::kUnbounded));
  }
  parts.push_back(builder.literal(syntax.suffix));
  auto built = builder.build(builder.sequence(std::move(parts)));
  if (!built.ok()) {
    return Refusal{error(StatusCode::kInvalidArgument, "tools: {}", built.status().message()), "tools"};
  }
  return OutputFormat(std::move(*built));
}

ReplyReader::ReplyReader(const ToolUse& use, std::string_view id_prefix)
    : use_(use), id_prefix_(id_prefix), parser_(use.format, use.names) {}

std::vector<ReadPiece> ReplyReader::push(std::string_view text) {
  std::vector<ReplyPiece> pieces;
  if (use_.is_active()) {
    parser_.push(text, pieces);
  } else if (!text.empty()) {
    pieces.push_back({ReplyPiece::Kind::kContent, std::string(text)});
  }
  return take(std::move(pieces));
}

std::vector<ReadPiece> ReplyReader::finish() {
  std::vector<ReplyPiece> pieces;
  if (use_.is_active()) parser_.finish(pieces);
  return take(std::move(pieces));
}

std::vector<ReadPiece> ReplyReader::take(std::vector<ReplyPiece> pieces) {
  std::vector<ReadPiece> taken;
  for (ReplyPiece& piece : pieces) {
    const bool is_further = piece.kind == ReplyPiece::Kind::kCallBegin && !calls_.empty();
    if (is_further && !use_.allows_several) is_full_ = true;
    if (is_full_) break;
    switch (piece.kind) {
      case ReplyPiece::Kind::kContent:
        content_ += piece.text;
        break;
      case ReplyPiece::Kind::kCallBegin:
        calls_.push_back({random_id(id_prefix_), piece.text, ""});
        break;
      case ReplyPiece::Kind::kArguments:
        calls_.back().arguments += piece.text;
        break;
      case ReplyPiece::Kind::kCallEnd:
        break;
    }
    const bool is_content = piece.kind == ReplyPiece::Kind::kContent;
    taken.push_back(
        {piece.kind, std::move(piece.text), is_content ? -1 : static_cast<int>(calls_.size()) - 1});
  }
  return taken;
}

}  // namespace kvasir::api
