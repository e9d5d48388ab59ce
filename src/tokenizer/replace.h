#pragma once

// "Replace", which tokenizer.json has as a normalizer and as a decoder, and the patterns that it shares with
// "Split".

#include <string>
#include <string_view>

#include "base/status.h"
#include "tokenizer/json_node.h"
#include "tokenizer/regex.h"

namespace kvasir::tokenizer {

// {"String": "..."} or {"Regex": "..."} under "pattern".
Result<Regex> read_pattern(const JsonNode& node);

class Replace {
 public:
  static Result<Replace> read(const JsonNode& node);

  // Every match of the pattern replaced by the content.
  std::string operator()(std::string_view text) const;

 private:
  Replace(Regex pattern, std::string content) : pattern_(std::move(pattern)), content_(std::move(content)) {}

  Regex pattern_;
  std::string content_;
};

}  // namespace kvasir::tokenizer
