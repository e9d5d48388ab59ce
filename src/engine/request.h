#pragma once

// What goes into the engine and what comes out of it: tokens, numbers, times. No text and no JSON.

#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "base/clock.h"
#include "base/ids.h"
#include "base/status.h"

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
};

struct Request {
  std::vector<TokenId> prompt;  // at least one token
  int max_new_tokens = 128;
  SamplingParams sampling;
  std::vector<TokenId> stop_token_ids;  // EOS ids and the caller's
  bool use_cache = true;                // false: the whole sequence is recomputed for each token
  bool use_prefix_cache = true;         // false: the tree is neither read nor written
  std::string cache_salt;
  bool wants_first_logits =
      false;  // the logits that the first token was chosen from, in its event (tests, `kvasir logits`)
};

enum class FinishReason { kStop, kLength, kCancelled, kError };

struct RequestTimings {
  double queue_ms = 0;  // submit to first schedule
  double cache_lookup_ms = 0;
  double prefill_ms = 0;  // first forward's start to the first logits; 0 when no forward ran
  double decode_ms = 0;   // first token to last
  int num_prompt_tokens = 0;
  int num_cached_tokens = 0;  // of the prompt, taken from the prefix cache
  int num_preemptions = 0;
};

// One message to the request's sink: a token, or the end.
struct TokenEvent {
  std::optional<TokenId> token;        // a generated token; stop tokens are not sent
  std::vector<float> first_logits;     // with the first token when wants_first_logits
  std::optional<FinishReason> finish;  // set in the last event, which carries no token
  Status status;                       // why, for kError
  RequestTimings timings;              // filled in the last event
};

using RequestId = std::uint64_t;

// Called on the engine's thread for each event, in order; must be quick and must not call the engine's
// blocking functions.
using EventSink = std::function<void(TokenEvent)>;

}  // namespace kvasir::engine
