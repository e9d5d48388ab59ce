#pragma once

// GPT-2's alphabet for bytes: each byte as a printable character (Radford et al. 2019, bytes_to_unicode):
// those that print in Latin-1 as themselves, the others from U+0100 on.

#include <optional>
#include <string>
#include <string_view>

namespace kvasir::tokenizer {

// Each byte's character, one after the other.
std::string to_byte_alphabet(std::string_view bytes);

// The byte that a character stands for.
std::optional<unsigned char> from_byte_alphabet(char32_t character);

}  // namespace kvasir::tokenizer
