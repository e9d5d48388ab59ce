#include "engine/log_probability.h"

#include <algorithm>
#include <cmath>
#include <utility>
#include <vector>

namespace kvasir::engine {
namespace {

struct Normalizer {
  double largest;
  double log_sum;  // of exp(logit - largest)

  explicit Normalizer(std::span<const float> logits)
      : largest(*std::max_element(logits.begin(), logits.end())) {
    double sum = 0;
    for (const float logit : logits) sum += std::exp(logit - largest);
    log_sum = std::log(sum);
  }

  double operator()(float logit) const { return logit - largest - log_sum; }
};

using Scored = std::pair<float, TokenId>;

bool is_likelier(const Scored& a, const Scored& b) {
  return a.first != b.first ? a.first > b.first : a.second < b.second;
}

// The largest logits, best first.
std::vector<Scored> largest(std::span<const float> logits, std::size_t count) {
  std::vector<Scored> heap;  // the least likely on top
  if (count == 0) return heap;
  heap.reserve(count);
  for (std::size_t i = 0; i < logits.size(); ++i) {
    const Scored candidate(logits[i], static_cast<TokenId>(i));
    if (heap.size() == count) {
      if (!is_likelier(candidate, heap.front())) continue;
      std::pop_heap(heap.begin(), heap.end(), is_likelier);
      heap.pop_back();
    }
    heap.push_back(candidate);
    std::push_heap(heap.begin(), heap.end(), is_likelier);
  }
  std::sort_heap(heap.begin(), heap.end(), is_likelier);
  return heap;
}

}  // namespace

double log_probability(std::span<const float> logits, TokenId token) {
  return Normalizer(logits)(logits[token]);
}

TokenLogprobs token_logprobs(std::span<const float> logits, TokenId token, int num_top) {
  const Normalizer normalize(logits);
  TokenLogprobs result;
  result.token = token;
  result.logprob = static_cast<float>(normalize(logits[token]));
  const auto is_better = [&](float logit) { return logit > logits[token]; };
  result.rank = 1 + static_cast<int>(std::count_if(logits.begin(), logits.end(), is_better));
  const std::size_t count = std::min<std::size_t>(num_top, logits.size());
  result.top.reserve(count);
  for (const auto& [logit, likely] : largest(logits, count)) {
    result.top.emplace_back(likely, static_cast<float>(normalize(logit)));
  }
  return result;
}

}  // namespace kvasir::engine
