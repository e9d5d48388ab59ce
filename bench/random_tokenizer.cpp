#include <fmt/format.h>

#include <nlohmann/json.hpp>

#include "base/check.h"
#include "bench/random_model.h"
#include "tokenizer/byte_alphabet.h"

namespace kvasir::bench {
namespace {

using nlohmann::json;

constexpr std::string_view kLetters = "etaoinshrdlcumwfgypbvkjxqz";  // by their frequency in English

// A vocabulary of byte pair encoding as it grows.
class Merges {
 public:
  explicit Merges(int num_tokens) : num_tokens_(num_tokens) {}

  void add_token(const std::string& text) { vocab_.emplace(text, vocab_.size()); }
  void add_merge(const std::string& left, const std::string& right) {
    if (static_cast<int>(vocab_.size()) == num_tokens_) return;
    add_token(left + right);
    merges_.push_back({left, right});
  }
  json model() const {
    return {{"type", "BPE"},          {"dropout", nullptr},
            {"unk_token", nullptr},   {"continuing_subword_prefix", nullptr},
            {"fuse_unk", false},      {"end_of_word_suffix", nullptr},
            {"byte_fallback", false}, {"ignore_merges", false},
            {"vocab", vocab_},        {"merges", merges_}};
  }

 private:
  int num_tokens_;
  std::map<std::string, std::size_t> vocab_;
  std::vector<std::pair<std::string, std::string>> merges_;
};

}  // namespace

// Merged are pairs of letters, the frequent ones first, then a space with a letter or a pair, then pairs of
// pairs: English text comes to about three characters a token.
std::string make_tokenizer(int num_tokens) {
  KVASIR_CHECK(num_tokens >= 1000 && num_tokens <= 100'000);
  Merges merges(num_tokens);
  json added;
  for (const char* special : {"<pad>", "<s>", "</s>"}) {
    added.push_back({{"id", added.size()},
                     {"content", special},
                     {"single_word", false},
                     {"lstrip", false},
                     {"rstrip", false},
                     {"normalized", false},
                     {"special", true}});
    merges.add_token(special);
  }
  for (int byte = 0; byte < 256; ++byte) {
    merges.add_token(tokenizer::to_byte_alphabet(std::string(1, static_cast<char>(byte))));
  }
  std::vector<std::string> pairs;
  for (std::size_t rank = 0; rank < 2 * kLetters.size() - 1; ++rank) {
    for (std::size_t left = 0; left <= rank; ++left) {
      const std::size_t right = rank - left;
      if (left >= kLetters.size() || right >= kLetters.size()) continue;
      pairs.push_back({kLetters[left], kLetters[right]});
      merges.add_merge(pairs.back().substr(0, 1), pairs.back().substr(1));
    }
  }
  const std::string space = tokenizer::to_byte_alphabet(" ");
  for (const char letter : kLetters) merges.add_merge(space, std::string(1, letter));
  for (const std::string& pair : pairs) merges.add_merge(space, pair);
  for (std::size_t rank = 0; rank < 2 * pairs.size() - 1; ++rank) {
    for (std::size_t left = 0; left <= rank; ++left) {
      if (left < pairs.size() && rank - left < pairs.size())
        merges.add_merge(pairs[left], pairs[rank - left]);
    }
  }
  const json byte_level = {
      {"type", "ByteLevel"}, {"add_prefix_space", false}, {"trim_offsets", true}, {"use_regex", true}};
  return json({{"version", "1.0"},
               {"truncation", nullptr},
               {"padding", nullptr},
               {"added_tokens", added},
               {"normalizer", nullptr},
               {"pre_tokenizer", byte_level},
               {"post_processor", nullptr},
               {"decoder", byte_level},
               {"model", merges.model()}})
      .dump();
}

}  // namespace kvasir::bench
