#pragma once

// Which tokens run in the next step, and what becomes of their logits. It admits waiting sequences to the KV
// cache, cuts prompts into chunks under the token budget, preempts when blocks run out, samples, and sends
// the events. It knows blocks and logits but no model: the engine puts one between schedule() and commit().
// Owned and called by the engine's thread only.
//
// The order of a step:
//   1 running sequences get the blocks for the tokens that they have; the newest are preempted when there are
//   none 2 waiting sequences are admitted, oldest first, as far as there is memory; one whose prefix another
//   is just
//     computing waits for that one's blocks; one whose whole prompt is cached gets its first token at once
//   3 the budget goes to sequences that lack one token (decode), then to prompts and what preemption has
//   lost,
//     then to sequences that work without a cache, which compute all their tokens for each new one

#include <memory>
#include <span>
#include <utility>
#include <vector>

#include "backend/kv_pool.h"
#include "base/clock.h"
#include "base/status.h"
#include "engine/sampler.h"
#include "engine/sequence.h"
#include "kv/kv_cache.h"
#include "model/model.h"

namespace kvasir::engine {

struct SchedulerConfig {
  int max_batch_tokens = 512;
  int max_running_sequences = 256;
  int block_size = 16;
  int min_tokens = 20;  // as the cache's: a shorter common prefix is not worth waiting for
  int vocab_size = 0;
};

struct SchedulerStats {
  std::int64_t prompt_tokens = 0;           // of all requests started
  std::int64_t prompt_tokens_computed = 0;  // of those, run through the model for the first time
  std::int64_t generated_tokens = 0;
  std::int64_t requests_finished = 0, preemptions = 0;
};

// What the model is to run; valid until the next call of the scheduler.
struct Batch {
  std::vector<model::SequenceSlice> slices;
  std::vector<Sequence*> sequences;  // whose slices they are
};

class Scheduler {
 public:
  Scheduler(const SchedulerConfig& config, kv::KvCache& cache, backend::KvPool& pool, const Clock& clock);
  ~Scheduler();  // Requires: idle(), no event unsent

  // Takes over a waiting sequence. Requires: prompt and max_tokens fit the model and an otherwise empty
  // cache.
  void add(std::unique_ptr<Sequence> sequence);

  // Ends a sequence with kCancelled or, given a failed status, kError. No effect when it has ended.
  void cancel(RequestId id);
  void end_all(FinishReason reason, const Status& status);

  // The next step's work. Empty when only full hits were served, or all is done.
  const Batch& schedule();

  // The batch has run; `logits` is (number of slices that want logits, vocab_size).
  void commit(std::span<const float> logits);

  // Sends the events that the calls above have caused, in order. Apart from them, so that whoever learns of
  // an event finds it in the counters too.
  void send_events();
  bool has_events() const { return !events_.empty(); }

  bool idle() const { return waiting_.empty() && running_.empty(); }
  int num_waiting() const { return static_cast<int>(waiting_.size()); }
  int num_running() const { return static_cast<int>(running_.size()); }
  const SchedulerStats& stats() const { return stats_; }

  // Invariants of states, queues and block tables; aborts on a violation. Does not check the cache.
  void check_integrity() const;

 private:
  void reserve_running();
  void admit_waiting();
  bool admit(Sequence& sequence);
  bool waits_for_leader(Sequence& sequence);
  void preempt(std::unique_ptr<Sequence> sequence);
  void add_slices();
  void add_slice(Sequence& sequence);
  void on_logits(Sequence& sequence, std::span<const float> logits);
  void finish(Sequence& sequence, FinishReason reason, Status status);
  void put_away_finished();

  const SchedulerConfig config_;
  kv::KvCache& cache_;
  backend::KvPool& pool_;
  const Clock& clock_;
  std::vector<std::unique_ptr<Sequence>> waiting_;   // oldest first; preempted ones before new ones
  std::vector<std::unique_ptr<Sequence>> running_;   // in order of admission
  std::vector<std::unique_ptr<Sequence>> finished_;  // until their last events are sent
  std::vector<std::pair<Sequence*, TokenEvent>> events_;
  Batch batch_;
  int budget_ = 0;  // tokens left in the step
  SamplerScratch scratch_;
  SchedulerStats stats_;
};

}  // namespace kvasir::engine
