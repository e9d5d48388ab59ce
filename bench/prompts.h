#pragma once

// Prompts of a wanted number of tokens: words drawn at random, so that two of them share no prefix worth
// caching. The same seed gives the same prompts, whichever server gets them.

#include <cstdint>
#include <functional>
#include <random>
#include <string>

#include "base/status.h"

namespace kvasir::bench {

// How many tokens the served model makes of a text, those that it adds to every prompt (BOS) included.
using CountTokens = std::function<Result<int>(const std::string& text)>;

class Prompts {
 public:
  // Sizes each text with `count`, for a tokenizer at hand.
  static Prompts counted(CountTokens count);
  // Sizes texts by two numbers: tokens = `added` + words * `per_word`. For a tokenizer that only the server
  // has.
  static Prompts estimated(double added, double per_word);

  // All texts until the next call follow from `seed` and the order in which they are asked for.
  void seed(std::uint64_t seed) { random_.seed(seed); }

  // A text that makes a prompt of about `num_tokens` tokens, and not more when they can be counted.
  Result<std::string> text(int num_tokens);
  // The same behind another text: without the tokens that are added to every prompt.
  Result<std::string> more_text(int num_tokens);

  // `num_words` drawn words.
  std::string words(int num_words);

 private:
  CountTokens count_;  // empty: estimated
  double added_ = 0;
  double per_word_ = 1;
  std::mt19937_64 random_;
};

}  // namespace kvasir::bench
