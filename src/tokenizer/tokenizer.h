#pragma once

// Text to tokens and back, as the Hugging Face library `tokenizers` defines it by tokenizer.json:
//
//   text ─ added tokens ─ normalizer ─ added tokens ─ pre-tokenizer ─ model ─ post-processor ─> ids
//   ids ─ their texts ─ decoder ─> text
//
// Immutable: any number of threads may use one. Truncation and padding are not applied.

#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/ids.h"
#include "base/status.h"

namespace kvasir::tokenizer {

struct EncodeOptions {
  bool add_special_tokens = true;  // those of the post-processor, such as BOS
};

struct DecodeOptions {
  bool skip_special_tokens = true;
};

class Tokenizer {
 public:
  // `text` is the content of the file, `name` opens every message.
  // Errors: kCorrupt, kUnsupported, naming the place in the file.
  static Result<std::unique_ptr<Tokenizer>> from_json(std::string_view name, std::string_view text);
  ~Tokenizer();

  // Errors: kInvalidArgument for text that is not UTF-8.
  Result<std::vector<TokenId>> encode(std::string_view text, const EncodeOptions& options = {}) const;

  // Valid UTF-8; ids that are not in the vocabulary are left out.
  std::string decode(std::span<const TokenId> ids, const DecodeOptions& options = {}) const;

  // One more than the largest id.
  int vocab_size() const;
  std::optional<TokenId> token_to_id(std::string_view token) const;
  // The token's text as in the file, null for an unknown id.
  const std::string* id_to_token(TokenId id) const;
  bool is_special(TokenId id) const;
  // The bytes that the token adds in the middle of a text, which may be a part of a UTF-8 character; empty
  // for an unknown id.
  std::string token_bytes(TokenId id) const;

 private:
  struct Impl;
  explicit Tokenizer(std::unique_ptr<Impl> impl);
  std::unique_ptr<Impl> impl_;
};

}  // namespace kvasir::tokenizer
