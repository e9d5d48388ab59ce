#include "format/gguf_tokenizer_writer.h"

#include <nlohmann/json.hpp>
#include <string>
#include <string_view>
#include <unordered_map>
#include <utility>
#include <vector>

#include "base/bytes.h"
#include "format/gguf_pre_tokenizer.h"

namespace kvasir::format {
namespace {

using nlohmann::json;

Status wrong(const std::string& where, std::string_view key, std::string_view expected, const json& got) {
  return error(StatusCode::kUnsupported, "{}: {}: expected {}, got {}", where, key, expected,
               got.dump(-1, ' ', true, json::error_handler_t::replace).substr(0, 80));
}

// A pre-tokenizer without what changes nothing.
json without_trifles(json node) {
  if (node.is_object()) {
    for (const char* key : {"trim_offsets", "invert"}) node.erase(key);
  }
  for (json& each : node) {
    if (each.is_structured()) each = without_trifles(each);
  }
  return node;
}

Result<std::string> pre_tokenizer_name(const std::string& where, const json& tokenizer) {
  const json wanted = without_trifles(tokenizer.value("pre_tokenizer", json()));
  const bool normalizes = !tokenizer.value("normalizer", json()).is_null();
  const bool ignores = tokenizer["model"].value("ignore_merges", false);
  for (const char* name : {"llama-bpe", "qwen2", "gpt-2", "olmo", "smollm", "falcon", "tekken", "gpt-4o",
                           "dbrx", "deepseek-r1-qwen", "deepseek-v3", "deepseek-coder", "command-r"}) {
    const GgufPreTokenizer& known = *find_pre_tokenizer(name);
    if (known.normalizes == normalizes && known.ignore_merges == ignores &&
        without_trifles(json::parse(known.json)) == wanted) {
      return std::string(name);
    }
  }
  return wrong(where, "pre_tokenizer", "one that GGUF has a name for", wanted);
}

struct Tokens {
  std::vector<std::string> texts;
  std::vector<std::int32_t> types;  // 1 normal, 2 unknown, 3 control, 4 user-defined, 5 unused, 6 byte
};

// The tokens by id, with the holes up to vocab_size filled.
Result<Tokens> read_tokens(const std::string& where, const json& tokenizer, std::uint32_t vocab_size) {
  Tokens tokens;
  tokens.types.assign(vocab_size, 5);
  for (std::uint32_t i = 0; i < vocab_size; ++i) tokens.texts.push_back(fmt::format("[PAD{}]", i));
  const json& model = tokenizer["model"];
  const bool has_bytes = model.value("byte_fallback", false);
  const auto set = [&](const std::string& text, const json& id, std::int32_t type) -> Status {
    if (!id.is_number_unsigned() || id.get<std::uint64_t>() >= vocab_size) {
      return wrong(where, "vocab", fmt::format("token ids below {}", vocab_size), id);
    }
    tokens.texts[id.get<std::size_t>()] = text;
    tokens.types[id.get<std::size_t>()] = type;
    return Status();
  };
  for (const auto& [text, id] : model["vocab"].items()) {
    const bool is_byte = has_bytes && text.size() == 6 && text.starts_with("<0x") && text.ends_with('>');
    KVASIR_RETURN_IF_ERROR(set(text, id, is_byte ? 6 : 1));
  }
  const json added = tokenizer.value("added_tokens", json::array());
  for (const json& token : added) {
    if (!token.is_object() || !token.value("content", json()).is_string())
      return wrong(where, "added_tokens", "tokens", token);
    const auto text = token["content"].get<std::string>();
    const std::int32_t type = text == model.value("unk_token", json()) ? 2
                              : token.value("special", false)          ? 3
                                                                       : 4;
    KVASIR_RETURN_IF_ERROR(set(text, token.value("id", json()), type));
  }
  return tokens;
}

// Both halves of each merge.
Result<std::vector<std::pair<std::string, std::string>>> read_merges(const std::string& where,
                                                                     const json& model) {
  std::vector<std::pair<std::string, std::string>> merges;
  for (const json& merge : model["merges"]) {
    if (merge.is_array() && merge.size() == 2 && merge[0].is_string() && merge[1].is_string()) {
      merges.emplace_back(merge[0], merge[1]);
      continue;
    }
    const std::string text = merge.is_string() ? merge.get<std::string>() : "";
    const std::size_t space = text.find(' ');
    if (space == text.npos) return wrong(where, "merges", "pairs of tokens", merge);
    merges.emplace_back(text.substr(0, space), text.substr(space + 1));
  }
  return merges;
}

Status add_vocabulary(ModelFiles& files, std::uint32_t vocab_size, GgufWriter& writer) {
  const std::string where = files.path("tokenizer.json");
  KVASIR_ASSIGN_OR_RETURN(const json tokenizer, files.read_json("tokenizer.json"));
  const json model = tokenizer.value("model", json());
  if (!model.is_object() || !model.value("vocab", json()).is_object() ||
      !model.value("merges", json()).is_array()) {
    return wrong(where, "model", "BPE with vocab and merges",
                 model.is_object() ? model.value("type", json()) : model);
  }
  KVASIR_ASSIGN_OR_RETURN(const Tokens tokens, read_tokens(where, tokenizer, vocab_size));
  KVASIR_ASSIGN_OR_RETURN(const auto merges, read_merges(where, model));
  const bool is_sentence_piece = model.value("byte_fallback", false);
  writer.add_text("tokenizer.ggml.model", is_sentence_piece ? "llama" : "gpt2");
  if (is_sentence_piece) {
    // SentencePiece's scores are not in tokenizer.json, but the order of the merges is by them.
    std::unordered_map<std::string, float> scores;
    for (std::size_t i = 0; i < merges.size(); ++i) {
      scores.emplace(merges[i].first + merges[i].second, -static_cast<float>(i));
    }
    std::vector<float> all;
    for (const std::string& text : tokens.texts) {
      const auto found = scores.find(text);
      all.push_back(found == scores.end() ? -static_cast<float>(merges.size()) : found->second);
    }
    writer.add_text("tokenizer.ggml.pre", "default");
    writer.add_numbers("tokenizer.ggml.scores", all);
    const bool adds_space =
        tokenizer.value("normalizer", json()).dump().find("\"Prepend\"") != std::string::npos;
    writer.add_boolean("tokenizer.ggml.add_space_prefix", adds_space);
  } else {
    KVASIR_ASSIGN_OR_RETURN(const std::string pre, pre_tokenizer_name(where, tokenizer));
    std::vector<std::string> pairs;
    for (const auto& [left, right] : merges) pairs.push_back(left + " " + right);
    writer.add_text("tokenizer.ggml.pre", pre);
    writer.add_texts("tokenizer.ggml.merges", pairs);
  }
  writer.add_texts("tokenizer.ggml.tokens", tokens.texts);
  writer.add_integers("tokenizer.ggml.token_type", tokens.types);
  KVASIR_ASSIGN_OR_RETURN(const auto bytes, files.read("tokenizer.json"));
  writer.add_text("tokenizer.huggingface.json", as_text(bytes));
  return Status();
}

// The format has keys for three ends: that of a text and, of the others, the last for that of a turn and one
// between for that of a message, as Llama 3 lists them.
Status add_ends(const std::string& where, const json& ids, GgufWriter& writer) {
  constexpr std::size_t kMaxEnds = 3;
  if (ids.size() > kMaxEnds) {
    return wrong(where, "eos_token_id", fmt::format("at most {}, for which GGUF has keys", kMaxEnds), ids);
  }
  if (!ids.empty()) writer.add_count("tokenizer.ggml.eos_token_id", ids[0].get<std::uint32_t>());
  if (ids.size() > 1) writer.add_count("tokenizer.ggml.eot_token_id", ids.back().get<std::uint32_t>());
  if (ids.size() > 2) writer.add_count("tokenizer.ggml.eom_token_id", ids[1].get<std::uint32_t>());
  return Status();
}

// Ids of special tokens and the chat template.
Status add_special_tokens(ModelFiles& files, const json& config, GgufWriter& writer) {
  json generation = json::object();
  if (files.has("generation_config.json")) {
    KVASIR_ASSIGN_OR_RETURN(generation, files.read_json("generation_config.json"));
  }
  const auto add_id = [&](const char* key, const char* name) {
    json id = config.value(key, json());
    if (id.is_null()) id = generation.value(key, json());
    if (id.is_array() && !id.empty()) id = id[0];
    if (id.is_number_unsigned()) writer.add_count(name, id.get<std::uint32_t>());
  };
  add_id("bos_token_id", "tokenizer.ggml.bos_token_id");
  KVASIR_RETURN_IF_ERROR(
      add_ends(files.path("config.json"), config.value("eos_token_id", json::array()), writer));
  add_id("pad_token_id", "tokenizer.ggml.padding_token_id");
  json source;
  if (files.has("tokenizer_config.json")) {
    KVASIR_ASSIGN_OR_RETURN(const json tokenizer, files.read_json("tokenizer_config.json"));
    source = tokenizer.value("chat_template", json());
    if (tokenizer.value("add_bos_token", json()).is_boolean()) {
      writer.add_boolean("tokenizer.ggml.add_bos_token", tokenizer["add_bos_token"].get<bool>());
    }
  }
  if (files.has("chat_template.jinja")) {
    KVASIR_ASSIGN_OR_RETURN(const auto bytes, files.read("chat_template.jinja"));
    source = std::string(as_text(bytes));
  }
  if (source.is_string()) writer.add_text("tokenizer.chat_template", source.get<std::string>());
  return Status();
}

}  // namespace

Status add_tokenizer(ModelFiles& files, const json& config, std::uint32_t vocab_size, GgufWriter& writer) {
  if (files.has("tokenizer.json")) KVASIR_RETURN_IF_ERROR(add_vocabulary(files, vocab_size, writer));
  return add_special_tokens(files, config, writer);
}

}  // namespace kvasir::format
