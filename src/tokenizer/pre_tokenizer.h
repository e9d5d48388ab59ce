#pragma once

// The pre-tokenizers of tokenizer.json: they cut a text into the pieces that the model encodes one by one.
// Immutable, thread-safe.

#include <memory>
#include <string>
#include <vector>

#include "base/status.h"
#include "tokenizer/json_node.h"

namespace kvasir::tokenizer {

struct Piece {
  std::string text;
  bool begins_input = false;  // whether it begins where the whole input does
};

class PreTokenizer {
 public:
  virtual ~PreTokenizer() = default;
  // Appends the parts of `piece`; empty ones are left out. Requires and gives valid UTF-8.
  virtual void split(Piece piece, std::vector<Piece>& out) const = 0;
};

// Errors: kCorrupt, kUnsupported, naming the place.
Result<std::unique_ptr<PreTokenizer>> read_pre_tokenizer(const JsonNode& node);

}  // namespace kvasir::tokenizer
