#pragma once

// A request on its way through the engine: its tokens, its blocks, where it stands. Owned by the scheduler,
// touched by the engine's thread only.

#include <optional>
#include <vector>

#include "base/clock.h"
#include "engine/request.h"
#include "kv/kv_cache.h"

namespace kvasir::engine {

//             admit                    stop token, length, cancel, error
//   kWaiting ────────> kRunning ─────────────────────────────────────────> kFinished
//      ^                  │                                                    ^
//      └──── preempt ─────┘          (kWaiting ──── cancel, error ────────────┘)
enum class SequenceState { kWaiting, kRunning, kFinished };

struct Sequence {
  RequestId id = 0;
  Request request;  // its prompt has moved to `tokens`
  EventSink sink;
  TimePoint submitted_at;

  SequenceState state = SequenceState::kWaiting;
  std::vector<TokenId> tokens;  // the prompt, then the reply
  int num_prompt_tokens = 0;
  int max_tokens = 0;           // of prompt and reply together
  int num_computed_tokens = 0;  // whose K and V are in the blocks
  std::uint64_t seed = 0;
  std::optional<kv::SequenceBlocks> blocks;  // while running

  // While waiting: the request that is computing a prefix of this prompt, and how many tokens of its own it
  // must have computed until the prefix is in the tree. 0: none.
  RequestId leader = 0;
  int leader_tokens = 0;

  std::optional<TimePoint> forward_at, first_token_at;  // the first forward's start; the first token's time
  TimePoint last_token_at;
  int num_prompt_tokens_computed = 0;  // positions of the prompt known once, by the cache or the model
  RequestTimings timings;

  bool uses_prefix_cache() const { return request.use_cache && request.use_prefix_cache; }
  int num_tokens() const { return static_cast<int>(tokens.size()); }
  int num_uncomputed_tokens() const { return num_tokens() - num_computed_tokens; }
  bool has_reply() const { return num_tokens() > num_prompt_tokens; }
};

}  // namespace kvasir::engine
