#include "tokenizer/jinja/markup.h"

#include <charconv>

#include "tokenizer/jinja/printing.h"
#include "tokenizer/jinja/text.h"
#include "tokenizer/unicode.h"

namespace kvasir::tokenizer::jinja {
namespace {

// Appends what the entity at the beginning of `text` stands for; how many bytes it has, 0 when it is none.
std::size_t append_entity(std::string& out, std::string_view text) {
  constexpr std::pair<std::string_view, std::string_view> kNamed[] = {
      {"&amp;", "&"}, {"&lt;", "<"}, {"&gt;", ">"}, {"&quot;", "\""}, {"&apos;", "'"}, {"&nbsp;", "\u00a0"}};
  for (const auto& [name, character] : kNamed) {
    if (!text.starts_with(name)) continue;
    out += character;
    return name.size();
  }
  if (!text.starts_with("&#")) return 0;
  const std::size_t end = text.substr(0, 12).find(';');
  if (end == text.npos) return 0;
  const bool is_hex = text[2] == 'x' || text[2] == 'X';
  const std::string_view digits = text.substr(is_hex ? 3 : 2, end - (is_hex ? 3 : 2));
  std::uint32_t code = 0;
  const auto read = std::from_chars(digits.data(), digits.data() + digits.size(), code, is_hex ? 16 : 10);
  if (read.ec != std::errc() || read.ptr != digits.data() + digits.size()) return 0;
  const bool is_character = code > 0 && code < 0x110000 && (code < 0xD800 || code > 0xDFFF);
  append(out, is_character ? static_cast<char32_t>(code) : 0xFFFD);
  return end + 1;
}

// Without what stands between each `begin` and the next `end`.
std::string without(std::string_view text, std::string_view begin, std::string_view end) {
  std::string out;
  while (true) {
    const std::size_t from = text.find(begin);
    const std::size_t to = from == text.npos ? text.npos : text.find(end, from + begin.size());
    if (to == text.npos) return out += text;
    out += text.substr(0, from);
    text.remove_prefix(to + end.size());
  }
}

}  // namespace

Result<Value> escape(Runtime& runtime, const Value& value) {
  if (value.is_markup()) return value;
  KVASIR_ASSIGN_OR_RETURN(const Value text, to_text(runtime, value));
  Writer out(runtime);
  std::string_view rest = text.text();
  while (!rest.empty()) {
    const std::size_t plain = std::min(rest.find_first_of("&<>'\""), rest.size());
    KVASIR_RETURN_IF_ERROR(out.add(rest.substr(0, plain)));
    if (plain == rest.size()) break;
    const char c = rest[plain];
    KVASIR_RETURN_IF_ERROR(out.add(c == '&'    ? "&amp;"
                                   : c == '<'  ? "&lt;"
                                   : c == '>'  ? "&gt;"
                                   : c == '\'' ? "&#39;"
                                               : "&#34;"));
    rest.remove_prefix(plain + 1);
  }
  return runtime.text(out.text(), true);
}

std::string strip_tags(std::string_view text) {
  const std::string bare = without(without(text, "<!--", "-->"), "<", ">");
  std::string joined;
  for (const std::string_view word : split_words(bare, -1)) {
    if (!joined.empty()) joined += ' ';
    joined += word;
  }
  std::string out;
  for (std::string_view rest = joined; !rest.empty();) {
    std::size_t taken = rest[0] == '&' ? append_entity(out, rest) : 0;
    if (taken == 0) out += rest[taken++];
    rest.remove_prefix(taken);
  }
  return out;
}

}  // namespace kvasir::tokenizer::jinja
