#pragma once

// Python's str methods as functions on UTF-8. Positions and lengths are in code points where nothing else is
// said. Pure functions; time and memory are linear in the text. Requires: valid UTF-8.

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace kvasir::tokenizer::jinja {

bool is_space(char32_t c);      // str.isspace
bool is_printable(char32_t c);  // what repr() does not escape

bool is_ascii(std::string_view text);

// Where the code point `index` begins; the end of the text for those behind it.
std::size_t byte_offset(std::string_view text, std::size_t index);

// Which ends strip() takes from.
enum class Side : std::uint8_t { kBoth, kLeft, kRight };
// Without the characters at the ends that are in `characters`, or white space.
std::string_view strip(std::string_view text, Side side, std::optional<std::string_view> characters = {});

// At most `most` cuts, from the left or from the right; -1: all.
std::vector<std::string_view> split(std::string_view text, std::string_view separator, std::int64_t most);
std::vector<std::string_view> split_right(std::string_view text, std::string_view separator,
                                          std::int64_t most);
std::vector<std::string_view> split_words(std::string_view text, std::int64_t most);
std::vector<std::string_view> split_words_right(std::string_view text, std::int64_t most);
std::vector<std::string_view> split_lines(std::string_view text, bool keeps_ends = false);

std::string to_upper(std::string_view text);
std::string to_lower(std::string_view text);
std::string to_title(std::string_view text);  // str.title
std::string capitalize(std::string_view text);
std::string swap_case(std::string_view text);
std::string fold_case(std::string_view text);

// How often `part` occurs, without overlaps; between all characters and at both ends when it is empty.
std::size_t count(std::string_view text, std::string_view part);

std::string expand_tabs(std::string_view text, std::size_t width);

// The str.is... predicates.
bool is_alpha(std::string_view text);
bool is_alnum(std::string_view text);
bool is_decimal(std::string_view text);
bool is_digit(std::string_view text);
bool is_numeric_text(std::string_view text);
bool is_lower(std::string_view text);
bool is_upper(std::string_view text);
bool is_title(std::string_view text);
bool is_space_text(std::string_view text);
bool is_printable_text(std::string_view text);
bool is_identifier(std::string_view text);

}  // namespace kvasir::tokenizer::jinja
