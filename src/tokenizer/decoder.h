#pragma once

// The decoders of tokenizer.json: from the texts of tokens to text. Immutable, thread-safe.

#include <memory>
#include <string>
#include <vector>

#include "base/status.h"
#include "tokenizer/json_node.h"

namespace kvasir::tokenizer {

// A token on its own on the way through the chain, with others before and behind it.
struct MiddleToken {
  std::string text;
  bool is_fused = false;  // it is a part of one text with its neighbours: the ends of that text are elsewhere
};

class Decoder {
 public:
  virtual ~Decoder() = default;
  // The next step of the chain; the texts' concatenation is the result.
  virtual std::vector<std::string> decode(std::vector<std::string> tokens) const = 0;
  // What that step does to a token in the middle of a text. The result may be a part of a UTF-8 character.
  virtual void decode_in_middle(MiddleToken& token) const = 0;
};

// Errors: kCorrupt, kUnsupported, naming the place.
Result<std::unique_ptr<Decoder>> read_decoder(const JsonNode& node);

}  // namespace kvasir::tokenizer
