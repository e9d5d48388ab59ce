#include "tokenizer/normalizer.h"

#include <utility>
#include <vector>

#include "tokenizer/byte_alphabet.h"
#include "tokenizer/precompiled.h"
#include "tokenizer/regex.h"
#include "tokenizer/replace.h"
#include "tokenizer/unicode.h"

namespace kvasir::tokenizer {
namespace {

// A normalizer that is a function.
template <typename Function>
class Simple final : public Normalizer {
 public:
  explicit Simple(Function function) : function_(std::move(function)) {}
  std::string normalize(std::string text) const override { return function_(std::move(text)); }

 private:
  Function function_;
};

template <typename Function>
std::unique_ptr<Normalizer> simple(Function function) {
  return std::make_unique<Simple<Function>>(std::move(function));
}

// Calls change(out, character) for each character.
template <typename Change>
std::string map_characters(std::string_view text, const Change& change) {
  std::string out;
  out.reserve(text.size());
  for (std::size_t at = 0; at < text.size();) {
    const Decoded decoded = decode_at(text, at);
    change(out, decoded.character);
    at = decoded.end;
  }
  return out;
}

std::string lowercase(std::string_view text) {
  return map_characters(text, append_lowercase);
}

std::string strip(std::string_view text, bool left, bool right) {
  while (left && !text.empty() && is_whitespace(decode_at(text, 0).character)) {
    text.remove_prefix(decode_at(text, 0).end);
  }
  while (right && !text.empty()) {
    const std::size_t last = previous(text, text.size());
    if (!is_whitespace(decode_at(text, last).character)) break;
    text = text.substr(0, last);
  }
  return std::string(text);
}

bool is_chinese(char32_t c) {
  return (c >= 0x4E00 && c <= 0x9FFF) || (c >= 0x3400 && c <= 0x4DBF) || (c >= 0x20000 && c <= 0x2A6DF) ||
         (c >= 0x2A700 && c <= 0x2B73F) || (c >= 0x2B740 && c <= 0x2B81F) || (c >= 0x2B920 && c <= 0x2CEAF) ||
         (c >= 0xF900 && c <= 0xFAFF) || (c >= 0x2F800 && c <= 0x2FA1F);
}

struct Bert {
  bool clean_text, handle_chinese_chars, strip_accents, lowercase;

  std::string operator()(std::string text) const {
    if (clean_text) {
      text = map_characters(text, [](std::string& out, char32_t c) {
        if (c == 0 || c == 0xFFFD || is_control(c)) return;
        append(out, is_whitespace(c) ? U' ' : c);
      });
    }
    if (handle_chinese_chars) {
      text = map_characters(text, [](std::string& out, char32_t c) {
        if (is_chinese(c)) out += ' ';
        append(out, c);
        if (is_chinese(c)) out += ' ';
      });
    }
    if (strip_accents) {
      text = map_characters(tokenizer::normalize(text, NormalForm::kNfd), [](std::string& out, char32_t c) {
        if (!is_nonspacing_mark(c)) append(out, c);
      });
    }
    return lowercase ? tokenizer::lowercase(text) : text;
  }
};

Result<std::unique_ptr<Normalizer>> read_bert(const JsonNode& node) {
  Bert bert{};
  KVASIR_ASSIGN_OR_RETURN(bert.clean_text, node.boolean("clean_text", true));
  KVASIR_ASSIGN_OR_RETURN(bert.handle_chinese_chars, node.boolean("handle_chinese_chars", true));
  KVASIR_ASSIGN_OR_RETURN(bert.lowercase, node.boolean("lowercase", true));
  KVASIR_ASSIGN_OR_RETURN(bert.strip_accents, node.boolean("strip_accents", bert.lowercase));
  return simple(bert);
}

// SentencePiece's "nmt" rules: control characters go, unusual spaces become a space.
void append_nmt(std::string& out, char32_t c) {
  if ((c >= 0x1 && c <= 0x8) || c == 0xB || (c >= 0xE && c <= 0x1F) || c == 0x7F || c == 0x8F || c == 0x9F)
    return;
  const bool is_space = c == 0x9 || c == 0xA || c == 0xC || c == 0xD || c == 0x1680 ||
                        (c >= 0x200B && c <= 0x200F) || c == 0x2028 || c == 0x2029 || c == 0x2581 ||
                        c == 0xFEFF || c == 0xFFFD;
  append(out, is_space ? U' ' : c);
}

// A short grapheme cluster is looked up whole, else character by character.
std::string apply_map(const CharacterMap& map, std::string_view text) {
  constexpr std::size_t kShort = 6;
  std::string out;
  for (std::size_t at = 0; at < text.size();) {
    const std::size_t end = grapheme_end(text, at);
    const std::string_view grapheme = text.substr(at, end - at);
    at = end;
    if (grapheme.size() < kShort) {
      if (const auto replacement = map.find(grapheme)) {
        out += *replacement;
        continue;
      }
    }
    for (std::size_t i = 0; i < grapheme.size();) {
      const std::size_t next = decode_at(grapheme, i).end;
      const std::string_view character = grapheme.substr(i, next - i);
      out += map.find(character).value_or(character);
      i = next;
    }
  }
  return out;
}

}  // namespace

Result<std::unique_ptr<Normalizer>> read_normalizer(const JsonNode& node) {
  KVASIR_ASSIGN_OR_RETURN(const std::string type, node.text("type"));
  if (type == "Sequence") {
    KVASIR_ASSIGN_OR_RETURN(auto parts, node.each("normalizers", read_normalizer));
    return simple([parts = std::move(parts)](std::string text) {
      for (const auto& part : parts) text = part->normalize(std::move(text));
      return text;
    });
  }
  if (type == "BertNormalizer") return read_bert(node);
  if (type == "Lowercase") return simple([](std::string text) { return lowercase(text); });
  if (type == "Nmt") return simple([](std::string text) { return map_characters(text, append_nmt); });
  if (type == "ByteLevel") return simple([](std::string text) { return to_byte_alphabet(text); });
  constexpr std::pair<const char*, NormalForm> kForms[] = {{"NFC", NormalForm::kNfc},
                                                           {"NFD", NormalForm::kNfd},
                                                           {"NFKC", NormalForm::kNfkc},
                                                           {"NFKD", NormalForm::kNfkd}};
  for (const auto& [name, form] : kForms) {
    if (type == name) {
      return simple([form = form](std::string text) { return tokenizer::normalize(text, form); });
    }
  }
  if (type == "StripAccents") {
    return simple([](std::string text) {
      return map_characters(text, [](std::string& out, char32_t c) {
        if (!is_mark(c)) append(out, c);
      });
    });
  }
  if (type == "Strip") {
    KVASIR_ASSIGN_OR_RETURN(const bool left, node.boolean("strip_left", true));
    KVASIR_ASSIGN_OR_RETURN(const bool right, node.boolean("strip_right", true));
    return simple([left, right](std::string text) { return strip(text, left, right); });
  }
  if (type == "Prepend") {
    KVASIR_ASSIGN_OR_RETURN(std::string prefix, node.text("prepend"));
    return simple(
        [prefix = std::move(prefix)](std::string text) { return text.empty() ? text : prefix + text; });
  }
  if (type == "Replace") {
    KVASIR_ASSIGN_OR_RETURN(Replace replace, Replace::read(node));
    return simple([replace = std::move(replace)](std::string text) { return replace(text); });
  }
  if (type == "Precompiled") {
    KVASIR_ASSIGN_OR_RETURN(const std::string base64, node.text("precompiled_charsmap", ""));
    KVASIR_ASSIGN_OR_RETURN(CharacterMap map, CharacterMap::from_base64(node.where(), base64));
    return simple([map = std::move(map)](std::string text) { return apply_map(map, text); });
  }
  return node.unsupported("normalizer", type);
}

}  // namespace kvasir::tokenizer
