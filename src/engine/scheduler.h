#pragma once

// Which tokens run in the next step, and what becomes of their logits. It admits waiting sequences to the KV
// cache, cuts prompts into chunks under the token budget, preempts when blocks run out, samples, and sends
// the events. It knows blocks and logits but no model: the engine puts one between schedule() and commit().
// Owned and called by the engine's thread only.
//
// The order of a step:
//   1 what is past its deadline ends
//   2 running sequences get the blocks for the tokens that they have; the least urgent are preempted
//     when there are none
//   3 waiting sequences are admitted, the most urgent first, as far as there is memory; one whose prefix
//     another is just computing waits for that one's blocks; one whose whole prompt is cached gets its first
//     token at once
//   4 the budget goes to sequences that lack one token (decode), then to prompts and what preemption
//     has lost, then to sequences that work without a cache, which compute all their tokens for each new one
//
// Urgent is what has the lower priority number, of equals what is older. The samples of a request are
// sequences of their own: those after the first wait for its prompt, then share its blocks and its last
// logits.
//
// Where a prompt's log-probabilities or hidden states are wanted, all its tokens run through the model, also
// those whose K and V are cached: these are read and not written again. Log-probabilities that an earlier
// request has had of the same blocks are known still (score_table.h), and the model runs from there on.

#include <memory>
#include <optional>
#include <span>
#include <utility>
#include <vector>

#include "backend/kv_pool.h"
#include "base/clock.h"
#include "base/status.h"
#include "engine/sampler.h"
#include "engine/score_table.h"
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
  int max_prompt_logits = 64;  // rows of logits of one step, beside those that tokens are chosen from
};

struct SchedulerStats {
  std::int64_t prompt_tokens = 0;           // of all requests started
  std::int64_t prompt_tokens_computed = 0;  // of those, run through the model for the first time
  std::int64_t generated_tokens = 0;
  // Of samples: finished is the sum of the four after it.
  std::int64_t requests_finished = 0;
  std::int64_t finished_stop = 0, finished_length = 0, cancelled = 0, failed = 0;
  std::int64_t preemptions = 0;
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

  // Takes over a waiting sequence; the samples of a request in order. Requires: prompt and max_tokens fit the
  // model and an otherwise empty cache.
  void add(std::unique_ptr<Sequence> sequence);

  // Ends a request, or one of its samples, with kCancelled. No effect when it has ended. The sample that
  // computes the prompt for others ends when it has.
  void cancel(RequestId id, std::optional<int> sample = {});
  // Ends all of them.
  void end_all(FinishReason reason, const Status& status);

  // The next step's work. Empty when only full hits were served, or all is done.
  const Batch& schedule();

  // The batch has run; `logits` is (sum of the slices' num_logits, vocab_size), `hidden` is (sum of their
  // num_hidden, hidden_size). The masks of constraints may have been filled meanwhile.
  void commit(std::span<const float> logits, std::span<const float> hidden = {});

  // Sends the events that the calls above have caused, in order. Apart from them, so that whoever learns of
  // an event finds it in the counters too.
  void send_events();
  bool has_events() const { return !events_.empty(); }

  bool idle() const { return waiting_.empty() && running_.empty(); }
  int num_waiting() const { return static_cast<int>(waiting_.size()); }
  int num_running() const { return static_cast<int>(running_.size()); }
  std::int64_t num_waiting_tokens() const { return num_waiting_tokens_; }  // of the requests' prompts
  const SchedulerStats& stats() const { return stats_; }

  // Invariants of states, queues and block tables; aborts on a violation. Does not check the cache.
  void check_integrity() const;

 private:
  using Queue = std::vector<std::unique_ptr<Sequence>>;

  // Admission (scheduler.cpp).
  static void enqueue(Queue& queue, std::unique_ptr<Sequence> sequence);
  void wait(std::unique_ptr<Sequence> sequence);
  std::unique_ptr<Sequence> take_waiting(std::unique_ptr<Sequence>& sequence);
  void end_overdue();
  void reserve_running();
  bool has_room_to_run() const;
  void admit_waiting();
  bool admit(Sequence& sequence);
  bool find_blocks(Sequence& sequence);
  bool share_blocks(Sequence& sequence, int num_tokens);
  void copy_block(const kv::BlockCopy& copy);
  void use_known_scores(Sequence& sequence);
  void note_first_admission(Sequence& sequence, TimePoint begin);
  bool waits_for_leader(Sequence& sequence);
  void preempt(std::unique_ptr<Sequence> sequence);
  void add_slices();
  void add_slice(Sequence& sequence);

  // What becomes of the model's output (scheduler_commit.cpp).
  void forget_scores(const Sequence& sequence, const model::SequenceSlice& slice);
  void read_prompt(Sequence& sequence, const model::SequenceSlice& slice, std::span<const float> logits,
                   std::span<const float> hidden);
  void on_prompt_logits(Sequence& sequence, std::span<const float> logits);
  static void forget_follower(RequestState& shared);
  void keep_for_samples(const Sequence& first, std::span<const float> logits);
  void admit_samples(const Sequence& first);
  void on_logits(Sequence& sequence, std::span<const float> logits);
  std::optional<TokenId> choose_token(Sequence& sequence, std::span<const float> logits);
  void finish(Sequence& sequence, FinishReason reason, Status status = {},
              std::optional<TokenId> stop_token = {});
  void put_away_finished();

  const SchedulerConfig config_;
  kv::KvCache& cache_;
  backend::KvPool& pool_;
  const Clock& clock_;
  Queue waiting_;  // both with the most urgent first
  Queue running_;
  Queue finished_;  // until their last events are sent
  std::int64_t num_waiting_tokens_ = 0;
  TimePoint next_deadline_ = TimePoint::max();  // none is earlier
  std::vector<std::pair<Sequence*, TokenEvent>> events_;
  Batch batch_;
  int budget_ = 0;         // tokens left in the step
  int logits_budget_ = 0;  // rows of prompts' logits left in it
  ScoreTable scores_;
  SamplerScratch scratch_;
  SchedulerStats stats_;
};

}  // namespace kvasir::engine
