#include "api/tool_calls.h"

#include <algorithm>
#include <nlohmann/json.hpp>
#include <utility>

namespace kvasir::api {
namespace {

constexpr std::string_view kHermesOpen = "<tool_call>", kHermesClose = "</tool_call>";
constexpr std::string_view kMistralOpen = "[TOOL_CALLS]", kMistralArguments = "[ARGS]",
                           kMistralId = "[CALL_ID]";
constexpr std::string_view kLlamaTag = "<|python_tag|>";

bool contains(std::string_view text, std::string_view part) {
  return text.find(part) != std::string_view::npos;
}

bool is_space(char byte) {
  return byte == ' ' || byte == '\n' || byte == '\r' || byte == '\t';
}

std::string_view opening_marker(ToolFormat format) {
  switch (format) {
    case ToolFormat::kHermes:
      return kHermesOpen;
    case ToolFormat::kMistral:
      return kMistralOpen;
    case ToolFormat::kLlama3:
      break;
  }
  return "";
}

}  // namespace

std::optional<ToolFormat> detect_tool_format(std::string_view template_source) {
  const auto has = [&](std::string_view part) { return contains(template_source, part); };
  if (has(kMistralOpen)) return ToolFormat::kMistral;
  if (has(kHermesOpen)) {
    // Other families have XML of their own inside of the same tag.
    const bool has_json = has(R"("arguments": )") || has(R"(\"arguments\": )");
    const bool has_xml = has("<arg_key>") || has("<function=") || has("<tool_calls>");
    if (has_json && !has_xml) return ToolFormat::kHermes;
    return std::nullopt;
  }
  // Templates that only show their tools to the model have "parameters" too.
  const bool is_llama = has("<|start_header_id|>") || has(kLlamaTag);
  if (is_llama && has(R"("parameters": )")) return ToolFormat::kLlama3;
  return std::nullopt;
}

ToolCallSyntax tool_call_syntax(ToolFormat format, std::string_view template_source) {
  ToolCallSyntax syntax;
  if (format == ToolFormat::kMistral && contains(template_source, kMistralArguments)) {
    syntax.prefix = syntax.separator = kMistralOpen;
    syntax.between_name_and_arguments = kMistralArguments;
    return syntax;
  }
  syntax.before_name = R"({"name": ")";
  syntax.between_name_and_arguments = R"(", "arguments": )";
  syntax.after_arguments = "}";
  switch (format) {
    case ToolFormat::kHermes:
      syntax.prefix = "<tool_call>\n";
      syntax.suffix = "\n</tool_call>";
      syntax.separator = "\n</tool_call>\n<tool_call>\n";
      break;
    case ToolFormat::kLlama3:
      syntax.between_name_and_arguments = R"(", "parameters": )";
      syntax.separator = "; ";
      break;
    case ToolFormat::kMistral:
      syntax.prefix = "[TOOL_CALLS] [";
      syntax.suffix = "]";
      syntax.separator = ", ";
      break;
  }
  return syntax;
}

ToolCallParser::ToolCallParser(ToolFormat format, std::vector<std::string> names)
    : format_(format),
      names_(std::move(names)),
      marker_(opening_marker(format)),
      state_(format == ToolFormat::kLlama3 ? State::kBeforeCall : State::kContent) {}

void ToolCallParser::push(std::string_view text, std::vector<ReplyPiece>& out) {
  out_ = &out;
  num_before_ = out.size();
  for (const char byte : text) {
    while (!step(byte)) {
    }
  }
  out_ = nullptr;
}

void ToolCallParser::finish(std::vector<ReplyPiece>& out) {
  out_ = &out;
  num_before_ = out.size();
  if (is_in_call_) end_call();
  // Behind a call, what is left of its end and of a separator is no content.
  const bool is_separator =
      is_after_call_ && num_matched_ == 0 && held_.find_first_not_of(" \n\r\t;,") == std::string::npos;
  if (!is_separator && state_ != State::kAfterObject) put(ReplyPiece::Kind::kContent, held_);
  held_.clear();
  state_ = State::kPlain;
  out_ = nullptr;
}

bool ToolCallParser::step(char byte) {
  if (held_.size() >= kMaxHeldBytes) return fail();
  switch (state_) {
    case State::kPlain:
      put(ReplyPiece::Kind::kContent, {&byte, 1});
      return true;
    case State::kContent:
      return search(byte);
    case State::kBeforeCall:
    case State::kBeforeElement:
      return before_call(byte);
    case State::kBareName:
    case State::kBareMarker:
    case State::kBareId:
    case State::kBareArguments:
      return bare_call(byte);
    case State::kFirstKey:
    case State::kNextKey:
    case State::kColon:
    case State::kAfterValue:
      return between_members(byte);
    case State::kValue:
      return begin_value(byte);
    case State::kKey:
    case State::kName:
      return read_string(byte);
    case State::kHeldArguments:
    case State::kOtherValue:
      return held_value(byte);
    case State::kArguments:
    case State::kRestOfObject:
      return sent_value(byte);
    case State::kAfterObject:
      break;
  }
  return after_object(byte);
}

// ---- Content ----

bool ToolCallParser::search(char byte) {
  if (byte == marker_[num_matched_]) {
    if (++num_matched_ < marker_.size()) return hold(byte);
    num_matched_ = 0;
    return hold(byte, State::kBeforeCall);
  }
  if (is_space(byte) && num_matched_ == 0) return hold(byte);
  put(ReplyPiece::Kind::kContent, std::exchange(held_, ""));
  if (std::exchange(num_matched_, 0) > 0) return false;  // it may begin the marker
  put(ReplyPiece::Kind::kContent, {&byte, 1});
  return true;
}

// ---- What may become a call ----

bool ToolCallParser::before_call(char byte) {
  if (format_ == ToolFormat::kLlama3 && (num_matched_ > 0 || byte == kLlamaTag[0])) {
    if (byte != kLlamaTag[num_matched_]) return fail();
    num_matched_ = (num_matched_ + 1) % kLlamaTag.size();
    return hold(byte);
  }
  if (is_space(byte)) return hold(byte);
  if (format_ == ToolFormat::kMistral && state_ == State::kBeforeCall) {
    if (byte == '[') return hold(byte, State::kBeforeElement);
    token_.clear();
    return go_on(State::kBareName);
  }
  if (byte == ';' && is_after_call_ && format_ == ToolFormat::kLlama3) return hold(byte);
  if (byte != '{') return fail();
  begin_object();
  return hold(byte, State::kFirstKey);
}

// name[ARGS]{ or name[CALL_ID]x[ARGS]{
bool ToolCallParser::bare_call(char byte) {
  const auto is_in_token = [this](std::string_view whole) { return whole.starts_with(token_); };
  switch (state_) {
    case State::kBareName:
      if (byte == '[') {
        if (!is_offered(token_)) return fail();
        begin_object();
        name_ = std::exchange(token_, "[");
        return hold(byte, State::kBareMarker);
      }
      token_ += byte;
      return std::any_of(names_.begin(), names_.end(), is_in_token) ? hold(byte) : fail();
    case State::kBareMarker:
      token_ += byte;
      if (token_ == kMistralArguments) return hold(byte, State::kBareArguments);
      if (token_ == kMistralId) return hold(byte, State::kBareId);
      return is_in_token(kMistralArguments) || is_in_token(kMistralId) ? hold(byte) : fail();
    case State::kBareId:
      if (byte != '[') return hold(byte);
      token_ = "[";
      return hold(byte, State::kBareMarker);
    default:
      if (is_space(byte)) return hold(byte);
      if (byte != '{') return fail();
      begin_call();
      is_bare_ = true;
      return go_on(State::kArguments);
  }
}

void ToolCallParser::begin_object() {
  name_.clear();
  arguments_.clear();
  is_bare_ = false;
}

bool ToolCallParser::between_members(char byte) {
  if (is_space(byte)) return hold(byte);
  const bool may_end = state_ == State::kFirstKey || state_ == State::kAfterValue;
  if (byte == '}' && may_end) {
    if (name_.empty()) return fail();
    begin_call();
    put(ReplyPiece::Kind::kArguments, "{}");
    end_call();
    state_ = State::kAfterObject;
    return true;
  }
  switch (state_) {
    case State::kColon:
      return byte == ':' ? hold(byte, State::kValue) : fail();
    case State::kAfterValue:
      return byte == ',' ? hold(byte, State::kNextKey) : fail();
    default:
      if (byte != '"') return fail();
      token_.clear();
      return hold(byte, State::kKey);
  }
}

bool ToolCallParser::begin_value(char byte) {
  if (is_space(byte)) return hold(byte);
  scanner_ = ValueScanner();
  if (key_ == "name") {
    if (byte != '"' || !name_.empty()) return fail();
    token_.clear();
    return hold(byte, State::kName);
  }
  if (key_ != "arguments" && key_ != "parameters") return go_on(State::kOtherValue);
  if (byte != '{' || !arguments_.empty()) return fail();
  if (name_.empty()) return go_on(State::kHeldArguments);
  begin_call();
  return go_on(State::kArguments);
}

// A key or the name, up to its closing quote.
bool ToolCallParser::read_string(char byte) {
  if (byte == '"' && !is_escaped_) return state_ == State::kKey ? end_key() : end_name();
  is_escaped_ = byte == '\\' && !is_escaped_;
  token_ += byte;
  return hold(byte);
}

bool ToolCallParser::end_key() {
  key_ = std::move(token_);
  return hold('"', State::kColon);
}

bool ToolCallParser::end_name() {
  const auto name = nlohmann::json::parse('"' + token_ + '"', nullptr, /*allow_exceptions=*/false);
  if (!name.is_string() || !is_offered(name.get_ref<const std::string&>())) return fail();
  name_ = name.get<std::string>();
  if (arguments_.empty()) return hold('"', State::kAfterValue);
  begin_call();
  put(ReplyPiece::Kind::kArguments, arguments_);
  end_call();
  scanner_ = ValueScanner::inside_object();
  state_ = State::kRestOfObject;
  return true;
}

bool ToolCallParser::held_value(char byte) {
  const ValueScanner::Step step = scanner_.feed(byte);
  if (step == ValueScanner::Step::kBad) return fail();
  if (step == ValueScanner::Step::kPast) return go_on(State::kAfterValue);
  if (state_ == State::kHeldArguments) arguments_ += byte;
  return step == ValueScanner::Step::kLast ? hold(byte, State::kAfterValue) : hold(byte);
}

// ---- A call ----

bool ToolCallParser::sent_value(char byte) {
  const ValueScanner::Step step = scanner_.feed(byte);
  const bool is_bad = step == ValueScanner::Step::kBad;
  const bool is_last = step == ValueScanner::Step::kLast;
  if (state_ == State::kRestOfObject) {
    if (is_bad || is_last) state_ = State::kAfterObject;
    return !is_bad;
  }
  if (!is_bad) put(ReplyPiece::Kind::kArguments, {&byte, 1});
  if (is_bad || is_last) {
    end_call();
    state_ = is_bare_ ? State::kContent : is_bad ? State::kAfterObject : State::kRestOfObject;
    scanner_ = ValueScanner::inside_object();
  }
  return !is_bad;
}

bool ToolCallParser::after_object(char byte) {
  switch (format_) {
    case ToolFormat::kLlama3:
      return go_on(State::kBeforeCall);
    case ToolFormat::kMistral:
      if (is_space(byte)) return true;
      if (byte == ',') return hold(byte, State::kBeforeElement);
      if (byte != ']') return fail();
      state_ = State::kContent;
      return true;
    case ToolFormat::kHermes:
      break;
  }
  if (is_space(byte) && num_matched_ == 0) return true;
  if (byte != kHermesClose[num_matched_]) return fail();
  if (++num_matched_ < kHermesClose.size()) return hold(byte);
  num_matched_ = 0;
  held_.clear();
  state_ = State::kContent;
  return true;
}

void ToolCallParser::begin_call() {
  held_.clear();
  scanner_ = ValueScanner();
  put(ReplyPiece::Kind::kCallBegin, name_);
  is_in_call_ = true;
  ++num_calls_;
}

void ToolCallParser::end_call() {
  put(ReplyPiece::Kind::kCallEnd, "");
  is_in_call_ = false;
  is_after_call_ = true;
}

// ---- Steps and output ----

bool ToolCallParser::hold(char byte) {
  held_ += byte;
  return true;
}

bool ToolCallParser::hold(char byte, State next) {
  state_ = next;
  return hold(byte);
}

bool ToolCallParser::go_on(State next) {
  state_ = next;
  return false;
}

// What is held is content, but for an end that may belong to the next call: the beginning of a marker, and
// whitespace before it. A marker's first byte occurs in it only once, so it cannot begin further to the left.
bool ToolCallParser::fail() {
  is_escaped_ = false;
  num_matched_ = 0;
  std::size_t num_content = held_.size();
  state_ = marker_.empty() ? State::kPlain : State::kContent;
  if (!marker_.empty() && held_.size() < kMaxHeldBytes) {
    num_matched_ = std::min(marker_.size() - 1, held_.size());
    while (!held_.ends_with(marker_.substr(0, num_matched_))) --num_matched_;
    num_content -= num_matched_;
    while (num_content > 0 && is_space(held_[num_content - 1])) --num_content;
  }
  put(ReplyPiece::Kind::kContent, std::string_view(held_).substr(0, num_content));
  held_.erase(0, num_content);
  return false;
}

void ToolCallParser::put(ReplyPiece::Kind kind, std::string_view text) {
  if (text.empty() && (kind == ReplyPiece::Kind::kContent || kind == ReplyPiece::Kind::kArguments)) return;
  if (kind == ReplyPiece::Kind::kContent) is_after_call_ = false;
  const bool goes_on = out_->size() > num_before_ && out_->back().kind == kind;
  if (goes_on && kind != ReplyPiece::Kind::kCallEnd) {
    out_->back().text += text;
  } else {
    out_->push_back({kind, std::string(text)});
  }
}

bool ToolCallParser::is_offered(std::string_view name) const {
  return std::find(names_.begin(), names_.end(), name) != names_.end();
}

}  // namespace kvasir::api
