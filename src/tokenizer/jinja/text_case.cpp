// Upper, lower and title case, by Unicode's full mappings.

#include <utf8proc.h>

#include "tokenizer/jinja/text.h"
#include "tokenizer/unicode.h"

namespace kvasir::tokenizer::jinja {
namespace {

enum class Case : std::uint8_t { kNone, kLower, kUpper, kTitle };

Case case_of(char32_t c) {
  switch (utf8proc_category(static_cast<utf8proc_int32_t>(c))) {
    case UTF8PROC_CATEGORY_LU:
      return Case::kUpper;
    case UTF8PROC_CATEGORY_LL:
      return Case::kLower;
    case UTF8PROC_CATEGORY_LT:
      return Case::kTitle;
    default:
      break;
  }
  // Other_Lowercase and Other_Uppercase, as far as they are letters' kin.
  if (c == 0xAA || c == 0xBA || (c >= 0x2170 && c <= 0x217F) || (c >= 0x24D0 && c <= 0x24E9)) {
    return Case::kLower;
  }
  if ((c >= 0x2160 && c <= 0x216F) || (c >= 0x24B6 && c <= 0x24CF)) return Case::kUpper;
  return Case::kNone;
}

bool is_cased(char32_t c) {
  return case_of(c) != Case::kNone;
}

// Case_Ignorable: marks, modifiers, and the punctuation that stands inside words.
bool is_case_ignorable(char32_t c) {
  if (c == '\'' || c == '.' || c == ':' || c == '^' || c == '`' || c == 0xB7 || c == 0x2018 || c == 0x2019 ||
      c == 0x2024 || c == 0x2027) {
    return true;
  }
  switch (utf8proc_category(static_cast<utf8proc_int32_t>(c))) {
    case UTF8PROC_CATEGORY_MN:
    case UTF8PROC_CATEGORY_ME:
    case UTF8PROC_CATEGORY_CF:
    case UTF8PROC_CATEGORY_LM:
    case UTF8PROC_CATEGORY_SK:
      return true;
    default:
      return false;
  }
}

// Characters whose upper case is several (SpecialCasing.txt); the title case differs only in the rest's case.
struct Special {
  char32_t character;
  std::string_view upper, title;
};
constexpr Special kSpecials[] = {{0xDF, "SS", "Ss"},
                                 {0x149, "\u02bcN", "\u02bcN"},
                                 {0x1F0, "J\u030c", "J\u030c"},
                                 {0x390, "\u0399\u0308\u0301", "\u0399\u0308\u0301"},
                                 {0x3B0, "\u03a5\u0308\u0301", "\u03a5\u0308\u0301"},
                                 {0x587, "\u0535\u0552", "\u0535\u0582"},
                                 {0x1E96, "H\u0331", "H\u0331"},
                                 {0x1E97, "T\u0308", "T\u0308"},
                                 {0x1E98, "W\u030a", "W\u030a"},
                                 {0x1E99, "Y\u030a", "Y\u030a"},
                                 {0x1E9A, "A\u02be", "A\u02be"},
                                 {0xFB00, "FF", "Ff"},
                                 {0xFB01, "FI", "Fi"},
                                 {0xFB02, "FL", "Fl"},
                                 {0xFB03, "FFI", "Ffi"},
                                 {0xFB04, "FFL", "Ffl"},
                                 {0xFB05, "ST", "St"},
                                 {0xFB06, "ST", "St"}};

const Special* special(char32_t c) {
  if (c < 0xDF) return nullptr;
  for (const Special& each : kSpecials) {
    if (each.character == c) return &each;
  }
  return nullptr;
}

void append_upper(std::string& out, char32_t c) {
  if (const Special* found = special(c)) {
    out += found->upper;
  } else {
    append(out, static_cast<char32_t>(utf8proc_toupper(static_cast<utf8proc_int32_t>(c))));
  }
}

void append_title(std::string& out, char32_t c) {
  if (const Special* found = special(c)) {
    out += found->title;
  } else {
    append(out, static_cast<char32_t>(utf8proc_totitle(static_cast<utf8proc_int32_t>(c))));
  }
}

// Whether the sigma at [begin, end) ends a word: a cased letter before it and none behind, case-ignorable
// characters apart (Unicode 15, table 3-17).
bool is_final_sigma(std::string_view text, std::size_t begin, std::size_t end) {
  bool has_before = false;
  while (begin > 0 && !has_before) {
    begin = previous(text, begin);
    const char32_t c = decode_at(text, begin).character;
    if (is_case_ignorable(c)) continue;
    if (!is_cased(c)) return false;
    has_before = true;
  }
  if (!has_before) return false;
  while (end < text.size()) {
    const auto [c, next] = decode_at(text, end);
    if (!is_case_ignorable(c)) return !is_cased(c);
    end = next;
  }
  return true;
}

void append_lower(std::string& out, std::string_view text, std::size_t begin, const Decoded& character) {
  if (character.character == 0x3A3) {
    append(out, is_final_sigma(text, begin, character.end) ? 0x3C2 : 0x3C3);
  } else {
    append_lowercase(out, character.character);
  }
}

// Calls put(out, begin, decoded) for each character.
template <typename Put>
std::string map(std::string_view text, const Put& put) {
  std::string out;
  out.reserve(text.size());
  for (std::size_t at = 0; at < text.size();) {
    const Decoded decoded = decode_at(text, at);
    put(out, at, decoded);
    at = decoded.end;
  }
  return out;
}

// No characters of the other case, and at least one that has a case.
bool is_all(std::string_view text, Case wanted) {
  bool has_one = false;
  for (std::size_t at = 0; at < text.size();) {
    const auto [c, end] = decode_at(text, at);
    const Case found = case_of(c);
    if (found != wanted && found != Case::kNone) return false;
    has_one |= found == wanted;
    at = end;
  }
  return has_one;
}

}  // namespace

std::string to_upper(std::string_view text) {
  return map(text, [](std::string& out, std::size_t, const Decoded& d) { append_upper(out, d.character); });
}

std::string to_lower(std::string_view text) {
  return map(text,
             [&](std::string& out, std::size_t at, const Decoded& d) { append_lower(out, text, at, d); });
}

std::string to_title(std::string_view text) {
  bool is_inside = false;
  return map(text, [&](std::string& out, std::size_t at, const Decoded& d) {
    if (is_inside) {
      append_lower(out, text, at, d);
    } else {
      append_title(out, d.character);
    }
    is_inside = is_cased(d.character);
  });
}

std::string capitalize(std::string_view text) {
  return map(text, [&](std::string& out, std::size_t at, const Decoded& d) {
    if (at == 0) {
      append_title(out, d.character);
    } else {
      append_lower(out, text, at, d);
    }
  });
}

std::string swap_case(std::string_view text) {
  return map(text, [&](std::string& out, std::size_t at, const Decoded& d) {
    switch (case_of(d.character)) {
      case Case::kUpper:
        append_lower(out, text, at, d);
        break;
      case Case::kLower:
        append_upper(out, d.character);
        break;
      default:
        append(out, d.character);
    }
  });
}

std::string fold_case(std::string_view text) {
  utf8proc_uint8_t* folded = nullptr;
  const utf8proc_ssize_t length = utf8proc_map(reinterpret_cast<const utf8proc_uint8_t*>(text.data()),
                                               static_cast<utf8proc_ssize_t>(text.size()), &folded,
                                               static_cast<utf8proc_option_t>(UTF8PROC_CASEFOLD));
  if (length < 0) return std::string(text);
  std::string out(reinterpret_cast<const char*>(folded), static_cast<std::size_t>(length));
  std::free(folded);
  return out;
}

bool is_lower(std::string_view text) {
  return is_all(text, Case::kLower);
}

bool is_upper(std::string_view text) {
  return is_all(text, Case::kUpper);
}

bool is_title(std::string_view text) {
  bool has_one = false, is_inside = false;
  for (std::size_t at = 0; at < text.size();) {
    const auto [c, end] = decode_at(text, at);
    const Case found = case_of(c);
    const bool is_capital = found == Case::kUpper || found == Case::kTitle;
    if ((is_capital && is_inside) || (found == Case::kLower && !is_inside)) return false;
    is_inside = found != Case::kNone;
    has_one |= is_inside;
    at = end;
  }
  return has_one;
}

}  // namespace kvasir::tokenizer::jinja
