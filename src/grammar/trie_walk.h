#pragma once

// Runs configs over a part of the vocabulary's trie, depth first: a byte that many tokens begin with is read
// once.

#include <vector>

#include "grammar/parse_stacks.h"
#include "grammar/token_table.h"

namespace kvasir::grammar {

// What is borrowed must outlive the walk. `configs` and `stacks` are as they were after run().
class TrieWalk {
 public:
  TrieWalk(const Grammar& grammar, const TokenTable& tokens, ParseStacks& stacks,
           std::vector<Config>& configs)
      : grammar_(grammar), tokens_(tokens), stacks_(stacks), configs_(configs) {}

  // Reads the nodes [first, last), siblings with their subtrees, from configs[begin..end), which must be its
  // end. Calls on_token(id) for each token that the grammar allows, on_leave(node) where the bottom was left
  // with a node's byte.
  template <typename OnToken, typename OnLeave>
  void run(std::uint32_t first, std::uint32_t last, std::size_t begin, OnToken on_token, OnLeave on_leave) {
    if (first >= last) return;
    const std::vector<TokenTable::Node>& nodes = tokens_.nodes();
    const std::size_t base_depth = nodes[first].depth - 1u, end_of_base = configs_.size();
    const ParseStacks::Mark base = stacks_.mark();
    levels_.assign(1, {begin, end_of_base, base});
    for (std::uint32_t n = first; n < last;) {
      const TokenTable::Node& node = nodes[n];
      levels_.resize(node.depth - base_depth);
      const Level parent = levels_.back();
      configs_.resize(parent.end);
      stacks_.reset(parent.mark);
      const bool leaves = advance(parent, node.byte);
      const bool goes_on = configs_.size() > parent.end;
      if (goes_on || leaves) {
        for (std::uint32_t t = node.tokens_begin; t < nodes[n + 1].tokens_begin; ++t)
          on_token(tokens_.tokens()[t]);
      }
      if (leaves) on_leave(n);
      if (goes_on) levels_.push_back({parent.end, configs_.size(), stacks_.mark()});
      n = goes_on ? n + 1 : node.subtree_end;
    }
    configs_.resize(end_of_base);
    stacks_.reset(base);
  }

 private:
  struct Level {
    std::size_t begin, end;  // of configs_
    ParseStacks::Mark mark;
  };

  bool advance(const Level& from, std::uint8_t byte) {
    if (from.end - from.begin == 1) {  // by far the most frequent case
      const Config config = configs_[from.begin];
      const StateId target = grammar_.next(config.state, byte);
      if (target == kNoState) return false;
      if (grammar_.states()[target].is_plain()) {
        configs_.push_back({target, config.node});
        return false;
      }
    }
    return stacks_.advance(grammar_, from.begin, from.end, byte, configs_);
  }

  const Grammar& grammar_;
  const TokenTable& tokens_;
  ParseStacks& stacks_;
  std::vector<Config>& configs_;
  std::vector<Level> levels_;
};

}  // namespace kvasir::grammar
