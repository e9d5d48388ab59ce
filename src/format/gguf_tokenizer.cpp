#include "format/gguf_tokenizer.h"

#include <algorithm>
#include <nlohmann/json.hpp>
#include <unordered_map>

#include "base/json.h"
#include "format/gguf_pre_tokenizer.h"
#include "format/printable.h"

namespace kvasir::format {
namespace {

using nlohmann::json;

constexpr std::string_view kMark = "\xE2\x96\x81";  // "▁", SentencePiece's space
// Of the squared lengths of tokens, which is what deriving merges costs: a second.
constexpr std::uint64_t kMaxMergeWork = std::uint64_t{1} << 28;

// The numbers of tokenizer.ggml.token_type.
enum class TokenType { kNormal = 1, kUnknown, kControl, kUserDefined, kUnused, kByte };

struct Vocabulary {
  std::vector<std::string_view> tokens;
  std::vector<TokenType> types;
  std::vector<double> scores;  // empty: none in the file
  std::unordered_map<std::string_view, std::size_t> ids;
};

bool is_added(TokenType type) {
  return type == TokenType::kControl || type == TokenType::kUserDefined || type == TokenType::kUnknown;
}

bool is_utf8(std::string_view text) {
  try {
    static_cast<void>(json(text).dump());
    return true;
  } catch (const json::exception&) {
    return false;
  }
}

Result<Vocabulary> read_vocabulary(const GgufMetadata& metadata) {
  Vocabulary vocabulary;
  KVASIR_ASSIGN_OR_RETURN(vocabulary.tokens, metadata.texts("tokenizer.ggml.tokens"));
  const std::size_t count = vocabulary.tokens.size();
  vocabulary.types.assign(count, TokenType::kNormal);
  const auto wrong_size = [&](std::string_view key, std::size_t size) {
    return error(StatusCode::kCorrupt, "{}: key '{}': has {} elements, expected one for each of {} tokens",
                 metadata.file(), key, size, count);
  };
  if (metadata.has("tokenizer.ggml.token_type")) {
    KVASIR_ASSIGN_OR_RETURN(const auto types, metadata.numbers("tokenizer.ggml.token_type"));
    if (types.size() != count) return wrong_size("tokenizer.ggml.token_type", types.size());
    for (std::size_t i = 0; i < count; ++i) {
      const bool is_known = types[i] >= 1 && types[i] <= 6;
      vocabulary.types[i] = is_known ? static_cast<TokenType>(types[i]) : TokenType::kNormal;
    }
  }
  if (metadata.has("tokenizer.ggml.scores")) {
    KVASIR_ASSIGN_OR_RETURN(vocabulary.scores, metadata.numbers("tokenizer.ggml.scores"));
    if (vocabulary.scores.size() != count)
      return wrong_size("tokenizer.ggml.scores", vocabulary.scores.size());
  }
  vocabulary.ids.reserve(count);
  for (std::size_t i = 0; i < count; ++i) {
    const std::string_view token = vocabulary.tokens[i];
    if (!is_utf8(token)) {
      return error(StatusCode::kCorrupt, "{}: key 'tokenizer.ggml.tokens': token {}: expected UTF-8",
                   metadata.file(), i);
    }
    const auto [place, is_new] = vocabulary.ids.emplace(token, i);
    if (!is_new) {
      return error(StatusCode::kCorrupt, "{}: key 'tokenizer.ggml.tokens': tokens {} and {} are both '{}'",
                   metadata.file(), place->second, i, printable(token));
    }
  }
  return vocabulary;
}

// A special token's id under tokenizer.ggml.<name>_token_id; without the key `fallback`, -1 for none.
Result<std::int64_t> special_id(const GgufMetadata& metadata, std::string_view name, std::size_t num_tokens,
                                std::int64_t fallback) {
  const auto most = static_cast<std::int64_t>(num_tokens) - 1;
  return metadata.integer(fmt::format("tokenizer.ggml.{}_token_id", name), 0, most,
                          fallback <= most ? fallback : -1);
}

json id_map(const Vocabulary& vocabulary) {
  json ids = json::object();
  for (std::size_t i = 0; i < vocabulary.tokens.size(); ++i) ids[std::string(vocabulary.tokens[i])] = i;
  return ids;
}

json added_tokens(const Vocabulary& vocabulary, bool strips_right) {
  json added = json::array();
  for (std::size_t i = 0; i < vocabulary.tokens.size(); ++i) {
    const TokenType type = vocabulary.types[i];
    const std::string_view token = vocabulary.tokens[i];
    if (!is_added(type) || token.empty()) continue;
    const bool keeps_right = token == "<unk>" || token == "<s>" || token == "<|endoftext|>";
    added.push_back({{"id", i},
                     {"content", token},
                     {"special", type != TokenType::kUserDefined},
                     {"normalized", false},
                     {"lstrip", false},
                     {"rstrip", strips_right && !keeps_right},
                     {"single_word", false}});
  }
  return added;
}

// The post-processor that puts tokens around a text; -1: none.
json frame(const Vocabulary& vocabulary, std::int64_t first, std::int64_t last) {
  json single = json::array(), tokens = json::object();
  const auto add = [&](std::int64_t id) {
    if (id < 0) return;
    const std::string text(vocabulary.tokens[id]);
    single.push_back({{"SpecialToken", {{"id", text}, {"type_id", 0}}}});
    tokens[text] = {{"id", text}, {"ids", {id}}, {"tokens", {text}}};
  };
  add(first);
  single.push_back({{"Sequence", {{"id", "A"}, {"type_id", 0}}}});
  add(last);
  if (tokens.empty()) return nullptr;
  json pair = single;
  pair.push_back({{"Sequence", {{"id", "B"}, {"type_id", 1}}}});
  return {{"type", "TemplateProcessing"}, {"single", single}, {"pair", pair}, {"special_tokens", tokens}};
}

// Begin- and end-of-text as the file says that they are added.
Result<json> read_frame(const GgufMetadata& metadata, const Vocabulary& vocabulary, bool adds_bos,
                        bool adds_eos, std::int64_t bos, std::int64_t eos) {
  KVASIR_ASSIGN_OR_RETURN(adds_bos, metadata.boolean("tokenizer.ggml.add_bos_token", adds_bos));
  KVASIR_ASSIGN_OR_RETURN(adds_eos, metadata.boolean("tokenizer.ggml.add_eos_token", adds_eos));
  const std::size_t count = vocabulary.tokens.size();
  KVASIR_ASSIGN_OR_RETURN(bos, special_id(metadata, "bos", count, bos));
  KVASIR_ASSIGN_OR_RETURN(eos, special_id(metadata, "eos", count, eos));
  return frame(vocabulary, adds_bos ? bos : -1, adds_eos ? eos : -1);
}

// A pair of pieces that join to a third.
struct Merge {
  std::string_view left, right;
  double score;  // of the third
  std::size_t left_characters, right_characters;
};

std::size_t count_characters(std::string_view text) {
  return std::count_if(text.begin(), text.end(), [](char c) { return (c & 0xC0) != 0x80; });
}

// SentencePiece joins the neighbours whose piece has the highest score: the merges of BPE in that order, ties
// as the converter of transformers (`generate_merges`) has them.
Result<json> derive_merges(const GgufMetadata& metadata, const Vocabulary& vocabulary) {
  if (vocabulary.scores.empty()) {
    return error(StatusCode::kCorrupt, "{}: key 'tokenizer.ggml.scores': expected a score for each token",
                 metadata.file());
  }
  const auto can_join = [&](std::size_t id) { return vocabulary.types[id] == TokenType::kNormal; };
  std::uint64_t work = 0;
  std::vector<Merge> merges;
  for (std::size_t id = 0; id < vocabulary.tokens.size(); ++id) {
    const std::string_view token = vocabulary.tokens[id];
    if (!can_join(id)) continue;
    work += token.size() * token.size();
    if (work > kMaxMergeWork) {
      return error(StatusCode::kUnsupported, "{}: key 'tokenizer.ggml.tokens': its tokens are too long",
                   metadata.file());
    }
    for (std::size_t at = 1; at < token.size(); ++at) {
      if ((token[at] & 0xC0) == 0x80) continue;
      const auto left = vocabulary.ids.find(token.substr(0, at));
      if (left == vocabulary.ids.end() || !can_join(left->second)) continue;
      const auto right = vocabulary.ids.find(token.substr(at));
      if (right == vocabulary.ids.end() || !can_join(right->second)) continue;
      merges.push_back({left->first, right->first, vocabulary.scores[id], count_characters(left->first),
                        count_characters(right->first)});
    }
  }
  std::stable_sort(merges.begin(), merges.end(), [](const Merge& a, const Merge& b) {
    return std::tie(a.score, a.left_characters, a.right_characters) >
           std::tie(b.score, b.left_characters, b.right_characters);
  });
  json list = json::array();
  for (const Merge& merge : merges) list.push_back({merge.left, merge.right});
  return list;
}

json replace_spaces() {
  return {{"type", "Replace"}, {"pattern", {{"String", " "}}}, {"content", kMark}};
}

// Marks to spaces, bytes to characters, and without the space that was put before the text.
json sentence_piece_decoder(bool adds_space) {
  json decoders = {{{"type", "Replace"}, {"pattern", {{"String", kMark}}}, {"content", " "}},
                   {{"type", "ByteFallback"}},
                   {{"type", "Fuse"}}};
  if (adds_space) decoders.push_back({{"type", "Strip"}, {"content", " "}, {"start", 1}, {"stop", 0}});
  return {{"type", "Sequence"}, {"decoders", decoders}};
}

// SentencePiece's BPE: merges by score, bytes for characters that are no token.
Result<json> read_llama(const GgufMetadata& metadata, const Vocabulary& vocabulary) {
  KVASIR_ASSIGN_OR_RETURN(const bool adds_space, metadata.boolean("tokenizer.ggml.add_space_prefix", true));
  KVASIR_ASSIGN_OR_RETURN(const std::int64_t unk,
                          special_id(metadata, "unknown", vocabulary.tokens.size(), 0));
  KVASIR_ASSIGN_OR_RETURN(json merges, derive_merges(metadata, vocabulary));
  json result;
  result["normalizer"] = replace_spaces();
  if (adds_space) {
    result["normalizer"] = {{"type", "Sequence"},
                            {"normalizers", {{{"type", "Prepend"}, {"prepend", kMark}}, replace_spaces()}}};
  }
  result["model"] = {{"type", "BPE"}, {"byte_fallback", true}, {"fuse_unk", true}};
  if (unk >= 0) result["model"]["unk_token"] = vocabulary.tokens[unk];
  result["model"]["vocab"] = id_map(vocabulary);
  result["model"]["merges"] = std::move(merges);
  result["decoder"] = sentence_piece_decoder(adds_space);
  KVASIR_ASSIGN_OR_RETURN(result["post_processor"],
                          read_frame(metadata, vocabulary, /*adds_bos=*/true, /*adds_eos=*/false, 1, 2));
  return result;
}

Result<json> read_merges(const GgufMetadata& metadata) {
  KVASIR_ASSIGN_OR_RETURN(const auto merges, metadata.texts("tokenizer.ggml.merges"));
  for (std::size_t i = 0; i < merges.size(); ++i) {
    if (is_utf8(merges[i])) continue;
    return error(StatusCode::kCorrupt, "{}: key 'tokenizer.ggml.merges': element {}: expected UTF-8",
                 metadata.file(), i);
  }
  return json(merges);
}

// BPE over bytes, with the pre-tokenizer that the file names.
Result<json> read_gpt2(const GgufMetadata& metadata, const Vocabulary& vocabulary) {
  KVASIR_ASSIGN_OR_RETURN(const std::string_view pre, metadata.text("tokenizer.ggml.pre", "default"));
  const GgufPreTokenizer* known = find_pre_tokenizer(pre);
  if (known == nullptr) {
    return error(StatusCode::kUnsupported,
                 "{}: key 'tokenizer.ggml.pre': the pre-tokenizer '{}' is not known", metadata.file(),
                 printable(pre));
  }
  json result;
  if (known->normalizes) result["normalizer"] = {{"type", "NFC"}};
  result["pre_tokenizer"] = json::parse(known->json);
  result["model"] = {{"type", "BPE"}, {"ignore_merges", known->ignore_merges}, {"vocab", id_map(vocabulary)}};
  KVASIR_ASSIGN_OR_RETURN(result["model"]["merges"], read_merges(metadata));
  result["decoder"] = {{"type", "ByteLevel"}};
  KVASIR_ASSIGN_OR_RETURN(result["post_processor"], read_frame(metadata, vocabulary, known->adds_bos,
                                                               /*adds_eos=*/false, /*bos=*/-1, /*eos=*/-1));
  return result;
}

// Merges as they were trained over text whose spaces are marks.
Result<json> read_gemma4(const GgufMetadata& metadata, const Vocabulary& vocabulary) {
  json result;
  result["normalizer"] = replace_spaces();
  result["model"] = {
      {"type", "BPE"}, {"byte_fallback", true}, {"fuse_unk", true}, {"vocab", id_map(vocabulary)}};
  KVASIR_ASSIGN_OR_RETURN(const std::int64_t unk,
                          special_id(metadata, "unknown", vocabulary.tokens.size(), -1));
  if (unk >= 0) result["model"]["unk_token"] = vocabulary.tokens[unk];
  KVASIR_ASSIGN_OR_RETURN(result["model"]["merges"], read_merges(metadata));
  result["decoder"] = sentence_piece_decoder(false);
  KVASIR_ASSIGN_OR_RETURN(result["post_processor"], read_frame(metadata, vocabulary, /*adds_bos=*/true,
                                                               /*adds_eos=*/false, /*bos=*/-1, /*eos=*/-1));
  return result;
}

// BERT's WordPiece. In the file the tokens that begin a word have a mark, and the others no "##".
Result<json> read_bert(const GgufMetadata& metadata, const Vocabulary& vocabulary) {
  json ids = json::object();
  std::string text;
  for (std::size_t i = 0; i < vocabulary.tokens.size(); ++i) {
    const std::string_view token = vocabulary.tokens[i];
    text = token;
    if (vocabulary.types[i] == TokenType::kNormal) {
      text = token.starts_with(kMark) ? std::string(token.substr(kMark.size())) : "##" + std::string(token);
    }
    ids[text] = i;
  }
  KVASIR_ASSIGN_OR_RETURN(const bool lowercase,
                          metadata.boolean("tokenizer.ggml.normalizer.lowercase", true));
  KVASIR_ASSIGN_OR_RETURN(const bool strips_accents,
                          metadata.boolean("tokenizer.ggml.normalizer.strip_accents", lowercase));
  const std::size_t count = vocabulary.tokens.size();
  KVASIR_ASSIGN_OR_RETURN(const std::int64_t unk, special_id(metadata, "unknown", count, 100));
  KVASIR_ASSIGN_OR_RETURN(const std::int64_t cls, special_id(metadata, "bos", count, 101));
  KVASIR_ASSIGN_OR_RETURN(const std::int64_t sep, special_id(metadata, "seperator", count, 102));
  if (unk < 0) {
    return error(StatusCode::kCorrupt, "{}: key 'tokenizer.ggml.unknown_token_id': expected a token",
                 metadata.file());
  }
  json result;
  result["normalizer"] = {{"type", "BertNormalizer"},
                          {"clean_text", true},
                          {"handle_chinese_chars", true},
                          {"strip_accents", strips_accents},
                          {"lowercase", lowercase}};
  result["pre_tokenizer"] = {{"type", "BertPreTokenizer"}};
  result["model"] = {{"type", "WordPiece"}, {"unk_token", vocabulary.tokens[unk]}, {"vocab", std::move(ids)}};
  result["decoder"] = {{"type", "WordPiece"}, {"prefix", "##"}, {"cleanup", true}};
  result["post_processor"] = frame(vocabulary, cls, sep);
  return result;
}

std::string to_base64(std::span<const std::byte> bytes) {
  constexpr char kDigits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
  std::string text;
  for (std::size_t i = 0; i < bytes.size(); i += 3) {
    std::uint32_t three = 0;
    for (std::size_t j = i; j < i + 3; ++j) {
      three = three << 8 | (j < bytes.size() ? static_cast<std::uint32_t>(bytes[j]) : 0);
    }
    for (int shift = 18; shift >= 0; shift -= 6) text += kDigits[three >> shift & 63];
  }
  for (std::size_t i = bytes.size(); i % 3 != 0; ++i) text[text.size() - (i - bytes.size()) - 1] = '=';
  return text;
}

// T5's SentencePiece Unigram.
Result<json> read_t5(const GgufMetadata& metadata, const Vocabulary& vocabulary) {
  if (vocabulary.scores.empty()) {
    return error(StatusCode::kCorrupt, "{}: key 'tokenizer.ggml.scores': expected a score for each token",
                 metadata.file());
  }
  json pieces = json::array();
  for (std::size_t i = 0; i < vocabulary.tokens.size(); ++i) {
    pieces.push_back({vocabulary.tokens[i], vocabulary.scores[i]});
  }
  KVASIR_ASSIGN_OR_RETURN(const std::int64_t unk,
                          special_id(metadata, "unknown", vocabulary.tokens.size(), 2));
  json result;
  const auto map = metadata.values().find("tokenizer.ggml.precompiled_charsmap");
  if (map != metadata.values().end()) {
    if (value_bytes(map->second.element_type) != 1) {
      return error(StatusCode::kCorrupt, "{}: key '{}': expected an array of bytes", metadata.file(),
                   map->first);
    }
    result["normalizer"] = {{"type", "Precompiled"}, {"precompiled_charsmap", to_base64(map->second.bytes)}};
  }
  const json metaspace = {{"type", "Metaspace"}, {"replacement", kMark}, {"add_prefix_space", true}};
  result["pre_tokenizer"] = {{"type", "Sequence"},
                             {"pretokenizers", {{{"type", "WhitespaceSplit"}}, metaspace}}};
  result["model"] = {{"type", "Unigram"}, {"vocab", std::move(pieces)}};
  if (unk >= 0) result["model"]["unk_id"] = unk;
  result["decoder"] = metaspace;
  KVASIR_ASSIGN_OR_RETURN(result["post_processor"],
                          read_frame(metadata, vocabulary, /*adds_bos=*/false, /*adds_eos=*/true, -1, 1));
  return result;
}

// Phi-3 swallows the space after its special tokens, which the format has no key for.
Result<bool> strips_right(const GgufMetadata& metadata, std::string_view model) {
  KVASIR_ASSIGN_OR_RETURN(const std::string_view architecture, metadata.text("general.architecture", ""));
  return architecture == "phi3" && model == "llama";
}

}  // namespace

Result<std::string> gguf_tokenizer(const GgufMetadata& metadata) {
  // Whoever put the original into the file wants it used.
  if (metadata.has("tokenizer.huggingface.json")) {
    KVASIR_ASSIGN_OR_RETURN(const std::string_view text, metadata.text("tokenizer.huggingface.json"));
    return std::string(text);
  }
  KVASIR_ASSIGN_OR_RETURN(const std::string_view model, metadata.text("tokenizer.ggml.model"));
  using Read = Result<json> (*)(const GgufMetadata&, const Vocabulary&);
  constexpr std::pair<std::string_view, Read> kModels[] = {{"llama", read_llama},
                                                           {"gpt2", read_gpt2},
                                                           {"gemma4", read_gemma4},
                                                           {"bert", read_bert},
                                                           {"t5", read_t5}};
  for (const auto& [name, read] : kModels) {
    if (model != name) continue;
    KVASIR_ASSIGN_OR_RETURN(const Vocabulary vocabulary, read_vocabulary(metadata));
    KVASIR_ASSIGN_OR_RETURN(json tokenizer, read(metadata, vocabulary));
    KVASIR_ASSIGN_OR_RETURN(const bool strips, strips_right(metadata, model));
    tokenizer["added_tokens"] = added_tokens(vocabulary, strips);
    return tokenizer.dump();
  }
  return error(StatusCode::kUnsupported,
               "{}: key 'tokenizer.ggml.model': supported are llama, gpt2, gemma4, bert and t5, got '{}'",
               metadata.file(), printable(model));
}

Result<json> gguf_tokenizer_config(const GgufMetadata& metadata) {
  json config = json::object();
  std::vector<std::string_view> tokens;
  if (metadata.has("tokenizer.ggml.tokens")) {
    KVASIR_ASSIGN_OR_RETURN(tokens, metadata.texts("tokenizer.ggml.tokens"));
  }
  for (const char* name : {"bos", "eos"}) {
    KVASIR_ASSIGN_OR_RETURN(const std::int64_t id, special_id(metadata, name, tokens.size(), -1));
    if (id >= 0 && is_utf8(tokens[id])) config[std::string(name) + "_token"] = tokens[id];
  }
  json templates = json::array();
  const auto add = [&](std::string_view key, std::string_view name) -> Status {
    KVASIR_ASSIGN_OR_RETURN(const std::string_view text, metadata.text(key));
    if (!is_utf8(text)) {
      return error(StatusCode::kCorrupt, "{}: key '{}': expected UTF-8", metadata.file(), printable(key));
    }
    templates.push_back({{"name", name}, {"template", text}});
    return Status();
  };
  constexpr std::string_view kTemplate = "tokenizer.chat_template";
  if (metadata.has(kTemplate)) KVASIR_RETURN_IF_ERROR(add(kTemplate, "default"));
  for (const auto& [key, value] : metadata.values()) {
    if (!key.starts_with(kTemplate) || key.size() <= kTemplate.size() + 1 || key[kTemplate.size()] != '.')
      continue;
    KVASIR_RETURN_IF_ERROR(add(key, key.substr(kTemplate.size() + 1)));
  }
  if (!templates.empty()) config["chat_template"] = std::move(templates);
  return config;
}

}  // namespace kvasir::format
