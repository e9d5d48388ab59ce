#pragma once

// A prompt's tokens.

#include <optional>
#include <vector>

#include "api/generation_spec.h"
#include "base/status.h"
#include "tokenizer/tokenizer.h"

namespace kvasir::api {

// `truncate_to`: of a longer prompt only the last so many tokens. Errors: the tokenizer's.
Result<std::vector<TokenId>> encode_prompt(const tokenizer::Tokenizer& tokenizer, const Prompt& prompt,
                                           bool add_special_tokens, std::optional<int> truncate_to);

}  // namespace kvasir::api
