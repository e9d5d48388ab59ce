// Byte-pair encoding (Sennrich et al. 2016): characters, joined pair by pair, the pair of lowest rank first.

#include <algorithm>
#include <array>
#include <bit>
#include <queue>

#include "tokenizer/byte_token.h"
#include "tokenizer/model.h"
#include "tokenizer/unicode.h"

namespace kvasir::tokenizer {
namespace {

struct Merge {
  std::int32_t rank = 0;
  TokenId token = 0;  // what the pair becomes
};

// Merges by pair: open addressing, because every second lookup misses and there is one for each character.
class MergeTable {
 public:
  explicit MergeTable(std::size_t size) : slots_(std::bit_ceil(2 * size + 2)) {}

  // A pair that occurs again keeps its last rank, as in the reference.
  void insert(TokenId a, TokenId b, Merge merge) {
    Slot& slot = slots_[find_slot(key(a, b))];
    slot = {key(a, b), merge};
  }

  const Merge* find(TokenId a, TokenId b) const {
    const Slot& slot = slots_[find_slot(key(a, b))];
    return slot.key == kEmpty ? nullptr : &slot.merge;
  }

 private:
  static constexpr std::uint64_t kEmpty = ~std::uint64_t{0};
  struct Slot {
    std::uint64_t key = kEmpty;
    Merge merge;
  };

  static std::uint64_t key(TokenId a, TokenId b) {
    return static_cast<std::uint64_t>(static_cast<std::uint32_t>(a)) << 32 | static_cast<std::uint32_t>(b);
  }
  std::size_t find_slot(std::uint64_t key) const {
    const std::size_t mask = slots_.size() - 1;
    std::size_t at = (key * 0x9e3779b97f4a7c15u) >> 20 & mask;
    while (slots_[at].key != kEmpty && slots_[at].key != key) at = (at + 1) & mask;
    return at;
  }

  std::vector<Slot> slots_;
};

// A token of a word under construction, in a list: joined ones point past what they have swallowed.
struct Symbol {
  TokenId token;
  std::int32_t previous, next;  // -1: none
  bool is_alive;
};

class Bpe final : public VocabularyModel {
 public:
  static Result<std::unique_ptr<VocabularyModel>> read(const JsonNode& node);
  std::unique_ptr<PieceEncoder> encoder() const override;

 private:
  class Encoder;

  Status read_merges(const JsonNode& node);
  void find_word_starts();

  MergeTable merges_{0};
  std::string prefix_, suffix_;  // of tokens inside, and at the end of a word
  std::optional<TokenId> unk_;
  bool fuse_unk_ = false, byte_fallback_ = false, ignore_merges_ = false;
  std::array<std::optional<TokenId>, 256> byte_tokens_;
  std::array<std::optional<TokenId>, 0x300> short_characters_;  // tokens of one character below U+0300
  // Whether no token has "▁" after another character: then a text falls into words there, as if it had been
  // split.
  bool splits_at_word_starts_ = false;
};

constexpr std::string_view kWordStart = "\xE2\x96\x81";

class Bpe::Encoder final : public PieceEncoder {
 public:
  explicit Encoder(const Bpe& model) : model_(model) {}

  void encode(std::string_view piece, std::vector<TokenId>& out) override {
    if (model_.ignore_merges_) {
      if (const auto id = model_.vocabulary_.find(piece)) {
        out.push_back(*id);
        return;
      }
    }
    if (!model_.splits_at_word_starts_) return encode_word(piece, out);
    while (!piece.empty()) {
      std::size_t end = piece.find_first_not_of(kWordStart);  // after the bytes of leading marks
      end = piece.find(kWordStart, end == piece.npos ? piece.size() : end);
      const std::string_view word = piece.substr(0, end);
      encode_word(word, out);
      piece.remove_prefix(word.size());
    }
  }

 private:
  // Words repeat: what a word has become is kept.
  void encode_word(std::string_view word, std::vector<TokenId>& out) {
    constexpr std::size_t kMaxCachedBytes = 64, kMaxCachedWords = 1 << 16;
    if (word.size() > kMaxCachedBytes) {
      merge_word(word);
      append_symbols(out);
      return;
    }
    const auto known = words_.find(word);
    if (known != words_.end()) {
      out.insert(out.end(), known->second.begin(), known->second.end());
      return;
    }
    const std::size_t first = out.size();
    merge_word(word);
    append_symbols(out);
    if (words_.size() < kMaxCachedWords)
      words_.emplace(word, std::vector<TokenId>(out.begin() + first, out.end()));
  }

  void add(TokenId token) {
    const auto at = static_cast<std::int32_t>(symbols_.size());
    if (at > 0) symbols_[at - 1].next = at;
    symbols_.push_back({token, at - 1, -1, true});
  }

  std::optional<TokenId> find_character(std::string_view word, std::size_t begin, std::size_t end) {
    const bool has_prefix = begin > 0 && !model_.prefix_.empty();
    const bool has_suffix = end == word.size() && !model_.suffix_.empty();
    if (!has_prefix && !has_suffix) {
      const char32_t character = decode_at(word, begin).character;
      if (character < model_.short_characters_.size()) return model_.short_characters_[character];
      return model_.vocabulary_.find(word.substr(begin, end - begin));
    }
    text_.clear();
    if (has_prefix) text_ += model_.prefix_;
    text_ += word.substr(begin, end - begin);
    if (has_suffix) text_ += model_.suffix_;
    return model_.vocabulary_.find(text_);
  }

  // The tokens of the bytes, when there is one for each.
  bool add_bytes(std::string_view bytes) {
    for (const char byte : bytes) {
      if (!model_.byte_tokens_[static_cast<unsigned char>(byte)]) return false;
    }
    for (const char byte : bytes) add(*model_.byte_tokens_[static_cast<unsigned char>(byte)]);
    return true;
  }

  void split_into_characters(std::string_view word) {
    symbols_.clear();
    bool unk_pending = false;
    for (std::size_t begin = 0; begin < word.size();) {
      const std::size_t end = decode_at(word, begin).end;
      if (const auto id = find_character(word, begin, end)) {
        if (unk_pending) add(*model_.unk_);
        unk_pending = false;
        add(*id);
      } else if (!(model_.byte_fallback_ && add_bytes(word.substr(begin, end - begin))) && model_.unk_) {
        if (unk_pending && !model_.fuse_unk_) add(*model_.unk_);
        unk_pending = true;
      }
      begin = end;
    }
    if (unk_pending) add(*model_.unk_);
  }

  void merge_word(std::string_view word) {
    split_into_characters(word);
    queue_.clear();
    for (std::size_t i = 0; i + 1 < symbols_.size(); ++i) add_candidate(static_cast<std::int32_t>(i));
    std::make_heap(queue_.begin(), queue_.end(), comes_later);
    while (!queue_.empty()) {
      std::pop_heap(queue_.begin(), queue_.end(), comes_later);
      const Candidate best = queue_.back();
      queue_.pop_back();
      Symbol& left = symbols_[best.at];
      if (!left.is_alive || left.next < 0) continue;
      Symbol& right = symbols_[left.next];
      const Merge* merge = model_.merges_.find(left.token, right.token);
      if (merge == nullptr || merge->token != best.token) continue;  // its symbols have changed since
      left.token = merge->token;
      left.next = right.next;
      right.is_alive = false;
      if (left.next >= 0) symbols_[left.next].previous = best.at;
      if (left.previous >= 0) push(left.previous);
      push(best.at);
    }
  }

  struct Candidate {
    std::int32_t rank, at;
    TokenId token;
  };
  static bool comes_later(const Candidate& a, const Candidate& b) {
    return a.rank != b.rank ? a.rank > b.rank : a.at > b.at;
  }

  // Appends the pair that begins at `at` when it can be joined.
  bool add_candidate(std::int32_t at) {
    const Symbol& left = symbols_[at];
    if (left.next < 0) return false;
    const Merge* merge = model_.merges_.find(left.token, symbols_[left.next].token);
    if (merge == nullptr) return false;
    queue_.push_back({merge->rank, at, merge->token});
    return true;
  }

  void push(std::int32_t at) {
    if (add_candidate(at)) std::push_heap(queue_.begin(), queue_.end(), comes_later);
  }

  void append_symbols(std::vector<TokenId>& out) const {
    for (const Symbol& symbol : symbols_) {
      if (symbol.is_alive) out.push_back(symbol.token);
    }
  }

  struct Hash {
    using is_transparent = void;
    std::size_t operator()(std::string_view text) const { return std::hash<std::string_view>()(text); }
  };

  const Bpe& model_;
  std::unordered_map<std::string, std::vector<TokenId>, Hash, std::equal_to<>> words_;
  std::vector<Symbol> symbols_;
  std::vector<Candidate> queue_;  // a heap
  std::string text_;
};

std::unique_ptr<PieceEncoder> Bpe::encoder() const {
  return std::make_unique<Encoder>(*this);
}

Result<std::unique_ptr<VocabularyModel>> Bpe::read(const JsonNode& node) {
  auto model = std::make_unique<Bpe>();
  KVASIR_RETURN_IF_ERROR(read_vocabulary(node, model->vocabulary_));
  KVASIR_ASSIGN_OR_RETURN(model->prefix_, node.text("continuing_subword_prefix", ""));
  KVASIR_ASSIGN_OR_RETURN(model->suffix_, node.text("end_of_word_suffix", ""));
  KVASIR_ASSIGN_OR_RETURN(model->fuse_unk_, node.boolean("fuse_unk", false));
  KVASIR_ASSIGN_OR_RETURN(model->byte_fallback_, node.boolean("byte_fallback", false));
  KVASIR_ASSIGN_OR_RETURN(model->ignore_merges_, node.boolean("ignore_merges", false));
  if (node.has("dropout") && node.value()["dropout"] != 0) return node.unsupported("option", "dropout");
  if (node.has("unk_token")) {
    KVASIR_ASSIGN_OR_RETURN(const std::string unk, node.text("unk_token"));
    model->unk_ = model->vocabulary_.find(unk);
    if (!model->unk_) return node.corrupt("a token of the vocabulary", "unk_token");
  }
  for (int byte = 0; byte < 256; ++byte) {
    model->byte_tokens_[byte] = model->vocabulary_.find(to_byte_token(static_cast<unsigned char>(byte)));
  }
  for (char32_t c = 0; c < model->short_characters_.size(); ++c) {
    std::string text;
    append(text, c);
    model->short_characters_[c] = model->vocabulary_.find(text);
  }
  KVASIR_RETURN_IF_ERROR(model->read_merges(node));
  model->find_word_starts();
  return std::unique_ptr<VocabularyModel>(std::move(model));
}

Status Bpe::read_merges(const JsonNode& node) {
  KVASIR_ASSIGN_OR_RETURN(const JsonNode list, node.array("merges"));
  merges_ = MergeTable(list.value().size());
  std::int32_t rank = 0;
  for (const auto& merge : list.value()) {
    // ["a", "b"], or in older files "a b".
    std::string_view left, right;
    if (merge.is_array() && merge.size() == 2 && merge[0].is_string() && merge[1].is_string()) {
      left = merge[0].get_ref<const std::string&>();
      right = merge[1].get_ref<const std::string&>();
    } else if (merge.is_string()) {
      const std::string_view text = merge.get_ref<const std::string&>();
      const std::size_t space = text.find(' ');
      if (space != text.npos) {
        left = text.substr(0, space);
        right = text.substr(space + 1);
      }
    }
    const auto a = vocabulary_.find(left), b = vocabulary_.find(right);
    const std::string_view inside = right.starts_with(prefix_) ? right.substr(prefix_.size()) : right;
    const auto joined = vocabulary_.find(std::string(left) + std::string(inside));
    if (!a || !b || !joined) {
      return error(StatusCode::kCorrupt, "{}[{}]: expected two tokens of the vocabulary that join to a third",
                   list.where(), rank);
    }
    merges_.insert(*a, *b, {rank++, *joined});
  }
  return Status();
}

void Bpe::find_word_starts() {
  splits_at_word_starts_ = vocabulary_.find(kWordStart).has_value() && prefix_.empty() && suffix_.empty();
  for (TokenId id = 0; splits_at_word_starts_ && id <= vocabulary_.max_id(); ++id) {
    const std::string* text = vocabulary_.text(id);
    if (text == nullptr) continue;
    std::size_t end = 0;
    while (text->compare(end, kWordStart.size(), kWordStart) == 0) end += kWordStart.size();
    splits_at_word_starts_ = text->find(kWordStart, end) == text->npos;
  }
}

}  // namespace

Result<std::unique_ptr<VocabularyModel>> read_bpe(const JsonNode& node) {
  return Bpe::read(node);
}

}  // namespace kvasir::tokenizer
