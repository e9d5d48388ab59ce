#pragma once

// How a request uses tools: which it offers, whether the model must call one, and the model's reply taken
// apart into content and calls.

#include <nlohmann/json_fwd.hpp>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "api/field_reader.h"
#include "api/output_format.h"
#include "api/refusal.h"
#include "api/tool_calls.h"

namespace kvasir::api {

enum class ToolChoice {
  kNone,      // the reply is text, whatever it says
  kAuto,      // the model decides
  kRequired,  // the reply is one or more calls
  kNamed,     // the reply is a call of names[0]
};

struct ToolUse {
  ToolChoice choice = ToolChoice::kNone;
  ToolFormat format = ToolFormat::kHermes;
  std::vector<std::string> names;  // that may be called
  bool allows_several = true;      // calls in one reply

  bool is_active() const { return choice != ToolChoice::kNone; }
  bool operator==(const ToolUse&) const = default;
};

// OpenAI's tool_choice and parallel_tool_calls. `tools`: OpenAI's list, or null.
ToolUse read_tool_choice(FieldReader& reader, const nlohmann::ordered_json& tools, ToolFormat format);

// The grammar of replies that are calls, for kRequired and kNamed; null for the other choices. The arguments
// of each match the tool's schema. A refusal names the tool and what its schema has that a grammar cannot
// express.
std::variant<OutputFormat, Refusal> tool_grammar(const ToolUse& use, const nlohmann::ordered_json& tools,
                                                 const ToolCallSyntax& syntax);

struct ToolCall {
  std::string id, name, arguments;
};

// A piece of a reply, and which of its calls it belongs to (-1: content).
struct ReadPiece {
  ReplyPiece::Kind kind;
  std::string text;
  int call = -1;
};

// One reply on its way. Without active tools all of it is content.
class ReplyReader {
 public:
  // `id_prefix`: of the calls' ids.
  ReplyReader(const ToolUse& use, std::string_view id_prefix);

  // The pieces that are certain now. What follows the only call that is allowed is left out.
  std::vector<ReadPiece> push(std::string_view text);
  std::vector<ReadPiece> finish();

  const std::string& content() const { return content_; }
  const std::vector<ToolCall>& calls() const { return calls_; }

 private:
  std::vector<ReadPiece> take(std::vector<ReplyPiece> pieces);

  const ToolUse use_;
  const std::string id_prefix_;
  ToolCallParser parser_;
  std::string content_;
  std::vector<ToolCall> calls_;
  bool is_full_ = false;  // nothing more is taken
};

}  // namespace kvasir::api
