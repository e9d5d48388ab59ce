#include "api/text_api.h"

#include <nlohmann/json.hpp>

#include "tokenizer/unicode.h"

namespace kvasir::api {
namespace {

using nlohmann::ordered_json;

// The fields of a conversation, for the routes that only render it.
void read_conversation(FieldReader& reader, Conversation& conversation) {
  reader.take("model");
  read_messages(reader, conversation);
  read_tools(reader, "tools", conversation);
  read_template_variables(reader, conversation);
}

// A token's text, or its bytes where they are not a character.
ordered_json piece_of(const tokenizer::Tokenizer& tokenizer, TokenId id) {
  std::string bytes = tokenizer.token_bytes(id);
  if (tokenizer::is_valid_utf8(bytes)) return bytes;
  ordered_json list = ordered_json::array();
  for (const char c : bytes) list.push_back(static_cast<unsigned char>(c));
  return list;
}

ordered_json pieces_of(const tokenizer::Tokenizer& tokenizer, const std::vector<TokenId>& ids) {
  ordered_json list = ordered_json::array();
  for (const TokenId id : ids) list.push_back({{"id", id}, {"piece", piece_of(tokenizer, id)}});
  return list;
}

// Tokens with a text each take a hundred times their own size.
std::optional<Refusal> check_num_texts(const std::vector<TokenId>& ids, const char* key) {
  if (ids.size() <= RequestLimits::kMaxTexts) return std::nullopt;
  return Refusal{error(StatusCode::kInvalidArgument, "{}: expected at most {} tokens, got {}", key,
                       RequestLimits::kMaxTexts, ids.size()),
                 key};
}

JsonOrRefusal llama_tokenize(const ordered_json& body, const tokenizer::Tokenizer& tokenizer) {
  FieldReader reader(body);
  reader.take("model");
  std::string content;
  bool adds_special = false, with_pieces = false;
  reader.read("content", content, std::string::npos);
  reader.read("add_special", adds_special);
  reader.read("with_pieces", with_pieces);
  reader.only("parse_special", true, "the text of a special token is that token");
  reader.refuse_unknown();
  if (reader.refusal()) return *reader.refusal();
  const auto ids = tokenizer.encode(content, {adds_special});
  if (!ids.ok()) return Refusal{ids.status(), "content"};
  if (with_pieces) {
    if (auto refusal = check_num_texts(*ids, "with_pieces")) return *refusal;
  }
  return ordered_json{{"tokens", with_pieces ? pieces_of(tokenizer, *ids) : ordered_json(*ids)}};
}

}  // namespace

JsonOrRefusal tokenize(const ordered_json& body, const ModelFacts& model,
                       const tokenizer::Tokenizer& tokenizer, const ConversationEncoder& encoder) {
  if (body.contains("content")) return llama_tokenize(body, tokenizer);
  FieldReader reader(body);
  Result<std::vector<TokenId>> ids =
      error(StatusCode::kInvalidArgument, "expected content, prompt or messages");
  bool adds_special = !body.contains("messages"), with_texts = false;
  reader.read("add_special_tokens", adds_special);
  reader.read("return_token_strs", with_texts);
  const char* key = "";
  if (body.contains("messages")) {
    key = "messages";
    Conversation conversation;
    read_conversation(reader, conversation);
    reader.refuse_unknown();
    if (reader.refusal()) return *reader.refusal();
    const auto text = encoder.render(conversation);
    if (!text.ok()) return Refusal{text.status(), key};
    ids = tokenizer.encode(*text, {adds_special});
  } else if (body.contains("prompt")) {
    key = "prompt";
    reader.take("model");
    std::string prompt;
    reader.read("prompt", prompt, std::string::npos);
    reader.refuse_unknown();
    if (reader.refusal()) return *reader.refusal();
    ids = tokenizer.encode(prompt, {adds_special});
  }
  if (!ids.ok()) return Refusal{ids.status(), key};
  ordered_json json = {{"count", ids->size()}, {"max_model_len", model.context}, {"tokens", *ids}};
  if (with_texts) {
    if (auto refusal = check_num_texts(*ids, "return_token_strs")) return *refusal;
    json["token_strs"] = ordered_json::array();
    for (const TokenId id : *ids) json["token_strs"].push_back(tokenizer.decode({&id, 1}, {false}));
  }
  return json;
}

JsonOrRefusal detokenize(const ordered_json& body, const ModelFacts& model,
                         const tokenizer::Tokenizer& tokenizer) {
  FieldReader reader(body);
  std::vector<TokenId> ids;
  reader.take("model");
  reader.require("tokens");
  reader.read_ids("tokens", ids, RequestLimits::kMaxDetokenized, model.vocab_size);
  bool skips = false;
  reader.read("skip_special_tokens", skips);
  reader.refuse_unknown();
  if (reader.refusal()) return *reader.refusal();
  const std::string text = tokenizer.decode(ids, {skips});
  return ordered_json{{"content", text}, {"prompt", text}};
}

JsonOrRefusal apply_template(const ordered_json& body, const ConversationEncoder& encoder) {
  FieldReader reader(body);
  Conversation conversation;
  read_conversation(reader, conversation);
  reader.refuse_unknown();
  if (reader.refusal()) return *reader.refusal();
  auto text = encoder.render(conversation);
  if (!text.ok()) return Refusal{text.status(), "messages"};
  return ordered_json{{"prompt", std::move(*text)}};
}

}  // namespace kvasir::api
