#include "bench/prompts.h"

#include <algorithm>
#include <array>
#include <span>
#include <string_view>
#include <utility>
#include <vector>

namespace kvasir::bench {
namespace {

// Common ones: most vocabularies have them as one token.
constexpr std::array<std::string_view, 64> kWords = {
    "time",  "year",  "people", "way",   "day",    "man",    "thing", "woman", "life", "child",  "world",
    "hand",  "part",  "place",  "case",  "week",   "point",  "home",  "water", "room", "mother", "area",
    "money", "story", "fact",   "month", "lot",    "right",  "study", "book",  "eye",  "job",    "word",
    "side",  "kind",  "head",   "house", "friend", "father", "power", "hour",  "game", "line",   "end",
    "car",   "city",  "name",   "team",  "minute", "idea",   "body",  "back",  "face", "door",   "art",
    "war",   "party", "result", "air",   "table",  "music",  "light", "field", "road"};

using Words = std::vector<std::string_view>;

// Not with a std distribution: those differ from one library to another.
Words draw(int count, std::mt19937_64& random) {
  Words words(count);
  for (std::string_view& word : words) word = kWords[random() % kWords.size()];
  return words;
}

// Each has a space in front, so that texts can be put together.
std::string join(std::span<const std::string_view> words) {
  std::string text;
  for (const std::string_view word : words) text.append(" ").append(word);
  return text;
}

}  // namespace

Prompts Prompts::counted(CountTokens count) {
  Prompts prompts;
  prompts.count_ = std::move(count);
  return prompts;
}

Prompts Prompts::estimated(double added, double per_word) {
  Prompts prompts;
  prompts.added_ = added;
  prompts.per_word_ = per_word;
  return prompts;
}

std::string Prompts::words(int num_words) {
  return join(draw(num_words, random_));
}

Result<std::string> Prompts::text(int num_tokens) {
  if (!count_) return words(std::max(1, static_cast<int>((num_tokens - added_) / per_word_ + 0.5)));
  // No word takes less than a token: one for each is enough to choose from.
  const Words drawn = draw(num_tokens, random_);
  const std::span<const std::string_view> all = drawn;
  std::size_t least = 1, most = drawn.size();
  while (least < most) {
    const std::size_t middle = (least + most + 1) / 2;
    KVASIR_ASSIGN_OR_RETURN(const int count, count_(join(all.first(middle))));
    if (count <= num_tokens) {
      least = middle;
    } else {
      most = middle - 1;
    }
  }
  return join(all.first(least));
}

Result<std::string> Prompts::more_text(int num_tokens) {
  double added = added_;
  if (count_) {
    KVASIR_ASSIGN_OR_RETURN(const int count, count_(""));
    added = count;
  }
  return text(num_tokens + static_cast<int>(added));
}

}  // namespace kvasir::bench
