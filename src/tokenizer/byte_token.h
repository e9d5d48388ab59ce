#pragma once

// Tokens that stand for one byte: "<0x0A>".

#include <charconv>
#include <optional>
#include <string>
#include <string_view>

namespace kvasir::tokenizer {

inline std::optional<unsigned char> parse_byte_token(std::string_view token) {
  unsigned char byte = 0;
  if (token.size() != 6 || !token.starts_with("<0x") || token[5] != '>') return std::nullopt;
  const auto [end, failure] = std::from_chars(token.data() + 3, token.data() + 5, byte, 16);
  if (failure != std::errc() || end != token.data() + 5) return std::nullopt;
  return byte;
}

inline std::string to_byte_token(unsigned char byte) {
  constexpr char kDigits[] = "0123456789ABCDEF";
  return {'<', '0', 'x', kDigits[byte >> 4], kDigits[byte & 15], '>'};
}

}  // namespace kvasir::tokenizer
