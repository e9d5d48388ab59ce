#include "tokenizer/tokenizer.h"

#include <algorithm>
#include <nlohmann/json.hpp>
#include <utility>

#include "base/json.h"
#include "tokenizer/added_tokens.h"
#include "tokenizer/decoder.h"
#include "tokenizer/model.h"
#include "tokenizer/normalizer.h"
#include "tokenizer/post_processor.h"
#include "tokenizer/pre_tokenizer.h"
#include "tokenizer/unicode.h"

namespace kvasir::tokenizer {

struct Tokenizer::Impl {
  std::unique_ptr<Normalizer> normalizer;       // may be null
  std::unique_ptr<PreTokenizer> pre_tokenizer;  // may be null
  std::unique_ptr<VocabularyModel> model;
  std::optional<PostProcessor> post_processor;
  std::unique_ptr<Decoder> decoder;  // may be null
  AddedTokens added;

  // The part of a text between two added tokens, normalized.
  void encode_piece(Piece piece, PieceEncoder& encoder, std::vector<TokenId>& out) const {
    if (!pre_tokenizer) return encoder.encode(piece.text, out);
    std::vector<Piece> pieces;
    pre_tokenizer->split(std::move(piece), pieces);
    for (const Piece& each : pieces) {
      if (!each.text.empty()) encoder.encode(each.text, out);
    }
  }
};

Tokenizer::Tokenizer(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
Tokenizer::~Tokenizer() = default;

Result<std::unique_ptr<Tokenizer>> Tokenizer::from_json(std::string_view name, std::string_view text) {
  const Result<nlohmann::json> json = parse_json(name, text);
  if (!json.ok()) return Status(StatusCode::kCorrupt, json.status().message());
  const JsonNode root(std::string(name), *json);
  if (!json->is_object()) return root.corrupt("a JSON object");
  auto impl = std::make_unique<Impl>();
  if (root.has("normalizer")) {
    KVASIR_ASSIGN_OR_RETURN(impl->normalizer, read_normalizer(root.at("normalizer")));
  }
  if (root.has("pre_tokenizer")) {
    KVASIR_ASSIGN_OR_RETURN(impl->pre_tokenizer, read_pre_tokenizer(root.at("pre_tokenizer")));
  }
  KVASIR_ASSIGN_OR_RETURN(const JsonNode model, root.object("model"));
  KVASIR_ASSIGN_OR_RETURN(impl->model, read_model(model));
  if (root.has("post_processor")) {
    KVASIR_ASSIGN_OR_RETURN(impl->post_processor, PostProcessor::read(root.at("post_processor")));
  }
  if (root.has("decoder")) {
    KVASIR_ASSIGN_OR_RETURN(impl->decoder, read_decoder(root.at("decoder")));
  }
  KVASIR_ASSIGN_OR_RETURN(impl->added, AddedTokens::read(root, *impl->model, impl->normalizer.get()));
  return std::unique_ptr<Tokenizer>(new Tokenizer(std::move(impl)));
}

Result<std::vector<TokenId>> Tokenizer::encode(std::string_view text, const EncodeOptions& options) const {
  if (!is_valid_utf8(text))
    return error(StatusCode::kInvalidArgument, "the text to encode is not valid UTF-8");
  std::vector<TokenId> ids;
  const std::unique_ptr<PieceEncoder> encoder = impl_->model->encoder();
  for (const Segment& given : impl_->added.split_given(text)) {
    if (given.token) {
      ids.push_back(*given.token);
      continue;
    }
    std::string normalized(given.text);
    if (impl_->normalizer) normalized = impl_->normalizer->normalize(std::move(normalized));
    for (const Segment& segment : impl_->added.split_normalized(normalized)) {
      if (segment.token) {
        ids.push_back(*segment.token);
        continue;
      }
      const bool begins_input = given.text.data() == text.data() && segment.text.data() == normalized.data();
      impl_->encode_piece({std::string(segment.text), begins_input}, *encoder, ids);
    }
  }
  if (options.add_special_tokens && impl_->post_processor) {
    ids = impl_->post_processor->add_special_tokens(std::move(ids));
  }
  return ids;
}

std::string Tokenizer::decode(std::span<const TokenId> ids, const DecodeOptions& options) const {
  std::vector<std::string> tokens;
  for (const TokenId id : ids) {
    if (options.skip_special_tokens && is_special(id)) continue;
    if (const std::string* token = id_to_token(id)) tokens.push_back(*token);
  }
  std::string text;
  if (impl_->decoder) {
    for (const std::string& part : impl_->decoder->decode(std::move(tokens))) text += part;
    return text;
  }
  for (const std::string& token : tokens) {
    if (&token != &tokens.front()) text += ' ';
    text += token;
  }
  return text;
}

int Tokenizer::vocab_size() const {
  return std::max(impl_->model->vocabulary().max_id(), impl_->added.max_id()) + 1;
}

std::optional<TokenId> Tokenizer::token_to_id(std::string_view token) const {
  const auto id = impl_->added.find(token);
  return id ? id : impl_->model->vocabulary().find(token);
}

const std::string* Tokenizer::id_to_token(TokenId id) const {
  const std::string* text = impl_->added.text(id);
  return text != nullptr ? text : impl_->model->vocabulary().text(id);
}

bool Tokenizer::is_special(TokenId id) const {
  return impl_->added.is_special(id);
}

std::string Tokenizer::token_bytes(TokenId id) const {
  const std::string* token = id_to_token(id);
  if (token == nullptr) return "";
  if (!impl_->decoder) return ' ' + *token;
  MiddleToken middle{*token};
  impl_->decoder->decode_in_middle(middle);
  return middle.text;
}

}  // namespace kvasir::tokenizer
