#pragma once

// From logits to the probability that the model gives a token.

#include <span>

#include "base/ids.h"
#include "engine/request.h"

namespace kvasir::engine {

// The natural logarithm of softmax(logits)[token], in double: logit - log(sum of exp(logits)), shifted by the
// largest logit so that nothing overflows. `logits`: (vocab_size). O(vocab_size). No side effects.
// Requires: 0 <= token < vocab_size.
double log_probability(std::span<const float> logits, TokenId token);

// The same of a token and of the likeliest `num_top` (all, when there are fewer), rounded to float, and the
// token's rank. O(vocab_size * log(num_top)). No side effects.
TokenLogprobs token_logprobs(std::span<const float> logits, TokenId token, int num_top);

}  // namespace kvasir::engine
