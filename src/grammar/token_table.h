#pragma once

// The vocabulary as a grammar sees it: the bytes of each token, in a trie. Made once per tokenizer,
// immutable, shared by threads.

#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/ids.h"

namespace kvasir::grammar {

class TokenTable {
 public:
  struct Token {
    std::string bytes;        // what it adds in the middle of a text; may be part of a UTF-8 character
    bool is_special = false;  // control tokens: never part of a constrained text
  };

  // tokens[id]; an id that is not in use has no bytes. `stop_ids` end a text, whether special or not: they
  // are allowed where the grammar is complete, and nowhere else; ids outside of the vocabulary are ignored.
  // O(bytes log tokens): about 50 ms for 128,000 tokens.
  static std::shared_ptr<const TokenTable> create(std::span<const Token> tokens,
                                                  std::span<const TokenId> stop_ids);

  int vocab_size() const { return static_cast<int>(bytes_.size()); }
  // The 32-bit words of a mask: bit (id % 32) of word (id / 32).
  std::size_t mask_words() const { return (bytes_.size() + 31) / 32; }
  const std::vector<TokenId>& stop_ids() const { return stop_ids_; }
  bool is_stop(TokenId token) const;
  // Empty for ids that are never allowed inside a text: special, stop, unused, out of range.
  std::string_view bytes(TokenId token) const;

  // A node of the trie. Nodes are in depth-first order, so a subtree is [node, subtree_end).
  struct Node {
    std::uint32_t subtree_end;
    std::uint32_t tokens_begin;  // in tokens(); up to the next node's
    std::uint16_t depth;         // 1 for a first byte
    std::uint8_t byte;
  };
  // Without the root; the last one is a sentinel with the end of tokens().
  const std::vector<Node>& nodes() const { return nodes_; }
  std::uint32_t num_nodes() const { return static_cast<std::uint32_t>(nodes_.size() - 1); }
  const std::vector<TokenId>& tokens() const { return tokens_; }
  int max_token_bytes() const { return max_token_bytes_; }

 private:
  TokenTable() = default;
  void add_nodes(const std::vector<TokenId>& sorted);

  std::vector<std::string> bytes_;
  std::vector<TokenId> stop_ids_;
  std::vector<Node> nodes_;
  std::vector<TokenId> tokens_;
  int max_token_bytes_ = 0;
};

}  // namespace kvasir::grammar
