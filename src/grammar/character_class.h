#pragma once

// Sets of Unicode code points, and their UTF-8 as sequences of byte ranges.

#include <cstdint>
#include <initializer_list>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace kvasir::grammar {

inline constexpr char32_t kMaxCodePoint = 0x10FFFF;

// Any set of scalar values: surrogates (D800-DFFF) are not characters, and are never in one.
class CharacterClass {
 public:
  using Range = std::pair<char32_t, char32_t>;  // inclusive

  CharacterClass() = default;
  CharacterClass(std::initializer_list<Range> ranges);
  // In any order, overlapping or not. O(n log n).
  static CharacterClass of(std::vector<Range> ranges);
  static CharacterClass all() { return {{0, kMaxCodePoint}}; }

  // Requires: first <= last <= kMaxCodePoint.
  void add(char32_t first, char32_t last);
  CharacterClass negated() const;
  CharacterClass without(const CharacterClass& other) const;

  bool contains(char32_t character) const;
  bool empty() const { return ranges_.empty(); }
  // Ascending, disjoint, not adjacent.
  const std::vector<Range>& ranges() const { return ranges_; }

 private:
  std::vector<Range> ranges_;
};

// One to four ranges of bytes, one after the other.
struct Utf8Sequence {
  struct ByteRange {
    std::uint8_t first, last;
  };
  ByteRange bytes[4];
  int size = 0;
};

// The UTF-8 of exactly the characters of `characters`.
std::vector<Utf8Sequence> to_utf8_sequences(const CharacterClass& characters);

// Appends the UTF-8 of `character`. Requires: a scalar value.
void append_utf8(std::string& out, char32_t character);

// The character that begins at `at`, which moves behind it; kInvalidCharacter, and one byte on, for what is
// not UTF-8. Requires: at < text.size().
inline constexpr char32_t kInvalidCharacter = ~char32_t{0};
char32_t next_character(std::string_view text, std::size_t& at);

}  // namespace kvasir::grammar
