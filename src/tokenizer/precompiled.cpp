#include "tokenizer/precompiled.h"

#include "tokenizer/unicode.h"

namespace kvasir::tokenizer {
namespace {

std::optional<std::string> decode_base64(std::string_view text) {
  std::string bytes;
  std::uint32_t bits = 0;
  int num_bits = 0;
  for (const char c : text) {
    int value = 0;
    if (c >= 'A' && c <= 'Z') {
      value = c - 'A';
    } else if (c >= 'a' && c <= 'z') {
      value = c - 'a' + 26;
    } else if (c >= '0' && c <= '9') {
      value = c - '0' + 52;
    } else if (c == '+') {
      value = 62;
    } else if (c == '/') {
      value = 63;
    } else if (c == '=') {
      continue;
    } else {
      return std::nullopt;
    }
    bits = bits << 6 | static_cast<std::uint32_t>(value);
    num_bits += 6;
    if (num_bits >= 8) {
      num_bits -= 8;
      bytes += static_cast<char>(bits >> num_bits);
    }
  }
  return bytes;
}

std::uint32_t read_u32(std::string_view bytes) {
  std::uint32_t value = 0;
  for (int i = 3; i >= 0; --i) value = value << 8 | static_cast<unsigned char>(bytes[i]);
  return value;
}

}  // namespace

Result<CharacterMap> CharacterMap::from_base64(const std::string& where, std::string_view base64) {
  const std::optional<std::string> bytes = decode_base64(base64);
  if (!bytes) return error(StatusCode::kCorrupt, "{}: expected base64", where);
  CharacterMap map;
  if (bytes->empty()) return map;
  if (bytes->size() < 4 || read_u32(*bytes) > bytes->size() - 4 || read_u32(*bytes) % 4 != 0) {
    return error(StatusCode::kCorrupt,
                 "{}: expected a trie and replacements, got {} bytes whose size field is wrong", where,
                 bytes->size());
  }
  const std::uint32_t trie_bytes = read_u32(*bytes);
  for (std::uint32_t i = 0; i < trie_bytes; i += 4) {
    map.units_.push_back(read_u32(std::string_view(*bytes).substr(4 + i)));
  }
  map.replacements_ = bytes->substr(4 + trie_bytes);
  if (!is_valid_utf8(map.replacements_))
    return error(StatusCode::kCorrupt, "{}: expected replacements in UTF-8", where);
  return map;
}

// A unit of a Darts-clone double array: bit 31 a leaf's mark, 30..10 the offset, 9 its scale, 8 whether a
// leaf follows, 7..0 the label.
std::optional<std::string_view> CharacterMap::find(std::string_view text) const {
  const auto offset = [](std::uint32_t unit) { return (unit >> 10) << ((unit & (1u << 9)) >> 6); };
  if (units_.empty()) return std::nullopt;
  std::uint32_t at = offset(units_[0]);
  for (const char c : text) {
    if (c == '\0') break;
    const auto label = static_cast<unsigned char>(c);
    at ^= label;
    if (at >= units_.size() || (units_[at] & ((1u << 31) | 0xFF)) != label) return std::nullopt;
    const std::uint32_t unit = units_[at];
    at ^= offset(unit);
    if ((unit >> 8 & 1) == 0) continue;
    if (at >= units_.size()) return std::nullopt;
    const std::size_t begin = units_[at] & 0x7FFFFFFF;
    if (begin >= replacements_.size()) return std::nullopt;
    const std::size_t end = replacements_.find('\0', begin);
    return std::string_view(replacements_).substr(begin, end == std::string::npos ? end : end - begin);
  }
  return std::nullopt;
}

}  // namespace kvasir::tokenizer
