#pragma once

// The decoders of tokenizer.json: from the texts of tokens to text. Immutable, thread-safe.

#include <memory>
#include <string>
#include <vector>

#include "base/status.h"
#include "tokenizer/json_node.h"

namespace kvasir::tokenizer {

class Decoder {
 public:
  virtual ~Decoder() = default;
  // The next step of the chain; the texts' concatenation is the result.
  virtual std::vector<std::string> decode(std::vector<std::string> tokens) const = 0;
  // The bytes that one token stands for in the middle of a text: a part of a character stays what it is.
  virtual std::string bytes(std::string token) const = 0;
};

// Errors: kCorrupt, kUnsupported, naming the place.
Result<std::unique_ptr<Decoder>> read_decoder(const JsonNode& node);

}  // namespace kvasir::tokenizer
