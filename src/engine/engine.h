#pragma once

// Continuous batching on one thread of its own: drain the inbox, schedule a batch under the token budget,
// forward, sample, commit. Any thread may call the public functions. Each accepted request ends in exactly
// one last event.

#include <cstddef>
#include <memory>
#include <optional>

#include "backend/kv_pool.h"
#include "base/clock.h"
#include "base/status.h"
#include "engine/request.h"
#include "kv/kv_cache.h"
#include "model/model.h"

namespace kvasir::engine {

struct EngineConfig {
  int max_batch_tokens = 512;  // of one step, decode first
  int max_running_sequences = 256;
  int max_queued_requests = 1024;  // samples beyond those running; more is kResourceExhausted
  // Prompt tokens of requests beyond those running, 0: no limit; more is kResourceExhausted, except for a
  // request that finds nothing waiting.
  std::int64_t max_queued_tokens = 0;
  std::size_t kv_cache_memory = 0;  // bytes for blocks, their metadata and entries' logits
  int block_size = 16;
  backend::KvDtype kv_dtype = backend::KvDtype::kF16;
  int min_tokens = 20;
  int max_entries = 0;
  std::chrono::milliseconds max_age{1'200'000};
};

struct EngineStats {
  kv::KvCacheStats cache;
  std::int64_t prompt_tokens = 0;  // of all requests started
  std::int64_t prompt_tokens_computed =
      0;  // of those, run through the model (recomputation after preemption not counted)
  std::int64_t generated_tokens = 0;
  // A sample counts as a request. Finished is the sum of the four after it.
  std::int64_t requests_running = 0, requests_waiting = 0, requests_finished = 0, preemptions = 0;
  std::int64_t finished_stop = 0, finished_length = 0, cancelled = 0, failed = 0;
  std::int64_t tokens_waiting = 0;  // of the prompts of waiting requests
  // Prompt tokens that were looked up in the prefix cache, and of those found; once per request, not again
  // after preemption.
  std::int64_t prefix_cache_queries = 0, prefix_cache_hits = 0;
  double kv_cache_usage = 0;  // the part of the blocks that running requests use, 0 to 1
  std::int64_t steps = 0;
  // Of the steps' time: inside the model, and around it (scheduling, cache, sampling, sending of events).
  double forward_ms = 0, overhead_ms = 0;
};

class Engine {
 public:
  // Sizes the KV pool from the budget and starts the thread. Errors: kInvalidArgument when the budget holds
  // no useful number of blocks (names the smallest that would do). `model` and `clock` must outlive the
  // engine.
  static Result<std::unique_ptr<Engine>> start(model::Model& model, const EngineConfig& config,
                                               const Clock& clock);
  ~Engine();  // stop(), unless it has been called

  // Queues a request. Errors: kInvalidArgument (empty prompt, token or number out of range, a prompt that has
  // no room in the context or in the whole KV budget, with both numbers), kResourceExhausted (queue full),
  // kUnavailable (stopping), health() when that is not ok.
  Result<RequestId> submit(Request request, EventSink sink);

  // Ends a request within one step: the last events of its samples say kCancelled. No effect when it has
  // ended.
  void cancel(RequestId id, std::optional<int> sample = {});

  const EngineConfig& config() const;

  // Why it has stopped by itself, which only a defect or want of memory makes it do; ok: it has not.
  Status health() const;

  // A consistent snapshot, as of the last step.
  EngineStats stats() const;

  // Empties the prefix cache between two steps and waits for it.
  kv::KvCache::Cleared clear_cache();

  // Refuses new requests, finishes those accepted, checks the integrity of what is left, and returns.
  // drain_for zero: cancels them instead.
  void stop(std::chrono::milliseconds drain_for = {});

 private:
  struct Impl;
  explicit Engine(std::unique_ptr<Impl> impl);
  std::unique_ptr<Impl> impl_;
};

}  // namespace kvasir::engine
