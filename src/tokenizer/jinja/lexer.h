#pragma once

// A template's source as tokens: text, and inside {{ }} and {% %} names, literals and operators. White space
// around tags is already taken away as trim_blocks, lstrip_blocks and the signs - and + say.

#include <string>
#include <string_view>
#include <vector>

#include "base/status.h"
#include "tokenizer/jinja/value.h"

namespace kvasir::tokenizer::jinja {

enum class TokenType : std::uint8_t {
  kData,
  kVariableBegin,
  kVariableEnd,
  kBlockBegin,
  kBlockEnd,
  kName,
  kString,
  kInteger,
  kFloat,
  kOperator,
  kEnd,  // of the template
};

struct Token {
  TokenType type;
  int line;
  std::string text;  // of data, names, strings (unescaped) and operators
  Int integer = 0;
  double real = 0;

  bool is_operator(std::string_view sign) const { return type == TokenType::kOperator && text == sign; }
  bool is_name(std::string_view name) const { return type == TokenType::kName && text == name; }
  // For messages.
  std::string describe() const;
};

// The tokens, the last of which is kEnd. Requires: valid UTF-8. Errors: kCorrupt, "line N: ...";
// kUnsupported.
Result<std::vector<Token>> tokenize(std::string_view source);

}  // namespace kvasir::tokenizer::jinja
