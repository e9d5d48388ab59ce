#include "tokenizer/jinja/text.h"

#include <utf8proc.h>

#include <algorithm>

#include "tokenizer/unicode.h"

namespace kvasir::tokenizer::jinja {
namespace {

utf8proc_category_t category(char32_t c) {
  return utf8proc_category(static_cast<utf8proc_int32_t>(c));
}

// Whether `holds` is true of each character, and there is one.
template <typename Predicate>
bool all_of(std::string_view text, const Predicate& holds) {
  for (std::size_t at = 0; at < text.size();) {
    const auto [c, end] = decode_at(text, at);
    if (!holds(c)) return false;
    at = end;
  }
  return !text.empty();
}

bool is_letter(char32_t c) {
  const utf8proc_category_t k = category(c);
  return k >= UTF8PROC_CATEGORY_LU && k <= UTF8PROC_CATEGORY_LO;
}

bool is_decimal_digit(char32_t c) {
  return category(c) == UTF8PROC_CATEGORY_ND;
}

// Digits beyond the decimal ones: superscripts, circled and the like.
bool is_digit_character(char32_t c) {
  constexpr std::pair<char32_t, char32_t> kRanges[] = {
      {0xB2, 0xB3},     {0xB9, 0xB9},       {0x1369, 0x1371},   {0x19DA, 0x19DA},   {0x2070, 0x2070},
      {0x2074, 0x2079}, {0x2080, 0x2089},   {0x2460, 0x2468},   {0x2474, 0x247C},   {0x2488, 0x2490},
      {0x24EA, 0x24EA}, {0x24F5, 0x24FD},   {0x24FF, 0x24FF},   {0x2776, 0x277E},   {0x2780, 0x2788},
      {0x278A, 0x2792}, {0x10A40, 0x10A43}, {0x10E60, 0x10E68}, {0x11052, 0x1105A}, {0x1F100, 0x1F10A}};
  if (is_decimal_digit(c)) return true;
  return std::any_of(std::begin(kRanges), std::end(kRanges),
                     [c](const auto& range) { return c >= range.first && c <= range.second; });
}

std::vector<std::string_view> reversed(std::vector<std::string_view> parts) {
  std::reverse(parts.begin(), parts.end());
  return parts;
}

}  // namespace

bool is_space(char32_t c) {
  return is_whitespace(c) || (c >= 0x1C && c <= 0x1F);
}

bool is_printable(char32_t c) {
  if (c == ' ') return true;
  switch (category(c)) {
    case UTF8PROC_CATEGORY_CC:
    case UTF8PROC_CATEGORY_CF:
    case UTF8PROC_CATEGORY_CS:
    case UTF8PROC_CATEGORY_CO:
    case UTF8PROC_CATEGORY_CN:
    case UTF8PROC_CATEGORY_ZL:
    case UTF8PROC_CATEGORY_ZP:
    case UTF8PROC_CATEGORY_ZS:
      return false;
    default:
      return true;
  }
}

bool is_ascii(std::string_view text) {
  return std::all_of(text.begin(), text.end(), [](char c) { return static_cast<unsigned char>(c) < 0x80; });
}

std::size_t byte_offset(std::string_view text, std::size_t index) {
  std::size_t at = 0;
  for (; index > 0 && at < text.size(); --index) at = decode_at(text, at).end;
  return at;
}

std::string_view strip(std::string_view text, Side side, std::optional<std::string_view> characters) {
  const auto is_taken = [&](std::size_t begin, std::size_t end) {
    if (!characters) return is_space(decode_at(text, begin).character);
    const std::string_view c = text.substr(begin, end - begin);
    // UTF-8 cannot be found in the middle of a character.
    return characters->find(c) != characters->npos;
  };
  std::size_t begin = 0, end = text.size();
  while (side != Side::kRight && begin < end) {
    const std::size_t next = decode_at(text, begin).end;
    if (!is_taken(begin, next)) break;
    begin = next;
  }
  while (side != Side::kLeft && begin < end) {
    const std::size_t last = previous(text, end);
    if (!is_taken(last, end)) break;
    end = last;
  }
  return text.substr(begin, end - begin);
}

std::vector<std::string_view> split(std::string_view text, std::string_view separator, std::int64_t most) {
  std::vector<std::string_view> parts;
  while (most-- != 0) {
    const std::size_t at = text.find(separator);
    if (at == text.npos) break;
    parts.push_back(text.substr(0, at));
    text.remove_prefix(at + separator.size());
  }
  parts.push_back(text);
  return parts;
}

std::vector<std::string_view> split_right(std::string_view text, std::string_view separator,
                                          std::int64_t most) {
  std::vector<std::string_view> parts;
  while (most-- != 0) {
    const std::size_t at = text.rfind(separator);
    if (at == text.npos) break;
    parts.push_back(text.substr(at + separator.size()));
    text = text.substr(0, at);
  }
  parts.push_back(text);
  return reversed(std::move(parts));
}

std::vector<std::string_view> split_words(std::string_view text, std::int64_t most) {
  std::vector<std::string_view> parts;
  text = strip(text, Side::kLeft);
  while (!text.empty()) {
    if (most-- == 0) {
      parts.push_back(text);
      break;
    }
    std::size_t end = 0;
    while (end < text.size()) {
      const auto [c, next] = decode_at(text, end);
      if (is_space(c)) break;
      end = next;
    }
    parts.push_back(text.substr(0, end));
    text = strip(text.substr(end), Side::kLeft);
  }
  return parts;
}

std::vector<std::string_view> split_words_right(std::string_view text, std::int64_t most) {
  std::vector<std::string_view> parts;
  text = strip(text, Side::kRight);
  while (!text.empty()) {
    if (most-- == 0) {
      parts.push_back(text);
      break;
    }
    std::size_t begin = text.size();
    while (begin > 0) {
      const std::size_t last = previous(text, begin);
      if (is_space(decode_at(text, last).character)) break;
      begin = last;
    }
    parts.push_back(text.substr(begin));
    text = strip(text.substr(0, begin), Side::kRight);
  }
  return reversed(std::move(parts));
}

std::vector<std::string_view> split_lines(std::string_view text, bool keeps_ends) {
  std::vector<std::string_view> lines;
  std::size_t begin = 0;
  for (std::size_t at = 0; at < text.size();) {
    const auto [c, end] = decode_at(text, at);
    const bool is_break =
        (c >= 0x0A && c <= 0x0D) || (c >= 0x1C && c <= 0x1E) || c == 0x85 || c == 0x2028 || c == 0x2029;
    if (!is_break) {
      at = end;
      continue;
    }
    const std::size_t next = c == '\r' && end < text.size() && text[end] == '\n' ? end + 1 : end;
    lines.push_back(text.substr(begin, (keeps_ends ? next : at) - begin));
    at = begin = next;
  }
  if (begin < text.size()) lines.push_back(text.substr(begin));
  return lines;
}

std::size_t count(std::string_view text, std::string_view part) {
  if (part.empty()) return num_characters(text) + 1;
  std::size_t n = 0;
  for (std::size_t at = text.find(part); at != text.npos; at = text.find(part, at + part.size())) ++n;
  return n;
}

std::string expand_tabs(std::string_view text, std::size_t width) {
  std::string out;
  std::size_t column = 0;
  for (std::size_t at = 0; at < text.size();) {
    const auto [c, end] = decode_at(text, at);
    if (c == '\t') {
      const std::size_t spaces = width == 0 ? 0 : width - column % width;
      out.append(spaces, ' ');
      column += spaces;
    } else {
      out += text.substr(at, end - at);
      column = c == '\n' || c == '\r' ? 0 : column + 1;
    }
    at = end;
  }
  return out;
}

bool is_alpha(std::string_view text) {
  return all_of(text, is_letter);
}

bool is_alnum(std::string_view text) {
  return all_of(text, [](char32_t c) { return is_letter(c) || is_numeric(c); });
}

bool is_decimal(std::string_view text) {
  return all_of(text, is_decimal_digit);
}

bool is_digit(std::string_view text) {
  return all_of(text, is_digit_character);
}

bool is_numeric_text(std::string_view text) {
  return all_of(text, is_numeric);
}

bool is_space_text(std::string_view text) {
  return all_of(text, is_space);
}

bool is_printable_text(std::string_view text) {
  return text.empty() || all_of(text, is_printable);
}

bool is_identifier(std::string_view text) {
  if (text.empty()) return false;
  const char32_t first = decode_at(text, 0).character;
  const auto is_start = [](char32_t c) {
    return c == '_' || is_letter(c) || category(c) == UTF8PROC_CATEGORY_NL;
  };
  return is_start(first) && all_of(text, [&](char32_t c) { return is_start(c) || is_word(c); });
}

}  // namespace kvasir::tokenizer::jinja
