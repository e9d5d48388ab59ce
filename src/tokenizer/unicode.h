#pragma once

// UTF-8 and the character properties that tokenizers ask for. Pure functions.

#include <cstddef>
#include <string>
#include <string_view>

namespace kvasir::tokenizer {

bool is_valid_utf8(std::string_view text);

// The bytes as UTF-8, each maximal ill-formed part replaced by U+FFFD (Unicode 15, 3.9, table 3-8).
std::string to_valid_utf8(std::string_view bytes);

// The character that begins at `at`, and the place after it. Requires: valid UTF-8, at < text.size().
struct Decoded {
  char32_t character;
  std::size_t end;
};
Decoded decode_at(std::string_view text, std::size_t at);

// Where the character that ends at `end` begins. Requires: valid UTF-8, 0 < end.
std::size_t previous(std::string_view text, std::size_t end);

void append(std::string& text, char32_t character);
std::size_t num_characters(std::string_view text);

// General categories and properties, with Unicode's names.
bool is_whitespace(char32_t c);       // White_Space
bool is_numeric(char32_t c);          // N
bool is_punctuation(char32_t c);      // P, or ASCII's punctuation (which has some of S)
bool is_mark(char32_t c);             // M
bool is_nonspacing_mark(char32_t c);  // Mn
bool is_control(char32_t c);          // Cc, Cf, Co, but not tab, line feed and carriage return
bool is_word(char32_t c);             // L, M, Nd, Nl, Pc: \w

// Full lower case of one character, appended.
void append_lowercase(std::string& text, char32_t c);

enum class NormalForm { kNfc, kNfd, kNfkc, kNfkd };
// Requires: valid UTF-8.
std::string normalize(std::string_view text, NormalForm form);

// The end of the grapheme cluster that begins at `at` (UAX 29). Requires: valid UTF-8, at < text.size().
std::size_t grapheme_end(std::string_view text, std::size_t at);

}  // namespace kvasir::tokenizer
