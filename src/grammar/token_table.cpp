#include "grammar/token_table.h"

#include <algorithm>
#include <limits>
#include <numeric>
#include <utility>

namespace kvasir::grammar {

std::shared_ptr<const TokenTable> TokenTable::create(std::span<const Token> tokens,
                                                     std::span<const TokenId> stop_ids) {
  auto table = std::shared_ptr<TokenTable>(new TokenTable);
  for (const TokenId id : stop_ids) {
    if (id >= 0 && static_cast<std::size_t>(id) < tokens.size() && !table->is_stop(id))
      table->stop_ids_.push_back(id);
  }
  std::vector<TokenId> sorted;
  table->bytes_.reserve(tokens.size());
  for (const Token& token : tokens) {
    const auto id = static_cast<TokenId>(table->bytes_.size());
    // A token as long as no depth can say would be allowed by no real grammar.
    const bool is_text = !token.is_special && !token.bytes.empty() && !table->is_stop(id) &&
                         token.bytes.size() < std::numeric_limits<std::uint16_t>::max();
    table->bytes_.push_back(is_text ? token.bytes : std::string());
    if (is_text) sorted.push_back(id);
  }
  std::sort(sorted.begin(), sorted.end(), [&](TokenId a, TokenId b) {
    const auto& bytes = table->bytes_;
    return std::pair(std::string_view(bytes[static_cast<std::size_t>(a)]), a) <
           std::pair(std::string_view(bytes[static_cast<std::size_t>(b)]), b);
  });
  table->add_nodes(sorted);
  return table;
}

bool TokenTable::is_stop(TokenId token) const {
  return std::find(stop_ids_.begin(), stop_ids_.end(), token) != stop_ids_.end();
}

std::string_view TokenTable::bytes(TokenId token) const {
  if (token < 0 || token >= vocab_size()) return {};
  return bytes_[static_cast<std::size_t>(token)];
}

// string_view compares bytes as unsigned, so tokens come in the order of the trie's nodes.
void TokenTable::add_nodes(const std::vector<TokenId>& sorted) {
  std::vector<std::uint32_t> path;  // the nodes of the previous token's bytes
  std::string_view previous;
  const auto close_path = [&](std::size_t depth) {
    for (; path.size() > depth; path.pop_back()) {
      nodes_[path.back()].subtree_end = static_cast<std::uint32_t>(nodes_.size());
    }
  };
  for (const TokenId id : sorted) {
    const std::string_view bytes = this->bytes(id);
    const auto common = static_cast<std::size_t>(
        std::mismatch(bytes.begin(), bytes.end(), previous.begin(), previous.end()).first - bytes.begin());
    close_path(common);
    for (std::size_t i = common; i < bytes.size(); ++i) {
      path.push_back(static_cast<std::uint32_t>(nodes_.size()));
      nodes_.push_back({0, static_cast<std::uint32_t>(tokens_.size()), static_cast<std::uint16_t>(i + 1),
                        static_cast<std::uint8_t>(bytes[i])});
    }
    tokens_.push_back(id);
    previous = bytes;
    max_token_bytes_ = std::max(max_token_bytes_, static_cast<int>(bytes.size()));
  }
  close_path(0);
  nodes_.push_back(
      {static_cast<std::uint32_t>(nodes_.size() + 1), static_cast<std::uint32_t>(tokens_.size()), 0, 0});
}

}  // namespace kvasir::grammar
