#pragma once

// The post-processors of tokenizer.json, as far as one text goes: which tokens are put around it. Immutable,
// thread-safe.

#include <optional>
#include <vector>

#include "base/ids.h"
#include "base/status.h"
#include "tokenizer/json_node.h"

namespace kvasir::tokenizer {

class PostProcessor {
 public:
  // Errors: kCorrupt, kUnsupported, naming the place.
  static Result<PostProcessor> read(const JsonNode& node);

  // `tokens` with the special tokens around them.
  std::vector<TokenId> add_special_tokens(std::vector<TokenId> tokens) const;

 private:
  // One after the other; nullopt stands for the tokens so far.
  using Template = std::vector<std::optional<TokenId>>;

  Status read_into(const JsonNode& node);
  Status read_template(const JsonNode& node);

  std::vector<Template> templates_;
};

}  // namespace kvasir::tokenizer
