#pragma once

// A reply on its way through the engine: its tokens, its blocks, where it stands. Owned by the scheduler,
// touched by the engine's thread only, but for the mask of its constraint (see mask_filler.h).

#include <algorithm>
#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <vector>

#include "base/clock.h"
#include "engine/request.h"
#include "kv/kv_cache.h"

namespace kvasir::engine {

// What the samples of a request have in common.
struct RequestState {
  RequestId id = 0;
  Request request;  // its constraint has moved to the sequences, its prompt too where there is one sample
  EventSink sink;
  TimePoint submitted_at;
  // For samples that have no token yet: the logits after the prompt, from sample 0, once it has them.
  std::vector<float> prompt_logits;
  int num_samples_to_come = 0;  // that will need them
  // What the first lookup in the cache gave; the rest is each sample's own.
  RequestTimings lookup;
};

//             admit                    stop token, length, cancel, error
//   kWaiting ────────> kRunning ─────────────────────────────────────────> kFinished
//      ^                  │                                                    ^
//      └──── preempt ─────┘          (kWaiting ──── cancel, error ────────────┘)
enum class SequenceState { kWaiting, kRunning, kFinished };

struct Sequence {
  std::shared_ptr<RequestState> shared;  // by the samples of the request
  int sample = 0;

  SequenceState state = SequenceState::kWaiting;
  std::vector<TokenId> tokens;  // the prompt, then the reply; none before a later sample is first admitted
  int num_prompt_tokens = 0;
  int max_tokens = 0;           // of prompt and reply together
  int num_computed_tokens = 0;  // whose K and V are in the blocks
  std::uint64_t seed = 0;
  bool ends_after_prompt = false;            // cancelled, but others wait for the prompt
  std::optional<kv::SequenceBlocks> blocks;  // while running

  // While waiting: the request that is computing a prefix of this prompt, and how many tokens of its own it
  // must have computed until the prefix is in the tree. 0: none.
  RequestId leader = 0;
  int leader_tokens = 0;

  // Where log-probabilities or hidden states of the prompt are wanted: of how many of its tokens they are
  // known. Those tokens run through the model even if their K and V are cached. Else all of the prompt.
  int num_read_tokens = 0;
  std::vector<double> hidden_sum;  // (hidden_size), of the tokens read, in their order
  // The score of the token after those read, until its K and V are written (see score_table.h).
  std::optional<TokenLogprobs> next_score;

  // With a constraint: what may come next, known while is_mask_filled. Bits as in TokenConstraint::fill_mask.
  ConstraintPtr constraint;
  std::vector<std::uint32_t> mask;
  bool is_mask_filled = false;

  std::optional<TimePoint> forward_at, first_token_at;  // the first forward's start; the first token's time
  TimePoint last_token_at;
  int num_prompt_tokens_computed = 0;  // positions of the prompt known once, by the cache or the model
  RequestTimings timings;

  const Request& request() const { return shared->request; }
  RequestId id() const { return shared->id; }
  bool uses_prefix_cache() const { return request().use_cache && request().use_prefix_cache; }
  int num_tokens() const { return static_cast<int>(tokens.size()); }
  bool has_reply() const { return num_tokens() > num_prompt_tokens; }
  // A sample that takes over the computed prompt, and has not yet done so.
  bool follows_sample() const { return sample > 0 && !first_token_at; }
  bool is_reading() const { return num_read_tokens < num_prompt_tokens; }
  // The first token that is still to run, and how many there are.
  int next_position() const {
    return is_reading() ? std::min(num_read_tokens, num_computed_tokens) : num_computed_tokens;
  }
  int num_pending_tokens() const { return num_tokens() - next_position(); }
};

// The sequences of a request, one for each sample. Requires: a request that check_request() lets pass;
// max_tokens of prompt and reply together.
std::vector<std::unique_ptr<Sequence>> make_sequences(RequestId id, Request request, EventSink sink,
                                                      std::uint64_t seed, int max_tokens, TimePoint now);

// The order in which sequences are scheduled: by priority, then the older request.
bool comes_before(const Sequence& a, const Sequence& b);

// Has the constraint say what may come next, unless it has. No effect without a constraint.
void fill_mask(Sequence& sequence, int vocab_size);

}  // namespace kvasir::engine
