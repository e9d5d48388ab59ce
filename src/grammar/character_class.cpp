#include "grammar/character_class.h"

#include <algorithm>
#include <string>
#include <string_view>
#include <utility>

namespace kvasir::grammar {
namespace {

constexpr char32_t kFirstSurrogate = 0xD800, kLastSurrogate = 0xDFFF;

Utf8Sequence encode_range(char32_t first, char32_t last) {
  std::string low, high;
  append_utf8(low, first);
  append_utf8(high, last);
  Utf8Sequence sequence;
  sequence.size = static_cast<int>(low.size());
  for (std::size_t i = 0; i < low.size(); ++i) {
    sequence.bytes[i] = {static_cast<std::uint8_t>(low[i]), static_cast<std::uint8_t>(high[i])};
  }
  return sequence;
}

// Splits [first, last], all of one length in UTF-8, until the bytes of each part are independent of each
// other: the trailing bytes below the first that differs must go through all of 80..BF.
void split(char32_t first, char32_t last, std::vector<Utf8Sequence>& out) {
  for (int bits = 6; bits <= 18; bits += 6) {
    const char32_t mask = (char32_t{1} << bits) - 1;
    if ((first & ~mask) == (last & ~mask)) continue;
    if ((first & mask) != 0) {
      split(first, first | mask, out);
      return split((first | mask) + 1, last, out);
    }
    if ((last & mask) != mask) {
      split(first, (last & ~mask) - 1, out);
      return split(last & ~mask, last, out);
    }
  }
  out.push_back(encode_range(first, last));
}

}  // namespace

CharacterClass::CharacterClass(std::initializer_list<Range> ranges) {
  for (const auto& [first, last] : ranges) add(first, last);
}

CharacterClass CharacterClass::of(std::vector<Range> ranges) {
  std::sort(ranges.begin(), ranges.end());
  CharacterClass result;  // in ascending order, add() only looks at the end
  for (const auto& [first, last] : ranges) result.add(first, last);
  return result;
}

void CharacterClass::add(char32_t first, char32_t last) {
  if (first <= kLastSurrogate && last >= kFirstSurrogate) {
    if (first < kFirstSurrogate) add(first, kFirstSurrogate - 1);
    if (last > kLastSurrogate) add(kLastSurrogate + 1, last);
    return;
  }
  // The ranges that touch the new one become part of it.
  auto begin = std::lower_bound(ranges_.begin(), ranges_.end(), first,
                                [](const Range& range, char32_t at) { return range.second + 1 < at; });
  auto end = begin;
  for (; end != ranges_.end() && end->first <= last + 1; ++end) {
    first = std::min(first, end->first);
    last = std::max(last, end->second);
  }
  begin = ranges_.erase(begin, end);
  ranges_.insert(begin, {first, last});
}

CharacterClass CharacterClass::negated() const {
  CharacterClass result;
  char32_t at = 0;
  for (const auto& [first, last] : ranges_) {
    if (first > at) result.add(at, first - 1);
    at = last + 1;
  }
  if (at <= kMaxCodePoint) result.add(at, kMaxCodePoint);
  return result;
}

CharacterClass CharacterClass::without(const CharacterClass& other) const {
  std::vector<Range> rest = negated().ranges_;
  rest.insert(rest.end(), other.ranges_.begin(), other.ranges_.end());
  return of(std::move(rest)).negated();
}

bool CharacterClass::contains(char32_t character) const {
  const auto found = std::lower_bound(ranges_.begin(), ranges_.end(), character,
                                      [](const Range& range, char32_t at) { return range.second < at; });
  return found != ranges_.end() && found->first <= character;
}

std::vector<Utf8Sequence> to_utf8_sequences(const CharacterClass& characters) {
  constexpr char32_t kLengthEnds[] = {0x7F, 0x7FF, 0xFFFF, kMaxCodePoint};
  std::vector<Utf8Sequence> sequences;
  for (auto [first, last] : characters.ranges()) {
    for (const char32_t length_end : kLengthEnds) {
      if (first > length_end) continue;
      split(first, std::min(last, length_end), sequences);
      if (last <= length_end) break;
      first = length_end + 1;
    }
  }
  return sequences;
}

void append_utf8(std::string& out, char32_t character) {
  const auto put = [&](char32_t byte) { out += static_cast<char>(static_cast<unsigned char>(byte)); };
  if (character < 0x80) return put(character);
  if (character < 0x800) {
    put(0xC0 | character >> 6);
  } else {
    if (character < 0x10000) {
      put(0xE0 | character >> 12);
    } else {
      put(0xF0 | character >> 18);
      put(0x80 | (character >> 12 & 0x3F));
    }
    put(0x80 | (character >> 6 & 0x3F));
  }
  put(0x80 | (character & 0x3F));
}

char32_t next_character(std::string_view text, std::size_t& at) {
  const auto byte = [&](std::size_t i) { return static_cast<unsigned char>(text[i]); };
  const unsigned char lead = byte(at++);
  if (lead < 0x80) return lead;
  const int num_more = lead >= 0xF0 ? 3 : lead >= 0xE0 ? 2 : 1;
  if (lead < 0xC2 || lead > 0xF4 || text.size() - at < static_cast<std::size_t>(num_more))
    return kInvalidCharacter;
  char32_t character = lead & (0x3F >> num_more);
  for (int i = 0; i < num_more; ++i) {
    if ((byte(at + static_cast<std::size_t>(i)) & 0xC0) != 0x80) return kInvalidCharacter;
    character = character << 6 | (byte(at + static_cast<std::size_t>(i)) & 0x3F);
  }
  constexpr char32_t kSmallest[] = {0, 0x80, 0x800, 0x10000};
  const bool is_surrogate = character >= kFirstSurrogate && character <= kLastSurrogate;
  if (character < kSmallest[num_more] || character > kMaxCodePoint || is_surrogate) return kInvalidCharacter;
  at += static_cast<std::size_t>(num_more);
  return character;
}

}  // namespace kvasir::grammar
