#include "tokenizer/pre_tokenizer.h"

#include <algorithm>
#include <optional>
#include <unordered_map>
#include <utility>

#include "tokenizer/byte_alphabet.h"
#include "tokenizer/metaspace.h"
#include "tokenizer/regex.h"
#include "tokenizer/replace.h"
#include "tokenizer/script.h"
#include "tokenizer/unicode.h"

namespace kvasir::tokenizer {
namespace {

// What becomes of the matches of a pattern.
enum class Behavior {
  kRemoved,             // dropped
  kIsolated,            // pieces of their own
  kMergedWithPrevious,  // joined to the piece before
  kMergedWithNext,      // joined to the piece after
  kContiguous,          // neighbours joined to one piece
};

Result<Behavior> read_behavior(const JsonNode& node, std::optional<std::string> fallback = std::nullopt) {
  constexpr std::pair<const char*, Behavior> kNames[] = {
      {"Removed", Behavior::kRemoved},
      {"Isolated", Behavior::kIsolated},
      {"MergedWithPrevious", Behavior::kMergedWithPrevious},
      {"MergedWithNext", Behavior::kMergedWithNext},
      {"Contiguous", Behavior::kContiguous}};
  KVASIR_ASSIGN_OR_RETURN(const std::string name, node.text("behavior", std::move(fallback)));
  for (const auto& [known, behavior] : kNames) {
    if (name == known) return behavior;
  }
  return node.unsupported("behavior", name);
}

struct Part {
  Range range;
  bool is_match;
};

// The matches and what lies between them.
std::vector<Part> to_parts(std::size_t size, const std::vector<Range>& matches) {
  std::vector<Part> parts;
  parts.reserve(2 * matches.size() + 1);
  std::size_t at = 0;
  for (const Range& match : matches) {
    if (match.begin > at) parts.push_back({{at, match.begin}, false});
    parts.push_back({match, true});
    at = match.end;
  }
  if (at < size) parts.push_back({{at, size}, false});
  return parts;
}

// The characters for which `is_match` holds, each as a match.
template <typename Predicate>
std::vector<Part> parts_by_character(std::string_view text, const Predicate& is_match) {
  std::vector<Range> matches;
  for (std::size_t at = 0; at < text.size();) {
    const Decoded decoded = decode_at(text, at);
    if (is_match(decoded.character)) matches.push_back({at, decoded.end});
    at = decoded.end;
  }
  return to_parts(text.size(), matches);
}

// Whether two neighbours become one piece.
bool are_joined(const std::vector<Part>& parts, std::size_t right, Behavior behavior) {
  const bool a = parts[right - 1].is_match, b = parts[right].is_match;
  switch (behavior) {
    case Behavior::kMergedWithPrevious:
      return !a && b;
    case Behavior::kMergedWithNext:
      return a && !b;
    case Behavior::kContiguous:
      return a == b;
    case Behavior::kRemoved:
    case Behavior::kIsolated:
      return false;
  }
  return false;
}

void append_pieces(const Piece& piece, const std::vector<Part>& parts, Behavior behavior,
                   std::vector<Piece>& out) {
  for (std::size_t i = 0; i < parts.size(); ++i) {
    const std::size_t begin = parts[i].range.begin;
    while (i + 1 < parts.size() && are_joined(parts, i + 1, behavior)) ++i;
    if (behavior == Behavior::kRemoved && parts[i].is_match) continue;
    out.push_back({piece.text.substr(begin, parts[i].range.end - begin), piece.begins_input && begin == 0});
  }
}

class PatternSplit final : public PreTokenizer {
 public:
  PatternSplit(Regex pattern, Behavior behavior, bool invert)
      : pattern_(std::move(pattern)), behavior_(behavior), invert_(invert) {}

  void split(Piece piece, std::vector<Piece>& out) const override {
    std::vector<Part> parts = to_parts(piece.text.size(), pattern_.find_all(piece.text));
    if (invert_) {
      for (Part& part : parts) part.is_match = !part.is_match;
    }
    append_pieces(piece, parts, behavior_, out);
  }

 private:
  Regex pattern_;
  Behavior behavior_;
  bool invert_;
};

template <typename Predicate>
class CharacterSplit final : public PreTokenizer {
 public:
  CharacterSplit(Predicate is_match, Behavior behavior)
      : is_match_(std::move(is_match)), behavior_(behavior) {}

  void split(Piece piece, std::vector<Piece>& out) const override {
    append_pieces(piece, parts_by_character(piece.text, is_match_), behavior_, out);
  }

 private:
  Predicate is_match_;
  Behavior behavior_;
};

template <typename Predicate>
std::unique_ptr<PreTokenizer> character_split(Predicate is_match, Behavior behavior) {
  return std::make_unique<CharacterSplit<Predicate>>(std::move(is_match), behavior);
}

class ByteLevel final : public PreTokenizer {
 public:
  ByteLevel(bool add_prefix_space, std::optional<Regex> words)
      : add_prefix_space_(add_prefix_space), words_(std::move(words)) {}

  void split(Piece piece, std::vector<Piece>& out) const override {
    if (add_prefix_space_ && !piece.text.starts_with(' ')) piece.text.insert(0, " ");
    const std::size_t first = out.size();
    if (words_) {
      append_pieces(piece, to_parts(piece.text.size(), words_->find_all(piece.text)), Behavior::kIsolated,
                    out);
    } else {
      out.push_back(std::move(piece));
    }
    for (std::size_t i = first; i < out.size(); ++i) out[i].text = to_byte_alphabet(out[i].text);
  }

 private:
  bool add_prefix_space_;
  std::optional<Regex> words_;
};

class MetaspaceSplit final : public PreTokenizer {
 public:
  MetaspaceSplit(Metaspace metaspace, bool splits) : metaspace_(std::move(metaspace)), splits_(splits) {}

  void split(Piece piece, std::vector<Piece>& out) const override {
    std::string text;
    for (const char c : piece.text) {
      if (c == ' ') {
        text += metaspace_.replacement;
      } else {
        text += c;
      }
    }
    const bool prepends = metaspace_.scheme == PrependScheme::kAlways ||
                          (metaspace_.scheme == PrependScheme::kFirst && piece.begins_input);
    if (prepends && !text.starts_with(metaspace_.replacement)) text.insert(0, metaspace_.replacement);
    piece.text = std::move(text);
    if (!splits_) {
      out.push_back(std::move(piece));
      return;
    }
    const std::vector<Range> matches = Regex::literal(metaspace_.replacement).find_all(piece.text);
    append_pieces(piece, to_parts(piece.text.size(), matches), Behavior::kMergedWithNext, out);
  }

 private:
  Metaspace metaspace_;
  bool splits_;
};

class FixedLength final : public PreTokenizer {
 public:
  explicit FixedLength(int length) : length_(length) {}

  void split(Piece piece, std::vector<Piece>& out) const override {
    for (std::size_t at = 0; at < piece.text.size();) {
      std::size_t end = at;
      for (int i = 0; i < length_ && end < piece.text.size(); ++i) end = decode_at(piece.text, end).end;
      out.push_back({piece.text.substr(at, end - at), piece.begins_input && at == 0});
      at = end;
    }
  }

 private:
  int length_;
};

// Cuts where the script changes; a space belongs to what is before it, and is dropped where there is nothing,
// as in the reference.
class UnicodeScripts final : public PreTokenizer {
 public:
  explicit UnicodeScripts(Scripts scripts) : scripts_(std::move(scripts)) {}

  void split(Piece piece, std::vector<Piece>& out) const override {
    std::unordered_map<char32_t, int> known;
    std::optional<int> last;
    std::size_t begin = 0;
    for (std::size_t at = 0; at < piece.text.size();) {
      const Decoded decoded = decode_at(piece.text, at);
      const auto [place, is_new] = known.emplace(decoded.character, Scripts::kAny);
      if (is_new && decoded.character != ' ') place->second = scripts_.of(decoded.character);
      const int script = place->second;
      if (script != Scripts::kAny) {
        if (last && *last != script) {
          out.push_back({piece.text.substr(begin, at - begin), piece.begins_input && begin == 0});
        }
        if (last != script) begin = at;
        last = script;
      }
      at = decoded.end;
    }
    if (last) out.push_back({piece.text.substr(begin), piece.begins_input && begin == 0});
  }

 private:
  Scripts scripts_;
};

class Sequence final : public PreTokenizer {
 public:
  explicit Sequence(std::vector<std::unique_ptr<PreTokenizer>> parts) : parts_(std::move(parts)) {}

  void split(Piece piece, std::vector<Piece>& out) const override {
    std::vector<Piece> pieces;
    pieces.push_back(std::move(piece));
    for (const auto& part : parts_) {
      std::vector<Piece> next;
      for (Piece& each : pieces) part->split(std::move(each), next);
      std::erase_if(next, [](const Piece& each) { return each.text.empty(); });
      pieces = std::move(next);
    }
    std::move(pieces.begin(), pieces.end(), std::back_inserter(out));
  }

 private:
  std::vector<std::unique_ptr<PreTokenizer>> parts_;
};

template <typename T, typename... Args>
std::unique_ptr<PreTokenizer> make(Args&&... args) {
  return std::make_unique<T>(std::forward<Args>(args)...);
}

Result<std::unique_ptr<PreTokenizer>> read_byte_level(const JsonNode& node) {
  constexpr std::string_view kWords =
      R"('s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+)";
  KVASIR_ASSIGN_OR_RETURN(const bool add_prefix_space, node.boolean("add_prefix_space", true));
  KVASIR_ASSIGN_OR_RETURN(const bool use_regex, node.boolean("use_regex", true));
  std::optional<Regex> words;
  if (use_regex) {
    KVASIR_ASSIGN_OR_RETURN(words, Regex::compile(node.where(), kWords));
  }
  return make<ByteLevel>(add_prefix_space, std::move(words));
}

Result<std::unique_ptr<PreTokenizer>> read_split(const JsonNode& node) {
  KVASIR_ASSIGN_OR_RETURN(Regex pattern, read_pattern(node));
  KVASIR_ASSIGN_OR_RETURN(const Behavior behavior, read_behavior(node));
  KVASIR_ASSIGN_OR_RETURN(const bool invert, node.boolean("invert", false));
  return make<PatternSplit>(std::move(pattern), behavior, invert);
}

}  // namespace

Result<std::unique_ptr<PreTokenizer>> read_pre_tokenizer(const JsonNode& node) {
  KVASIR_ASSIGN_OR_RETURN(const std::string type, node.text("type"));
  if (type == "Sequence") {
    KVASIR_ASSIGN_OR_RETURN(auto parts, node.each("pretokenizers", read_pre_tokenizer));
    return make<Sequence>(std::move(parts));
  }
  if (type == "ByteLevel") return read_byte_level(node);
  if (type == "Split") return read_split(node);
  if (type == "Whitespace") {
    KVASIR_ASSIGN_OR_RETURN(Regex words, Regex::compile(node.where(), R"(\w+|[^\w\s]+)"));
    return make<PatternSplit>(std::move(words), Behavior::kRemoved, true);
  }
  if (type == "WhitespaceSplit") return character_split(is_whitespace, Behavior::kRemoved);
  if (type == "BertPreTokenizer") {
    std::vector<std::unique_ptr<PreTokenizer>> parts;
    parts.push_back(character_split(is_whitespace, Behavior::kRemoved));
    parts.push_back(character_split(is_punctuation, Behavior::kIsolated));
    return make<Sequence>(std::move(parts));
  }
  if (type == "Punctuation") {
    KVASIR_ASSIGN_OR_RETURN(const Behavior behavior, read_behavior(node, "Isolated"));
    return character_split(is_punctuation, behavior);
  }
  if (type == "Digits") {
    KVASIR_ASSIGN_OR_RETURN(const bool individual, node.boolean("individual_digits", false));
    return character_split(is_numeric, individual ? Behavior::kIsolated : Behavior::kContiguous);
  }
  if (type == "CharDelimiterSplit") {
    KVASIR_ASSIGN_OR_RETURN(const std::string delimiter, node.text("delimiter"));
    if (num_characters(delimiter) != 1) return node.corrupt("one character", "delimiter");
    return character_split([c = decode_at(delimiter, 0).character](char32_t other) { return other == c; },
                           Behavior::kRemoved);
  }
  if (type == "Metaspace") {
    KVASIR_ASSIGN_OR_RETURN(Metaspace metaspace, Metaspace::read(node));
    KVASIR_ASSIGN_OR_RETURN(const bool splits, node.boolean("split", true));
    return make<MetaspaceSplit>(std::move(metaspace), splits);
  }
  if (type == "UnicodeScripts") {
    KVASIR_ASSIGN_OR_RETURN(Scripts scripts, Scripts::load());
    return make<UnicodeScripts>(std::move(scripts));
  }
  if (type == "FixedLength") {
    KVASIR_ASSIGN_OR_RETURN(const int length, node.count("length", 5));
    if (length == 0) return node.corrupt("a length above 0", "length");
    return make<FixedLength>(length);
  }
  return node.unsupported("pre-tokenizer", type);
}

}  // namespace kvasir::tokenizer
