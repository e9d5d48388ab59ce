#include "tokenizer/replace.h"

#include <utility>

namespace kvasir::tokenizer {

Result<Regex> read_pattern(const JsonNode& node) {
  KVASIR_ASSIGN_OR_RETURN(const JsonNode pattern, node.object("pattern"));
  if (pattern.has("String")) {
    KVASIR_ASSIGN_OR_RETURN(const std::string text, pattern.text("String"));
    return Regex::literal(text);
  }
  KVASIR_ASSIGN_OR_RETURN(const std::string regex, pattern.text("Regex"));
  return Regex::compile(pattern.where(), regex);
}

Result<Replace> Replace::read(const JsonNode& node) {
  KVASIR_ASSIGN_OR_RETURN(Regex pattern, read_pattern(node));
  KVASIR_ASSIGN_OR_RETURN(std::string content, node.text("content"));
  return Replace(std::move(pattern), std::move(content));
}

std::string Replace::operator()(std::string_view text) const {
  std::string out;
  std::size_t at = 0;
  for (const Range& match : pattern_.find_all(text)) {
    out += text.substr(at, match.begin - at);
    out += content_;
    at = match.end;
  }
  out += text.substr(at);
  return out;
}

}  // namespace kvasir::tokenizer
