#include "tokenizer/byte_alphabet.h"

#include <array>

#include "tokenizer/unicode.h"

namespace kvasir::tokenizer {
namespace {

constexpr bool prints(int byte) {
  return (byte >= '!' && byte <= '~') || (byte >= 0xA1 && byte <= 0xAC) || byte >= 0xAE;
}

struct Tables {
  std::array<char16_t, 256> characters{};
  std::array<short, 0x144> bytes{};  // -1: not in the alphabet
};

constexpr Tables make_tables() {
  Tables tables;
  tables.bytes.fill(-1);
  char16_t next = 0x100;
  for (int byte = 0; byte < 256; ++byte) {
    const char16_t character = prints(byte) ? static_cast<char16_t>(byte) : next++;
    tables.characters[byte] = character;
    tables.bytes[character] = static_cast<short>(byte);
  }
  return tables;
}

constexpr Tables kTables = make_tables();

}  // namespace

std::string to_byte_alphabet(std::string_view bytes) {
  std::string text;
  text.reserve(bytes.size() + bytes.size() / 4);
  for (const char byte : bytes) append(text, kTables.characters[static_cast<unsigned char>(byte)]);
  return text;
}

std::optional<unsigned char> from_byte_alphabet(char32_t character) {
  if (character >= kTables.bytes.size() || kTables.bytes[character] < 0) return std::nullopt;
  return static_cast<unsigned char>(kTables.bytes[character]);
}

}  // namespace kvasir::tokenizer
