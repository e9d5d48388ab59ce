#pragma once

// The other direction of gguf_tokenizer.h: a Hugging Face folder's tokenizer, special tokens and chat
// template, as the metadata of a GGUF file.

#include <cstdint>
#include <nlohmann/json_fwd.hpp>

#include "base/status.h"
#include "format/gguf_writer.h"
#include "format/model_files.h"

namespace kvasir::format {

// Adds what the folder has of them; tokenizer.json also as a whole, which counts before the rest for readers
// that know it. config: config.json, with a list of all tokens that end a text as its eos_token_id. Errors:
// kUnsupported for a tokenizer that the format has no key for, and for more than three such tokens; kCorrupt;
// those of reading.
Status add_tokenizer(ModelFiles& files, const nlohmann::json& config, std::uint32_t vocab_size,
                     GgufWriter& writer);

}  // namespace kvasir::format
