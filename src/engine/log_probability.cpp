#include "engine/log_probability.h"

#include <algorithm>
#include <cmath>

namespace kvasir::engine {

double log_probability(std::span<const float> logits, TokenId token) {
  const double largest = *std::max_element(logits.begin(), logits.end());
  double sum = 0;
  for (const float logit : logits) sum += std::exp(logit - largest);
  return logits[token] - largest - std::log(sum);
}

}  // namespace kvasir::engine
