#pragma once

// The normalizers of tokenizer.json: text in, text out, before it is split. Immutable, thread-safe.

#include <memory>
#include <string>

#include "base/status.h"
#include "tokenizer/json_node.h"

namespace kvasir::tokenizer {

class Normalizer {
 public:
  virtual ~Normalizer() = default;
  // Requires and gives valid UTF-8.
  virtual std::string normalize(std::string text) const = 0;
};

// Errors: kCorrupt, kUnsupported, naming the place.
Result<std::unique_ptr<Normalizer>> read_normalizer(const JsonNode& node);

}  // namespace kvasir::tokenizer
