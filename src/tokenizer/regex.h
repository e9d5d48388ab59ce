#pragma once

// Patterns as tokenizer.json has them (Oniguruma's syntax, Unicode), run by PCRE2 with JIT. Thread-safe.

#include <cstddef>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "base/status.h"

namespace kvasir::tokenizer {

// A part of a text, in bytes.
struct Range {
  std::size_t begin = 0;
  std::size_t end = 0;
};

class Regex {
 public:
  // Errors: kUnsupported with PCRE2's reason. `where` opens the message.
  static Result<Regex> compile(const std::string& where, std::string_view pattern);
  // Matches `text` itself.
  static Regex literal(std::string_view text);
  Regex(Regex&&) noexcept;
  Regex& operator=(Regex&&) noexcept;
  ~Regex();

  // All matches from left to right, none overlapping. A pattern that runs away (PCRE2's limits) ends the
  // list. Requires: valid UTF-8.
  std::vector<Range> find_all(std::string_view text) const;

 private:
  struct Code;
  explicit Regex(std::unique_ptr<Code> code);
  std::unique_ptr<Code> code_;
};

}  // namespace kvasir::tokenizer
