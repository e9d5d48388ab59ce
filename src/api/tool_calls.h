#pragma once

// A model's reply taken apart, as it streams, into content and calls of tools: the text forms that models are
// trained on, and what a grammar needs to make a model write them. No JSON values and no ids are made here.

#include <cstddef>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "api/value_scanner.h"

namespace kvasir::api {

enum class ToolFormat {
  // <tool_call>
  // {"name": "f", "arguments": {...}}
  // </tool_call>                         any number of them, text before and between
  kHermes,
  // {"name": "f", "parameters": {...}}   the whole reply; <|python_tag|> before it; several, with ; between
  kLlama3,
  // [TOOL_CALLS] [{"name": "f", "arguments": {...}, "id": "x"}, ...]  or, any number of them,
  // [TOOL_CALLS]f[ARGS]{...}  also with [CALL_ID]x before [ARGS]; text before and between
  kMistral,
};

// The form that a chat template writes calls in, from its text. nullopt: none of these.
std::optional<ToolFormat> detect_tool_format(std::string_view template_source);

// A piece of a reply. A call is kCallBegin, any number of kArguments, kCallEnd, with nothing in between.
struct ReplyPiece {
  enum class Kind {
    kContent,    // text for the user
    kCallBegin,  // `text` is the function's name
    kArguments,  // more of the arguments: JSON as the model wrote it, which may be invalid
    kCallEnd,
  };
  Kind kind;
  std::string text;
};

// Text is a call once the name of an offered tool and the beginning of its arguments have been read; the two
// may come in either order, and other members around them. What does not become a call (an unknown name,
// other or broken JSON, an end too early) is content, to the byte. What breaks off behind that point ends the
// call, and what follows is content. A call without arguments has "{}". "arguments" and "parameters" mean the
// same in all forms.
//
// Whitespace between a call and its neighbours is no content, and neither are markers. Everything else comes
// out as early as it is certain, and the same however the text was cut into pieces.
//
// One thread at a time. O(1) for each byte; holds back at most kMaxHeldBytes: a call whose name comes later
// than that is content.
class ToolCallParser {
 public:
  static constexpr std::size_t kMaxHeldBytes = 1 << 20;

  // `names`: the tools that the request offers.
  ToolCallParser(ToolFormat format, std::vector<std::string> names);

  // Takes the next part of the reply, with special tokens as text; appends what is certain now to `out`.
  void push(std::string_view text, std::vector<ReplyPiece>& out);
  // The end of the reply: appends what was held back, and ends an open call. Requires: no push() afterwards.
  void finish(std::vector<ReplyPiece>& out);

  // Calls that have begun.
  int num_calls() const { return num_calls_; }

 private:
  enum class State {
    kPlain,    // content to the end
    kContent,  // content, in which the opening marker is looked for
    // Held back, because it may be a call:
    kBeforeCall,
    kBeforeElement,  // of an array of calls
    kBareName,       // of name[ARGS]
    kBareMarker,
    kBareId,
    kBareArguments,
    kFirstKey,
    kNextKey,
    kKey,
    kColon,
    kValue,
    kName,
    kHeldArguments,  // they came before the name
    kOtherValue,
    kAfterValue,
    // It is one:
    kArguments,
    kRestOfObject,
    kAfterObject,
  };

  // Each takes a byte, or returns false and leaves it to the state that is the present one then.
  bool step(char byte);
  bool search(char byte);
  bool before_call(char byte);
  bool bare_call(char byte);
  bool between_members(char byte);
  bool begin_value(char byte);
  bool read_string(char byte);
  bool held_value(char byte);
  bool sent_value(char byte);
  bool after_object(char byte);

  bool hold(char byte);
  bool hold(char byte, State next);
  bool go_on(State next);
  bool fail();
  void begin_object();
  bool end_key();
  bool end_name();
  void begin_call();
  void end_call();
  void put(ReplyPiece::Kind kind, std::string_view text);
  bool is_offered(std::string_view name) const;

  const ToolFormat format_;
  const std::vector<std::string> names_;
  const std::string_view marker_;  // opens a call; "" for none
  State state_;
  std::size_t num_matched_ = 0;  // bytes of a marker, at the end of held_
  std::string held_;             // the end of what was read: whitespace, or what may become a call
  std::string token_;            // the string or the marker in which we are, without its closing
  bool is_escaped_ = false;
  std::string key_;
  std::string name_;       // of the call in which we are, once known
  std::string arguments_;  // held until the name is known
  ValueScanner scanner_;
  bool is_bare_ = false;        // [TOOL_CALLS]f[ARGS]{...}: no object around the arguments
  bool is_after_call_ = false;  // no content since the last call
  bool is_in_call_ = false;
  int num_calls_ = 0;
  std::vector<ReplyPiece>* out_ = nullptr;  // during push() and finish()
  std::size_t num_before_ = 0;              // pieces that the caller had
};

// The text forms as literals, for a grammar of replies that are nothing but calls:
//
//   prefix call (separator call)* suffix     call = before_name NAME between_name_and_arguments OBJECT
//   after_arguments
//
// Whoever allows one call leaves out the repetition.
struct ToolCallSyntax {
  std::string before_name, between_name_and_arguments, after_arguments;
  std::string separator, prefix, suffix;
};

// `template_source` chooses between the two forms of kMistral (the array, unless it has "[ARGS]").
ToolCallSyntax tool_call_syntax(ToolFormat format, std::string_view template_source = {});

}  // namespace kvasir::api
