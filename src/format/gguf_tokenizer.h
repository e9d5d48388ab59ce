#pragma once

// The tokenizer and chat template of a GGUF file as the files of a Hugging Face model.

#include <nlohmann/json_fwd.hpp>
#include <string>

#include "base/status.h"
#include "format/gguf.h"

namespace kvasir::format {

// The content of tokenizer.json. Errors: kCorrupt, kUnsupported for a tokenizer or pre-tokenizer that is not
// known, naming the key.
Result<std::string> gguf_tokenizer(const GgufMetadata& metadata);

// The content of tokenizer_config.json: special tokens and chat templates.
Result<nlohmann::json> gguf_tokenizer_config(const GgufMetadata& metadata);

}  // namespace kvasir::format
