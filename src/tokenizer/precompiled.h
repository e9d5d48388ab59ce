#pragma once

// SentencePiece's precompiled character map (its normalizer.cc): a double-array trie from character sequences
// to places in a list of zero-terminated replacements. Hostile bytes until checked; every step stays inside
// them.

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/status.h"

namespace kvasir::tokenizer {

class CharacterMap {
 public:
  // `base64`: of | u32 size of the trie in bytes | trie units, u32 | replacements |. Errors: kCorrupt.
  static Result<CharacterMap> from_base64(const std::string& where, std::string_view base64);

  // The replacement of the shortest beginning of `text` that is in the map; nullopt when none is.
  std::optional<std::string_view> find(std::string_view text) const;

 private:
  std::vector<std::uint32_t> units_;
  std::string replacements_;
};

}  // namespace kvasir::tokenizer
