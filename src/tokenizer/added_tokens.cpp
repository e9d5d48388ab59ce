#include "tokenizer/added_tokens.h"

#include <algorithm>
#include <utility>

#include "tokenizer/unicode.h"

namespace kvasir::tokenizer {
namespace {

std::size_t skip_space_left(std::string_view text, std::size_t end, std::size_t least) {
  while (end > least && is_whitespace(decode_at(text, previous(text, end)).character))
    end = previous(text, end);
  return end;
}

std::size_t skip_space_right(std::string_view text, std::size_t at) {
  while (at < text.size() && is_whitespace(decode_at(text, at).character)) at = decode_at(text, at).end;
  return at;
}

bool has_word_around(std::string_view text, std::size_t begin, std::size_t end) {
  return (begin > 0 && is_word(decode_at(text, previous(text, begin)).character)) ||
         (end < text.size() && is_word(decode_at(text, end).character));
}

}  // namespace

void AddedTokens::Matcher::add(std::string_view pattern, const Token& token) {
  if (pattern.empty()) return;
  int node = 0;
  for (const char byte : pattern) {
    const auto [child, is_new] =
        nodes_[node].children.emplace(static_cast<unsigned char>(byte), static_cast<int>(nodes_.size()));
    node = child->second;
    if (is_new) nodes_.emplace_back();
  }
  if (nodes_[node].token >= 0) return;
  nodes_[node].token = static_cast<int>(tokens_.size());
  tokens_.push_back(token);
}

std::pair<int, std::size_t> AddedTokens::Matcher::longest_at(std::string_view text, std::size_t at) const {
  std::pair<int, std::size_t> best = {-1, 0};
  int node = 0;
  for (std::size_t i = at; i < text.size(); ++i) {
    const auto child = nodes_[node].children.find(static_cast<unsigned char>(text[i]));
    if (child == nodes_[node].children.end()) break;
    node = child->second;
    if (nodes_[node].token >= 0) best = {nodes_[node].token, i + 1 - at};
  }
  return best;
}

std::vector<Segment> AddedTokens::Matcher::split(std::string_view text) const {
  std::vector<Segment> segments;
  const auto add_text = [&](std::size_t begin, std::size_t end) {
    if (begin < end) segments.push_back({text.substr(begin, end - begin), std::nullopt});
  };
  std::size_t done = 0;
  for (std::size_t at = 0; !tokens_.empty() && at < text.size();) {
    const auto [index, length] = longest_at(text, at);
    if (index < 0) {
      ++at;
      continue;
    }
    const Token& token = tokens_[index];
    std::size_t begin = at, end = at + length;
    at = end;
    if (token.single_word && has_word_around(text, begin, end)) continue;
    if (token.lstrip) begin = skip_space_left(text, begin, done);
    if (token.rstrip) end = skip_space_right(text, end);
    begin = std::max(begin, done);
    add_text(done, begin);
    segments.push_back({text.substr(begin, end - begin), token.id});
    done = at = end;
  }
  add_text(done, text.size());
  return segments;
}

Result<AddedTokens> AddedTokens::read(const JsonNode& root, const VocabularyModel& model,
                                      const Normalizer* normalizer) {
  AddedTokens added;
  if (!root.has("added_tokens")) return added;
  KVASIR_ASSIGN_OR_RETURN(const JsonNode list, root.array("added_tokens"));
  for (std::size_t i = 0; i < list.value().size(); ++i) {
    const JsonNode node = list.at(i);
    Token token;
    KVASIR_ASSIGN_OR_RETURN(token.content, node.text("content"));
    KVASIR_ASSIGN_OR_RETURN(token.id, node.count("id"));
    KVASIR_ASSIGN_OR_RETURN(token.special, node.boolean("special", false));
    KVASIR_ASSIGN_OR_RETURN(token.single_word, node.boolean("single_word", false));
    KVASIR_ASSIGN_OR_RETURN(token.lstrip, node.boolean("lstrip", false));
    KVASIR_ASSIGN_OR_RETURN(token.rstrip, node.boolean("rstrip", false));
    KVASIR_ASSIGN_OR_RETURN(token.normalized, node.boolean("normalized", !token.special));
    if (token.content.empty()) continue;
    // A token that the model has as well keeps the model's id.
    token.id = model.vocabulary().find(token.content).value_or(token.id);
    Matcher& matcher = token.normalized ? added.normalized_ : added.given_;
    matcher.add(
        token.normalized && normalizer != nullptr ? normalizer->normalize(token.content) : token.content,
        token);
    added.max_id_ = std::max(added.max_id_, token.id);
    added.ids_.emplace(token.content, token.id);
    added.tokens_.insert_or_assign(token.id, std::move(token));
  }
  return added;
}

std::optional<TokenId> AddedTokens::find(std::string_view content) const {
  const auto found = ids_.find(std::string(content));
  return found == ids_.end() ? std::nullopt : std::optional<TokenId>(found->second);
}

const std::string* AddedTokens::text(TokenId id) const {
  const auto found = tokens_.find(id);
  return found == tokens_.end() ? nullptr : &found->second.content;
}

bool AddedTokens::is_special(TokenId id) const {
  const auto found = tokens_.find(id);
  return found != tokens_.end() && found->second.special;
}

}  // namespace kvasir::tokenizer
