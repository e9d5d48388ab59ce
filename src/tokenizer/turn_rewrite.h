#pragma once

// Whether a conversation's prompt begins with the prompt and reply of the turn before: only then are they
// found in the cache.

#include <optional>
#include <string>
#include <string_view>

#include "base/status.h"
#include "tokenizer/chat_template.h"

namespace kvasir::tokenizer {

// Where the template changes earlier turns, as one line for a log: "turn 2 does not begin with turn 1: at
// byte 27 it has '...' instead of '...'". Nothing when each turn extends the one before.
//
// It is tried on conversations of three turns: plain, with a system message, with a reply that thinks. A
// conversation that the template refuses is passed over.
// Errors: kInvalidArgument when it refuses the plain one.
Result<std::optional<std::string>> find_turn_rewrite(const ChatTemplate& chat_template,
                                                     std::string_view bos_token, std::string_view eos_token);

}  // namespace kvasir::tokenizer
