#pragma once

// The pre-tokenizers that GGUF files name in tokenizer.ggml.pre, as tokenizer.json has them. Only those whose
// original is known; a wrong one would give wrong tokens without a word.

#include <string_view>

namespace kvasir::format {

struct GgufPreTokenizer {
  std::string_view name;
  const char* json;            // of pre_tokenizer
  bool normalizes = false;     // to NFC
  bool ignore_merges = false;  // a piece that is a token as a whole is that token
  bool adds_bos = false;       // unless the file says otherwise
};

// Null for a name that is not known.
const GgufPreTokenizer* find_pre_tokenizer(std::string_view name);

}  // namespace kvasir::format
