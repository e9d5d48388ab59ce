#pragma once

// The place in a grammar's or pattern's text while it is read, as characters, and what both notations share.

#include <optional>
#include <string_view>

#include "grammar/character_class.h"

namespace kvasir::grammar {

class TextCursor {
 public:
  static constexpr char32_t kEnd = 0xFFFFFFFE;

  explicit TextCursor(std::string_view text) : text_(text) {}

  bool at_end() const { return at_ == text_.size(); }
  std::size_t position() const { return at_; }
  void move_to(std::size_t position) { at_ = position; }
  std::string_view rest() const { return text_.substr(at_); }
  std::string_view text() const { return text_; }

  // The next character; kEnd behind the last, kInvalidCharacter for what is not UTF-8.
  char32_t peek() const {
    std::size_t at = at_;
    return at_end() ? kEnd : next_character(text_, at);
  }
  char32_t take() { return at_end() ? kEnd : next_character(text_, at_); }
  bool take_if(char32_t expected) {
    if (peek() != expected) return false;
    take();
    return true;
  }
  bool take_if(std::string_view expected) {
    if (!rest().starts_with(expected)) return false;
    at_ += expected.size();
    return true;
  }

  // A number in decimal, at most `limit`; nothing, and no move, for another text.
  std::optional<int> take_number(int limit) {
    const std::size_t begin = at_;
    int value = 0;
    while (!at_end() && text_[at_] >= '0' && text_[at_] <= '9') {
      value = value * 10 + (text_[at_++] - '0');
      if (value > limit) break;
    }
    if (at_ > begin && value <= limit) return value;
    at_ = begin;
    return std::nullopt;
  }

  // Exactly `num_digits` hexadecimal digits that are a character.
  std::optional<char32_t> take_hex(int num_digits) {
    char32_t value = 0;
    const std::size_t begin = at_;
    for (int i = 0; i < num_digits; ++i) {
      const std::optional<unsigned> digit = at_end() ? std::nullopt : hex_digit(text_[at_]);
      if (!digit) {
        at_ = begin;
        return std::nullopt;
      }
      value = value * 16 + *digit;
      ++at_;
    }
    if (value <= kMaxCodePoint && (value < 0xD800 || value > 0xDFFF)) return value;
    at_ = begin;
    return std::nullopt;
  }

  static std::optional<unsigned> hex_digit(char c) {
    if (c >= '0' && c <= '9') return static_cast<unsigned>(c - '0');
    if (c >= 'a' && c <= 'f') return static_cast<unsigned>(c - 'a' + 10);
    if (c >= 'A' && c <= 'F') return static_cast<unsigned>(c - 'A' + 10);
    return std::nullopt;
  }

 private:
  std::string_view text_;
  std::size_t at_ = 0;
};

// {m}, {m,}, {m,n} behind the '{'; max is GrammarBuilder::kUnbounded for {m,}.
struct Repetition {
  int min = 0, max = 0;
};
std::optional<Repetition> take_repetition(TextCursor& cursor, int limit);

}  // namespace kvasir::grammar
