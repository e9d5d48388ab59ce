#pragma once

// What goes into the engine and what comes out of it: tokens, numbers, times. No text and no JSON.

#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "base/clock.h"
#include "base/ids.h"
#include "base/status.h"
#include "engine/token_constraint.h"
#include "kv/miss_reason.h"

namespace kvasir::engine {

struct SamplingParams {
  float temperature = 0;  // 0: greedy
  int top_k = 0;          // 0: off
  float top_p = 1;
  float min_p = 0;
  float repetition_penalty = 1;
  float presence_penalty = 0;
  float frequency_penalty = 0;
  std::optional<std::uint64_t> seed = {};  // the same tokens in any batch; without one the engine draws it
  std::vector<std::pair<TokenId, float>> logit_bias = {};  // added to the logits, before all else; finite
  std::vector<TokenId> allowed_token_ids = {};             // no others are chosen; empty: all

  bool operator==(const SamplingParams&) const = default;
};

struct Request {
  std::vector<TokenId> prompt;  // at least one token
  // 0: only the prompt is computed: to have its log-probabilities or its embedding, or to warm the cache. The
  // last event says kLength then.
  int max_new_tokens = 128;
  int min_new_tokens =
      0;  // no stop token is chosen before so many tokens, unless the constraint leaves nothing else
  int num_samples = 1;  // replies to the one prompt, which is computed once; reply i has the seed `seed` + i
  SamplingParams sampling;
  std::vector<TokenId> stop_token_ids;  // EOS ids and the caller's
  bool use_cache = true;                // false: the whole sequence is recomputed for each token
  bool use_prefix_cache = true;         // false: the tree is neither read nor written
  std::string cache_salt;
  int priority = 0;  // lower is scheduled first, of equals the older one
  std::optional<TimePoint>
      deadline;  // the request ends then with kError and kDeadlineExceeded, queued or running

  // The log-probabilities of each generated token and of the likeliest so many; of prompt[1] and all after
  // it.
  std::optional<int> num_logprobs;
  std::optional<int> num_prompt_logprobs;
  // The mean of the prompt's hidden states after the model's last norm; its length is not 1. Requires:
  // max_new_tokens 0.
  bool wants_embedding = false;
  // The logits that the first token was chosen from, in its event (tests, `kvasir logits`).
  bool wants_first_logits = false;

  ConstraintPtr constraint;  // from std::unique_ptr<TokenConstraint>; each sample goes on with a clone
};

enum class FinishReason { kStop, kLength, kCancelled, kError };

using kv::MissReason;

struct RequestTimings {
  double queue_ms = 0;  // submit to first schedule
  double cache_lookup_ms = 0;
  double prefill_ms = 0;  // first forward's start to the first logits; 0 when no forward ran
  double decode_ms = 0;   // first token to last
  int num_prompt_tokens = 0;
  int num_cached_tokens = 0;  // of the prompt, taken from the prefix cache
  int num_preemptions = 0;
  // Why not all of the prompt was, and the index of its first token that was not found: num_prompt_tokens for
  // kNone. Both as of the request's first admission.
  MissReason miss_reason = MissReason::kNone;
  int divergence_token = 0;
};

// A token's probability by the model's own distribution: before bias, mask, penalties and temperature.
struct TokenLogprobs {
  TokenId token = 0;
  float logprob = 0;                           // natural logarithm
  int rank = 1;                                // 1: none is likelier
  std::vector<std::pair<TokenId, float>> top;  // the likeliest, best first, of equals the lowest id first

  bool operator==(const TokenLogprobs&) const = default;
};

// One message to the request's sink: a token, a part of the prompt's log-probabilities, or a sample's end.
// Each sample has exactly one last event, the one with `finish`.
struct TokenEvent {
  int sample = 0;                         // which of num_samples
  std::optional<TokenId> token;           // a generated token; stop tokens are not sent
  std::optional<TokenLogprobs> logprobs;  // with the token, if num_logprobs was given
  // Of sample 0, before its first token: in order, beginning with prompt[1], in one event or more.
  std::vector<TokenLogprobs> prompt_logprobs;
  std::vector<float> first_logits;     // with the first token when wants_first_logits
  std::optional<FinishReason> finish;  // set in the last event, which carries no token
  Status status;                       // why, for kError
  // These in the last event.
  std::optional<TokenId> stop_token;  // which one ended the reply, for kStop; none when the constraint did
  std::vector<float> embedding;       // (hidden_size), of sample 0, when wants_embedding
  RequestTimings timings;
};

using RequestId = std::uint64_t;

// Called on the engine's thread for each event, in order; must be quick and must not call the engine's
// blocking functions.
using EventSink = std::function<void(TokenEvent)>;

}  // namespace kvasir::engine
