#include "tokenizer/model.h"

#include "tokenizer/unicode.h"

namespace kvasir::tokenizer {
namespace {

// Words as a whole, or the unknown token.
class WordLevel final : public VocabularyModel {
 public:
  static Result<std::unique_ptr<VocabularyModel>> read(const JsonNode& node) {
    auto model = std::make_unique<WordLevel>();
    KVASIR_RETURN_IF_ERROR(read_vocabulary(node, model->vocabulary_));
    KVASIR_ASSIGN_OR_RETURN(const std::string unk, node.text("unk_token", ""));
    model->unk_ = model->vocabulary_.find(unk);
    return std::unique_ptr<VocabularyModel>(std::move(model));
  }

  std::unique_ptr<PieceEncoder> encoder() const override { return std::make_unique<Encoder>(*this); }

 private:
  struct Encoder final : PieceEncoder {
    explicit Encoder(const WordLevel& model) : model(model) {}
    void encode(std::string_view piece, std::vector<TokenId>& out) override {
      const auto id = model.vocabulary_.find(piece);
      if (id || model.unk_) out.push_back(id ? *id : *model.unk_);
    }
    const WordLevel& model;
  };

  std::optional<TokenId> unk_;
};

// The longest beginning that is a token, again and again (Wu et al. 2016); a word that cannot be covered is
// unknown.
class WordPiece final : public VocabularyModel {
 public:
  static Result<std::unique_ptr<VocabularyModel>> read(const JsonNode& node) {
    auto model = std::make_unique<WordPiece>();
    KVASIR_RETURN_IF_ERROR(read_vocabulary(node, model->vocabulary_));
    KVASIR_ASSIGN_OR_RETURN(const std::string unk, node.text("unk_token", "[UNK]"));
    KVASIR_ASSIGN_OR_RETURN(model->prefix_, node.text("continuing_subword_prefix", "##"));
    KVASIR_ASSIGN_OR_RETURN(model->max_characters_, node.count("max_input_chars_per_word", 100));
    const auto unk_id = model->vocabulary_.find(unk);
    if (!unk_id) return node.corrupt("a token of the vocabulary", "unk_token");
    model->unk_ = *unk_id;
    return std::unique_ptr<VocabularyModel>(std::move(model));
  }

  std::unique_ptr<PieceEncoder> encoder() const override { return std::make_unique<Encoder>(*this); }

 private:
  struct Encoder final : PieceEncoder {
    explicit Encoder(const WordPiece& model) : model(model) {}

    void encode(std::string_view piece, std::vector<TokenId>& out) override {
      const std::size_t first = out.size();
      bool is_covered = num_characters(piece) <= static_cast<std::size_t>(model.max_characters_);
      for (std::size_t at = 0; is_covered && at < piece.size();) {
        std::optional<TokenId> id;
        std::size_t end = piece.size();
        for (; end > at; end = previous(piece, end)) {
          candidate = at > 0 ? model.prefix_ : "";
          candidate += piece.substr(at, end - at);
          if ((id = model.vocabulary_.find(candidate))) break;
        }
        is_covered = id.has_value();
        if (id) out.push_back(*id);
        at = end;
      }
      if (is_covered) return;
      out.resize(first);
      out.push_back(model.unk_);
    }

    const WordPiece& model;
    std::string candidate;
  };

  std::string prefix_;
  int max_characters_ = 0;
  TokenId unk_ = 0;
};

}  // namespace

Status Vocabulary::add(const JsonNode& where, std::string_view token, TokenId id) {
  const auto [place, is_new] = ids_.emplace(token, id);
  if (!is_new || !texts_.emplace(id, &place->first).second) {
    return error(StatusCode::kCorrupt, "{}: token id {} or its text occurs twice", where.where(), id);
  }
  max_id_ = std::max(max_id_, id);
  return Status();
}

Status read_vocabulary(const JsonNode& node, Vocabulary& vocabulary) {
  KVASIR_ASSIGN_OR_RETURN(const JsonNode vocab, node.object("vocab"));
  for (const auto& [token, id] : vocab.value().items()) {
    if (!id.is_number_unsigned() || id.get<std::uint64_t>() > INT32_MAX) {
      return error(StatusCode::kCorrupt, "{}: expected token ids, got {}", vocab.where(), id.type_name());
    }
    KVASIR_RETURN_IF_ERROR(vocabulary.add(vocab, token, id.get<TokenId>()));
  }
  return Status();
}

Result<std::unique_ptr<VocabularyModel>> read_word_piece(const JsonNode& node) {
  return WordPiece::read(node);
}

Result<std::unique_ptr<VocabularyModel>> read_word_level(const JsonNode& node) {
  return WordLevel::read(node);
}

Result<std::unique_ptr<VocabularyModel>> read_model(const JsonNode& node) {
  // Files of older versions do not name the type: what they have tells.
  std::string guess = "WordLevel";
  if (node.has("merges")) {
    guess = "BPE";
  } else if (node.has("vocab") && node.value()["vocab"].is_array()) {
    guess = "Unigram";
  } else if (node.has("continuing_subword_prefix")) {
    guess = "WordPiece";
  }
  KVASIR_ASSIGN_OR_RETURN(const std::string type, node.text("type", guess));
  if (type == "BPE") return read_bpe(node);
  if (type == "Unigram") return read_unigram(node);
  if (type == "WordPiece") return read_word_piece(node);
  if (type == "WordLevel") return read_word_level(node);
  return node.unsupported("model", type);
}

}  // namespace kvasir::tokenizer
