#pragma once

// Tokens beside the model's vocabulary ("added_tokens"): found in the text before it is split, special ones
// and others. Immutable once read, thread-safe.

#include <optional>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "base/ids.h"
#include "base/status.h"
#include "tokenizer/json_node.h"
#include "tokenizer/model.h"
#include "tokenizer/normalizer.h"

namespace kvasir::tokenizer {

// A part of a text: an added token, or text between two.
struct Segment {
  std::string_view text;
  std::optional<TokenId> token;
};

class AddedTokens {
 public:
  // The list under "added_tokens" of `root`. `normalizer` may be null.
  // Errors: kCorrupt, naming the place.
  static Result<AddedTokens> read(const JsonNode& root, const VocabularyModel& model,
                                  const Normalizer* normalizer);

  // Cuts at the tokens that are looked for in the text as given, or in normalized text. Empty parts are left
  // out.
  std::vector<Segment> split_given(std::string_view text) const { return given_.split(text); }
  std::vector<Segment> split_normalized(std::string_view text) const { return normalized_.split(text); }

  std::optional<TokenId> find(std::string_view content) const;
  const std::string* text(TokenId id) const;
  bool is_special(TokenId id) const;
  TokenId max_id() const { return max_id_; }

 private:
  struct Token {
    std::string content;
    TokenId id = 0;
    bool single_word = false, lstrip = false, rstrip = false, normalized = false, special = false;
  };

  // Finds the longest of many patterns at the leftmost place.
  class Matcher {
   public:
    void add(std::string_view pattern, const Token& token);
    std::vector<Segment> split(std::string_view text) const;

   private:
    struct Node {
      std::unordered_map<unsigned char, int> children;
      int token = -1;  // in tokens_
    };
    // The token at `at` and its length; -1 when there is none.
    std::pair<int, std::size_t> longest_at(std::string_view text, std::size_t at) const;

    std::vector<Node> nodes_ = std::vector<Node>(1);
    std::vector<Token> tokens_;
  };

  Matcher given_, normalized_;
  std::unordered_map<std::string, TokenId> ids_;
  std::unordered_map<TokenId, Token> tokens_;
  TokenId max_id_ = -1;
};

}  // namespace kvasir::tokenizer
