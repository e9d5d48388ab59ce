#pragma once

// The script of a character (Unicode's property Script), as far as the pre-tokenizer UnicodeScripts tells
// them apart.

#include <vector>

#include "base/status.h"
#include "tokenizer/regex.h"

namespace kvasir::tokenizer {

// Immutable, thread-safe.
class Scripts {
 public:
  static constexpr int kAny = -1;  // no script: an unassigned character

  // Errors: none with a PCRE2 that knows scripts.
  static Result<Scripts> load();

  // Which script `character` belongs to. O(number of scripts): ask once for each character of a text.
  int of(char32_t character) const;

 private:
  explicit Scripts(std::vector<Regex> patterns) : patterns_(std::move(patterns)) {}

  std::vector<Regex> patterns_;  // one for each script, frequent ones first
};

}  // namespace kvasir::tokenizer
