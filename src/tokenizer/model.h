#pragma once

// The models of tokenizer.json: a vocabulary, and how a piece of text becomes tokens of it. Immutable,
// thread-safe.

#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "base/ids.h"
#include "base/status.h"
#include "tokenizer/json_node.h"

namespace kvasir::tokenizer {

// Tokens by text and by id.
class Vocabulary {
 public:
  // Errors: kCorrupt for an id out of range or one that two tokens have.
  Status add(const JsonNode& where, std::string_view token, TokenId id);

  std::optional<TokenId> find(std::string_view token) const {
    const auto found = ids_.find(token);
    return found == ids_.end() ? std::nullopt : std::optional<TokenId>(found->second);
  }
  const std::string* text(TokenId id) const {
    const auto found = texts_.find(id);
    return found == texts_.end() ? nullptr : found->second;
  }
  std::size_t size() const { return ids_.size(); }
  TokenId max_id() const { return max_id_; }  // -1 when empty

 private:
  struct Hash {
    using is_transparent = void;
    std::size_t operator()(std::string_view text) const { return std::hash<std::string_view>()(text); }
  };
  std::unordered_map<std::string, TokenId, Hash, std::equal_to<>> ids_;
  std::unordered_map<TokenId, const std::string*> texts_;  // the keys of ids_
  TokenId max_id_ = -1;
};

// What a model keeps from piece to piece of one text; made by its encoder().
class PieceEncoder {
 public:
  virtual ~PieceEncoder() = default;
  // Appends the tokens of a piece. Requires: valid UTF-8.
  virtual void encode(std::string_view piece, std::vector<TokenId>& out) = 0;
};

class VocabularyModel {
 public:
  virtual ~VocabularyModel() = default;
  const Vocabulary& vocabulary() const { return vocabulary_; }
  // For one text, on one thread.
  virtual std::unique_ptr<PieceEncoder> encoder() const = 0;

 protected:
  Vocabulary vocabulary_;
};

// The object under "model". Errors: kCorrupt, kUnsupported, naming the place.
Result<std::unique_ptr<VocabularyModel>> read_model(const JsonNode& node);

// The parts of read_model, one for each type.
Result<std::unique_ptr<VocabularyModel>> read_bpe(const JsonNode& node);
Result<std::unique_ptr<VocabularyModel>> read_unigram(const JsonNode& node);
Result<std::unique_ptr<VocabularyModel>> read_word_piece(const JsonNode& node);
Result<std::unique_ptr<VocabularyModel>> read_word_level(const JsonNode& node);

// The object {token: id} under "vocab", added to `vocabulary`.
Status read_vocabulary(const JsonNode& node, Vocabulary& vocabulary);

}  // namespace kvasir::tokenizer
