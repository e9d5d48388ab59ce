#pragma once

// From logits to a token. Deterministic: the same logits, parameters, tokens and seed give the same token,
// whatever else runs.

#include <cstdint>
#include <optional>
#include <span>
#include <vector>

#include "base/ids.h"
#include "engine/request.h"

namespace kvasir::engine {

// Memory that sample() reuses from call to call; its content means nothing between calls.
struct SamplerScratch {
  struct Candidate {
    float logit;
    TokenId token;
    double weight;  // exp(logit - largest logit)
  };
  std::vector<float> logits;
  std::vector<Candidate> candidates;
  std::vector<std::int32_t> counts;  // of each token of the vocabulary; all zero between calls
};

// Tokens that must not be chosen, beside those that SamplingParams excludes.
struct Exclusions {
  std::span<const std::uint32_t> mask = {};  // only tokens whose bits are set (TokenConstraint); empty: all
  std::span<const TokenId> banned = {};      // not these
};

// Chooses the token that follows `tokens`, of which the first `num_prompt_tokens` are the prompt. In this
// order: logit bias, exclusions, repetition penalty (Keskar et al. 2019, over prompt and reply), presence and
// frequency penalty (over the reply, as OpenAI defines them), temperature, min-p, top-k, top-p over what
// top-k left. Temperature 0 takes the largest logit, of equal ones the lowest id. The random number is a
// function of `seed` and the reply's length alone. Nullopt when everything is excluded. `logits`:
// (vocab_size). Requires: at least one logit; parameters in the ranges of SamplingParams, tokens in the
// vocabulary.
std::optional<TokenId> sample(std::span<const float> logits, const SamplingParams& params,
                              std::span<const TokenId> tokens, int num_prompt_tokens, std::uint64_t seed,
                              SamplerScratch& scratch, const Exclusions& exclusions = {});

}  // namespace kvasir::engine
