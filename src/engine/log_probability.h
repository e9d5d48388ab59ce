#pragma once

// From logits to the probability that the model gives a token.

#include <span>

#include "base/ids.h"

namespace kvasir::engine {

// The natural logarithm of softmax(logits)[token], in double: logit - log(sum of exp(logits)), shifted by the
// largest logit so that nothing overflows. `logits`: (vocab_size). O(vocab_size). No side effects.
// Requires: 0 <= token < vocab_size.
double log_probability(std::span<const float> logits, TokenId token);

}  // namespace kvasir::engine
