#pragma once

// Values as text: Python's str() and repr(), and json.dumps().

#include <optional>
#include <string>
#include <string_view>

#include "tokenizer/jinja/runtime.h"

namespace kvasir::tokenizer::jinja {

// Python's repr() of a string, cut where it is long: for messages.
std::string in_quotes(std::string_view text);

// repr() of numbers.
std::string print_int(Int value);
std::string print_float(double value);

// Text that grows within the budgets of a render.
class Writer {
 public:
  explicit Writer(Runtime& runtime) : runtime_(runtime) {}

  Runtime& runtime() { return runtime_; }
  const std::string& text() const { return text_; }

  // Errors: the budgets'.
  Status add(std::string_view piece);
  Status add(std::size_t times, char c);

 private:
  Runtime& runtime_;
  std::string text_;
};

// Appends str(value).
Status print(Writer& out, const Value& value);
// Appends repr(value).
Status print_repr(Writer& out, const Value& value, int depth = 0);

// str(value) and repr(value) as strings. A string is itself, without its being markup.
Result<Value> to_text(Runtime& runtime, const Value& value);
Result<Value> to_repr(Runtime& runtime, const Value& value);

struct JsonStyle {
  bool ensure_ascii = false;
  bool sort_keys = false;
  std::optional<std::string> indent;  // nothing: all on one line
  std::string item_separator = ", ";
  std::string key_separator = ": ";
};

// Errors: for values that JSON has not.
Status print_json(Writer& out, const Value& value, const JsonStyle& style);

}  // namespace kvasir::tokenizer::jinja
