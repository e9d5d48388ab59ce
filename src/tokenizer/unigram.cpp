// The unigram language model (Kudo 2018): the most probable segmentation, found by Viterbi's algorithm.

#include <algorithm>
#include <limits>

#include "tokenizer/byte_token.h"
#include "tokenizer/model.h"
#include "tokenizer/regex.h"
#include "tokenizer/unicode.h"

namespace kvasir::tokenizer {
namespace {

constexpr std::int32_t kNone = -1;

// Byte strings, for all beginnings of a text at once. Children are found by (node, byte) in a hash table.
class Trie {
 public:
  void insert(std::string_view text, TokenId token) {
    std::int32_t node = 0;
    for (const char byte : text) {
      const auto [place, is_new] =
          children_.emplace(key(node, byte), static_cast<std::int32_t>(tokens_.size()));
      if (is_new) tokens_.push_back(kNone);
      node = place->second;
    }
    tokens_[node] = token;
  }

  // Calls found(length, token) for each string that `text` begins with, the shortest first.
  template <typename Found>
  void for_each_prefix(std::string_view text, const Found& found) const {
    std::int32_t node = 0;
    for (std::size_t i = 0; i < text.size(); ++i) {
      const auto child = children_.find(key(node, text[i]));
      if (child == children_.end()) return;
      node = child->second;
      if (tokens_[node] != kNone) found(i + 1, tokens_[node]);
    }
  }

 private:
  static std::uint64_t key(std::int32_t node, char byte) {
    return static_cast<std::uint64_t>(node) << 8 | static_cast<unsigned char>(byte);
  }
  struct Hash {
    std::size_t operator()(std::uint64_t key) const { return (key * 0x9e3779b97f4a7c15u) >> 16; }
  };

  std::unordered_map<std::uint64_t, std::int32_t, Hash> children_;
  std::vector<TokenId> tokens_ = {kNone};  // by node
};

class Unigram final : public VocabularyModel {
 public:
  static Result<std::unique_ptr<VocabularyModel>> read(const JsonNode& node);
  std::unique_ptr<PieceEncoder> encoder() const override { return std::make_unique<Encoder>(*this); }

 private:
  // The best way to a place in the text: its last token and where that begins.
  struct Step {
    double score = 0;
    std::size_t begin = 0;
    TokenId token = kNone;  // kNone with `reached`: unknown
    bool reached = false;
  };

  struct Encoder final : PieceEncoder {
    explicit Encoder(const Unigram& model) : model(model) {}
    void encode(std::string_view piece, std::vector<TokenId>& out) override;
    void add_unknown(std::string_view text, std::vector<TokenId>& out) const;

    const Unigram& model;
    std::vector<Step> steps;  // by the place that they end at
  };

  Trie trie_;
  std::vector<double> scores_;  // by id
  double unk_score_ = 0;
  std::optional<TokenId> unk_;
  bool byte_fallback_ = false;
};

void Unigram::Encoder::encode(std::string_view piece, std::vector<TokenId>& out) {
  steps.assign(piece.size() + 1, Step());
  const auto reach = [&](std::size_t end, Step step) {
    step.reached = true;
    if (!steps[end].reached || step.score > steps[end].score) steps[end] = step;
  };
  for (std::size_t begin = 0; begin < piece.size();) {
    const double score = steps[begin].score;
    const std::size_t next = decode_at(piece, begin).end;
    bool has_character = false;
    model.trie_.for_each_prefix(piece.substr(begin), [&](std::size_t length, TokenId token) {
      reach(begin + length, {score + model.scores_[token], begin, token});
      has_character |= begin + length == next;
    });
    if (!has_character) reach(next, {score + model.unk_score_, begin, kNone});
    begin = next;
  }
  // Back from the end; neighbouring unknown characters are one.
  std::vector<std::pair<Range, TokenId>> path;
  for (std::size_t end = piece.size(); end > 0; end = steps[end].begin) {
    const Step& step = steps[end];
    const bool is_unknown = step.token == kNone || step.token == model.unk_;
    if (is_unknown && !path.empty() && path.back().second == kNone) {
      path.back().first.begin = step.begin;
    } else {
      path.push_back({{step.begin, end}, is_unknown ? kNone : step.token});
    }
  }
  std::reverse(path.begin(), path.end());
  for (const auto& [range, token] : path) {
    if (token != kNone) {
      out.push_back(token);
    } else {
      add_unknown(piece.substr(range.begin, range.end - range.begin), out);
    }
  }
}

void Unigram::Encoder::add_unknown(std::string_view text, std::vector<TokenId>& out) const {
  if (const auto id = model.vocabulary_.find(text)) {
    out.push_back(*id);
    return;
  }
  if (model.byte_fallback_) {
    const std::size_t first = out.size();
    for (const char byte : text) {
      const auto id = model.vocabulary_.find(to_byte_token(static_cast<unsigned char>(byte)));
      if (!id) break;
      out.push_back(*id);
    }
    if (out.size() - first == text.size()) return;
    out.resize(first);
  }
  if (model.unk_) out.push_back(*model.unk_);
}

Result<std::unique_ptr<VocabularyModel>> Unigram::read(const JsonNode& node) {
  constexpr double kUnkPenalty = 10;  // below the least probable token, as SentencePiece has it
  auto model = std::make_unique<Unigram>();
  KVASIR_ASSIGN_OR_RETURN(const JsonNode list, node.array("vocab"));
  double least = std::numeric_limits<double>::max();
  for (std::size_t i = 0; i < list.value().size(); ++i) {
    const JsonNode entry = list.at(i);
    const nlohmann::json& pair = entry.value();
    if (!pair.is_array() || pair.size() != 2 || !pair[0].is_string() || !pair[1].is_number()) {
      return entry.corrupt("[token, score]");
    }
    const std::string& token = pair[0].get_ref<const std::string&>();
    const auto id = static_cast<TokenId>(i);
    // A token may be listed twice; the last one is found by its text, as in the reference.
    if (!model->vocabulary_.find(token)) KVASIR_RETURN_IF_ERROR(model->vocabulary_.add(entry, token, id));
    if (!token.empty()) model->trie_.insert(token, id);
    model->scores_.push_back(pair[1].get<double>());
    least = std::min(least, model->scores_.back());
  }
  if (node.has("unk_id")) {
    KVASIR_ASSIGN_OR_RETURN(const int unk, node.count("unk_id"));
    if (static_cast<std::size_t>(unk) >= model->scores_.size())
      return node.corrupt("an id of the vocabulary", "unk_id");
    model->unk_ = unk;
  }
  KVASIR_ASSIGN_OR_RETURN(model->byte_fallback_, node.boolean("byte_fallback", false));
  model->unk_score_ = least - kUnkPenalty;
  return std::unique_ptr<VocabularyModel>(std::move(model));
}

}  // namespace

Result<std::unique_ptr<VocabularyModel>> read_unigram(const JsonNode& node) {
  return Unigram::read(node);
}

}  // namespace kvasir::tokenizer
