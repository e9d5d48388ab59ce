#include "engine/sampler.h"

#include <algorithm>
#include <cmath>
#include <limits>

namespace kvasir::engine {
namespace {

using Candidate = SamplerScratch::Candidate;

constexpr float kExcluded = -std::numeric_limits<float>::infinity();

// A random 64-bit number for (seed, index): the finalizer of SplitMix64 (Steele et al. 2014), applied to
// both.
std::uint64_t mix(std::uint64_t value) {
  value = (value ^ (value >> 30)) * 0xbf58476d1ce4e5b9u;
  value = (value ^ (value >> 27)) * 0x94d049bb133111ebu;
  return value ^ (value >> 31);
}

// Uniform in [0, 1), with 53 random bits.
double uniform(std::uint64_t seed, std::uint64_t index) {
  const std::uint64_t bits = mix(mix(seed + 0x9e3779b97f4a7c15u) + index * 0x9e3779b97f4a7c15u);
  return static_cast<double>(bits >> 11) * 0x1p-53;
}

// The first of the largest. In lanes that do not depend on each other, because a chain of comparisons through
// a vocabulary takes longer than all else that a step does outside the model.
TokenId argmax(std::span<const float> logits) {
  constexpr std::size_t kLanes = 16;
  float lanes[kLanes];
  std::fill_n(lanes, kLanes, logits[0]);
  std::size_t i = 0;
  for (; i + kLanes <= logits.size(); i += kLanes) {
    for (std::size_t j = 0; j < kLanes; ++j) lanes[j] = logits[i + j] > lanes[j] ? logits[i + j] : lanes[j];
  }
  for (; i < logits.size(); ++i) lanes[0] = std::max(lanes[0], logits[i]);
  const float largest = *std::max_element(lanes, lanes + kLanes);
  const auto found = std::find(logits.begin(), logits.end(), largest);
  return found == logits.end() ? 0 : static_cast<TokenId>(found - logits.begin());  // 0: all are NaN
}

bool has_penalties(const SamplingParams& params) {
  return params.repetition_penalty != 1 || params.presence_penalty != 0 || params.frequency_penalty != 0;
}

void apply_penalties(std::span<float> logits, const SamplingParams& params, std::span<const TokenId> tokens,
                     int num_prompt_tokens, std::vector<std::int32_t>& counts) {
  counts.resize(std::max(counts.size(), logits.size()), 0);
  for (const TokenId token : tokens) {
    if (counts[token]++ > 0) continue;
    float& logit = logits[token];
    logit = logit > 0 ? logit / params.repetition_penalty : logit * params.repetition_penalty;
  }
  for (const TokenId token : tokens) counts[token] = 0;

  const std::span<const TokenId> reply = tokens.subspan(num_prompt_tokens);
  for (const TokenId token : reply) ++counts[token];
  for (const TokenId token : reply) {
    if (counts[token] == 0) continue;
    logits[token] -= params.presence_penalty + params.frequency_penalty * static_cast<float>(counts[token]);
    counts[token] = 0;
  }
}

bool is_less_likely(const Candidate& a, const Candidate& b) {
  return a.logit != b.logit ? a.logit < b.logit : a.token > b.token;
}

double total_weight(std::span<const Candidate> candidates) {
  double total = 0;
  for (const Candidate& candidate : candidates) total += candidate.weight;
  return total;
}

// Moves the most likely candidates to the end of the vector, the likeliest last: `top_k` of them when it is
// not 0, of those the fewest that reach `top_p` of their weight, at least one. Returns them. A heap, because
// as a rule a handful of a whole vocabulary is taken.
std::span<Candidate> keep_top(std::vector<Candidate>& candidates, int top_k, float top_p) {
  std::make_heap(candidates.begin(), candidates.end(), is_less_likely);
  auto heap_end = candidates.end();
  const auto take = [&] { std::pop_heap(candidates.begin(), heap_end--, is_less_likely); };
  if (top_k == 0) {
    const double enough = top_p * total_weight(candidates);
    take();
    double reached = heap_end->weight;
    while (reached < enough && heap_end != candidates.begin()) {
      take();
      reached += heap_end->weight;
    }
    return {heap_end, candidates.end()};
  }
  for (int taken = 0; taken < top_k && heap_end != candidates.begin(); ++taken) take();
  const double enough = top_p * total_weight({heap_end, candidates.end()});
  auto first = candidates.end() - 1;
  for (double reached = first->weight; reached < enough && first != heap_end;) reached += (--first)->weight;
  return {first, candidates.end()};
}

TokenId draw(std::span<const Candidate> candidates, double random) {
  double left = random * total_weight(candidates);
  for (const Candidate& candidate : candidates) {
    left -= candidate.weight;
    if (left < 0) return candidate.token;
  }
  return candidates.back().token;
}

// Excludes tokens whose bits are not set. A word at a time: as a rule almost all bits are equal.
void apply_mask(std::span<float> logits, std::span<const std::uint32_t> mask) {
  for (std::size_t word = 0; word * 32 < logits.size(); ++word) {
    if (mask[word] == ~std::uint32_t{0}) continue;
    const std::span<float> rest = logits.subspan(word * 32);
    for (std::size_t bit = 0; bit < std::min<std::size_t>(32, rest.size()); ++bit) {
      if ((mask[word] >> bit & 1) == 0) rest[bit] = kExcluded;
    }
  }
}

bool excludes_any(const SamplingParams& params, const Exclusions& exclusions) {
  return !params.allowed_token_ids.empty() || !exclusions.mask.empty() || !exclusions.banned.empty();
}

// The logits after bias, exclusions and penalties.
void adjust(std::span<const float> logits, const SamplingParams& params, std::span<const TokenId> tokens,
            int num_prompt_tokens, const Exclusions& exclusions, SamplerScratch& scratch) {
  std::vector<float>& adjusted = scratch.logits;
  if (params.allowed_token_ids.empty()) {
    adjusted.assign(logits.begin(), logits.end());
  } else {
    adjusted.assign(logits.size(), kExcluded);
    for (const TokenId token : params.allowed_token_ids) adjusted[token] = logits[token];
  }
  for (const auto& [token, bias] : params.logit_bias) adjusted[token] += bias;
  if (!exclusions.mask.empty()) apply_mask(adjusted, exclusions.mask);
  for (const TokenId token : exclusions.banned) adjusted[token] = kExcluded;
  if (has_penalties(params)) {
    apply_penalties(adjusted, params, tokens, num_prompt_tokens, scratch.counts);
  }
}

}  // namespace

std::optional<TokenId> sample(std::span<const float> logits, const SamplingParams& params,
                              std::span<const TokenId> tokens, int num_prompt_tokens, std::uint64_t seed,
                              SamplerScratch& scratch, const Exclusions& exclusions) {
  const bool excludes = excludes_any(params, exclusions);
  if (excludes || !params.logit_bias.empty() || has_penalties(params)) {
    adjust(logits, params, tokens, num_prompt_tokens, exclusions, scratch);
    logits = scratch.logits;
  }
  const TokenId best = argmax(logits);
  if (excludes && !(logits[best] > kExcluded)) return std::nullopt;
  if (params.temperature == 0) return best;

  const float largest = logits[best];
  scratch.candidates.clear();
  for (std::size_t token = 0; token < logits.size(); ++token) {
    const double weight = std::exp((static_cast<double>(logits[token]) - largest) / params.temperature);
    // Also drops what has no probability at all: a logit of -inf, or NaN.
    if (weight > 0 && weight >= params.min_p) {
      scratch.candidates.push_back({logits[token], static_cast<TokenId>(token), weight});
    }
  }
  if (scratch.candidates.empty()) return best;
  const double random = uniform(seed, tokens.size() - num_prompt_tokens);
  if (params.top_k == 0 && params.top_p >= 1) return draw(scratch.candidates, random);
  return draw(keep_top(scratch.candidates, params.top_k, params.top_p), random);
}

}  // namespace kvasir::engine
