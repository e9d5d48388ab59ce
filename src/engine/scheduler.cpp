#include "engine/scheduler.h"

#include <algorithm>
#include <utility>

#include "base/check.h"

namespace kvasir::engine {
namespace {

int common_prefix(std::span<const TokenId> a, std::span<const TokenId> b) {
  const auto [end, unused] = std::mismatch(a.begin(), a.end(), b.begin(), b.end());
  return static_cast<int>(end - a.begin());
}

int round_up(int value, int multiple) {
  return (value + multiple - 1) / multiple * multiple;
}

std::span<const float> as_floats(std::span<const std::byte> bytes) {
  return {reinterpret_cast<const float*>(bytes.data()), bytes.size() / sizeof(float)};
}

// A request's prompt waits once, whatever the number of its samples.
int prompt_tokens_of_request(const Sequence& sequence) {
  return sequence.sample == 0 ? sequence.num_prompt_tokens : 0;
}

bool has_computed_prompt(const Sequence& sequence) {
  return sequence.state == SequenceState::kRunning &&
         sequence.num_computed_tokens >= sequence.num_prompt_tokens;
}

}  // namespace

Scheduler::Scheduler(const SchedulerConfig& config, kv::KvCache& cache, backend::KvPool& pool,
                     const Clock& clock)
    : config_(config),
      cache_(cache),
      pool_(pool),
      clock_(clock),
      scores_(pool.num_blocks(), config.block_size) {}

Scheduler::~Scheduler() {
  KVASIR_CHECK(idle() && events_.empty());
}

void Scheduler::enqueue(Queue& queue, std::unique_ptr<Sequence> sequence) {
  const auto before = [](const auto& a, const auto& b) { return comes_before(*a, *b); };
  const auto at = std::upper_bound(queue.begin(), queue.end(), sequence, before);
  queue.insert(at, std::move(sequence));
}

void Scheduler::add(std::unique_ptr<Sequence> sequence) {
  KVASIR_CHECK(sequence->num_prompt_tokens > 0 && sequence->max_tokens >= sequence->num_prompt_tokens);
  next_deadline_ = std::min(next_deadline_, sequence->request().deadline.value_or(TimePoint::max()));
  wait(std::move(sequence));
}

void Scheduler::wait(std::unique_ptr<Sequence> sequence) {
  num_waiting_tokens_ += prompt_tokens_of_request(*sequence);
  enqueue(waiting_, std::move(sequence));
}

// Leaves a null pointer in the queue.
std::unique_ptr<Sequence> Scheduler::take_waiting(std::unique_ptr<Sequence>& sequence) {
  num_waiting_tokens_ -= prompt_tokens_of_request(*sequence);
  return std::move(sequence);
}

void Scheduler::cancel(RequestId id, std::optional<int> sample) {
  for (auto* queue : {&waiting_, &running_}) {
    for (const auto& sequence : *queue) {
      if (sequence->id() != id || (sample && *sample != sequence->sample)) continue;
      const bool is_awaited =
          sequence->sample == 0 && !sequence->first_token_at && sequence->shared->num_samples_to_come > 0;
      if (sample && is_awaited) {
        sequence->ends_after_prompt = true;
      } else {
        finish(*sequence, FinishReason::kCancelled);
      }
    }
  }
  put_away_finished();
}

void Scheduler::end_all(FinishReason reason, const Status& status) {
  for (auto* queue : {&waiting_, &running_}) {
    for (const auto& sequence : *queue) finish(*sequence, reason, status);
  }
  put_away_finished();
}

const Batch& Scheduler::schedule() {
  batch_.slices.clear();
  batch_.sequences.clear();
  budget_ = config_.max_batch_tokens;
  logits_budget_ = config_.max_prompt_logits;
  end_overdue();
  reserve_running();
  admit_waiting();
  add_slices();
  return batch_;
}

void Scheduler::end_overdue() {
  const TimePoint now = clock_.now();
  if (now < next_deadline_) return;
  next_deadline_ = TimePoint::max();
  for (auto* queue : {&waiting_, &running_}) {
    for (const auto& sequence : *queue) {
      const TimePoint deadline = sequence->request().deadline.value_or(TimePoint::max());
      if (now < deadline) {
        next_deadline_ = std::min(next_deadline_, deadline);
        continue;
      }
      finish(*sequence, FinishReason::kError,
             error(StatusCode::kDeadlineExceeded, "the request's time was up after {:.0f} ms, with {} tokens",
                   elapsed_ms(sequence->shared->submitted_at, now),
                   std::max(0, sequence->num_tokens() - sequence->num_prompt_tokens)));
    }
  }
  put_away_finished();
}

// A sequence never gives way to a less urgent one, so the most urgent always gets on.
void Scheduler::reserve_running() {
  for (std::size_t i = 0; i < running_.size(); ++i) {
    Sequence& sequence = *running_[i];
    while (!cache_.reserve(*sequence.blocks, sequence.num_tokens())) {
      std::unique_ptr<Sequence> last = std::move(running_.back());
      running_.pop_back();
      const bool gave_way_itself = last.get() == &sequence;
      preempt(std::move(last));
      if (gave_way_itself) return;
    }
  }
}

void Scheduler::preempt(std::unique_ptr<Sequence> sequence) {
  cache_.release(std::move(*sequence->blocks), sequence->tokens, sequence->num_computed_tokens);
  sequence->blocks.reset();
  sequence->num_computed_tokens = 0;
  sequence->state = SequenceState::kWaiting;
  ++sequence->timings.num_preemptions;
  ++stats_.preemptions;
  wait(std::move(sequence));
}

bool Scheduler::has_room_to_run() const {
  return num_running() < std::min(config_.max_running_sequences, config_.max_batch_tokens);
}

void Scheduler::admit_waiting() {
  for (auto& sequence : waiting_) {
    if (!has_room_to_run()) break;
    const bool waits_for_sample = sequence->follows_sample() && sequence->shared->prompt_logits.empty();
    if (waits_for_sample || waits_for_leader(*sequence)) continue;
    if (!admit(*sequence)) {
      // Nobody overtakes the most urgent. With nothing else running it fits: the engine has checked its size.
      KVASIR_CHECK(!running_.empty());
      break;
    }
    Sequence& admitted = *sequence;
    enqueue(running_, take_waiting(sequence));
    if (admitted.follows_sample()) {
      on_prompt_logits(admitted, admitted.shared->prompt_logits);
    } else if (admitted.num_pending_tokens() == 0) {
      const std::span<const float> logits = as_floats(admitted.blocks->last_logits());
      keep_for_samples(admitted, logits);
      on_prompt_logits(admitted, logits);
    }
  }
  std::erase(waiting_, nullptr);
  put_away_finished();
}

// Whether another sequence is computing a prefix of this one's prompt that the tree does not have yet. Such a
// prefix is computed once: this sequence stays in the queue until it is there, or the other one is gone.
bool Scheduler::waits_for_leader(Sequence& sequence) {
  if (!sequence.uses_prefix_cache() || sequence.follows_sample()) return false;
  if (sequence.leader != 0) {
    const auto leader = std::find_if(running_.begin(), running_.end(),
                                     [&](const auto& other) { return other->id() == sequence.leader; });
    if (leader != running_.end() && (*leader)->num_computed_tokens < sequence.leader_tokens) return true;
    sequence.leader = 0;
  }
  for (const auto& other : running_) {
    if (other->num_computed_tokens >= other->num_prompt_tokens || !other->uses_prefix_cache() ||
        other->request().cache_salt != sequence.request().cache_salt) {
      continue;
    }
    const std::span<const TokenId> prompt(other->tokens.data(), other->num_prompt_tokens);
    const int common = common_prefix(sequence.tokens, prompt);
    // Blocks enter the tree when they are full, the last one when the prompt is done.
    const int needed = std::min(round_up(common, config_.block_size), other->num_prompt_tokens);
    if (common < config_.min_tokens || other->num_computed_tokens >= needed) continue;
    const int cached = cache_.probe(cache_.open_namespace(sequence.request().cache_salt), sequence.tokens);
    if (common - cached < config_.block_size) continue;
    sequence.leader = other->id();
    sequence.leader_tokens = needed;
    return true;
  }
  return false;
}

// Gives the sequence its blocks, from a sample or the cache as far as they have them; false when there is no
// room now.
bool Scheduler::admit(Sequence& sequence) {
  const TimePoint begin = clock_.now();
  if (sequence.tokens.empty()) sequence.tokens = sequence.request().prompt;
  if (!find_blocks(sequence)) return false;
  sequence.blocks->reserve_table(round_up(sequence.max_tokens, config_.block_size) / config_.block_size);
  sequence.tokens.reserve(sequence.max_tokens);
  sequence.state = SequenceState::kRunning;
  sequence.num_computed_tokens = sequence.blocks->num_cached_tokens();
  if (sequence.timings.num_preemptions == 0) note_first_admission(sequence, begin);
  // What the tree holds was computed by someone; it counts as computed by the model only where it was run for
  // this sequence.
  sequence.num_prompt_tokens_computed =
      std::max(sequence.num_prompt_tokens_computed,
               std::min(sequence.num_computed_tokens, sequence.num_prompt_tokens));
  if (sequence.is_reading()) use_known_scores(sequence);
  return true;
}

void Scheduler::copy_block(const kv::BlockCopy& copy) {
  pool_.copy_block(copy.from, copy.to);
  scores_.copy_block(copy.from, copy.to);
}

// Log-probabilities that are known of the beginning of the prompt, so that it need not be run for them.
void Scheduler::use_known_scores(Sequence& sequence) {
  const Request& request = sequence.request();
  if (request.wants_embedding || *request.num_prompt_logprobs > ScoreTable::kMaxTop) return;
  const std::span<const BlockId> blocks = sequence.blocks->block_table();
  TokenEvent event;
  for (int i = sequence.num_read_tokens + 1; i < sequence.num_computed_tokens; ++i) {
    auto logprobs = scores_.find(blocks, i, sequence.tokens[i], *request.num_prompt_logprobs);
    if (!logprobs) break;
    event.prompt_logprobs.push_back(std::move(*logprobs));
    sequence.num_read_tokens = i;
    sequence.next_score.reset();
  }
  if (!event.prompt_logprobs.empty()) events_.emplace_back(&sequence, std::move(event));
}

bool Scheduler::find_blocks(Sequence& sequence) {
  // One more than it has: a full hit brings a token at once, whose K and V are computed in the same step.
  const int num_tokens = std::min(sequence.num_tokens() + 1, sequence.max_tokens);
  if (sequence.follows_sample() && share_blocks(sequence, num_tokens)) return true;
  if (!sequence.uses_prefix_cache()) {
    kv::SequenceBlocks blocks = cache_.admit_private();
    if (!cache_.reserve(blocks, num_tokens)) {
      cache_.release(std::move(blocks), sequence.tokens, 0);
      return false;
    }
    sequence.blocks = std::move(blocks);
    return true;
  }
  const bool is_first = sequence.sample == 0 && sequence.timings.num_preemptions == 0;
  const kv::NamespaceId ns = cache_.open_namespace(sequence.request().cache_salt);
  auto admission = is_first ? cache_.admit(ns, sequence.tokens, num_tokens)
                            : cache_.resume(ns, sequence.tokens, num_tokens);
  if (!admission) return false;
  if (admission->copy) copy_block(*admission->copy);
  sequence.blocks = std::move(admission->blocks);
  if (is_first) {
    sequence.shared->lookup.miss_reason = admission->miss_reason;
    sequence.shared->lookup.divergence_token = admission->num_found_tokens;
  }
  return true;
}

// Takes the prompt's blocks from a sample of the same request that runs; false when there is none, or no
// room.
bool Scheduler::share_blocks(Sequence& sequence, int num_tokens) {
  if (!sequence.request().use_cache) return false;
  const auto source = std::find_if(running_.begin(), running_.end(), [&](const auto& other) {
    return other->shared == sequence.shared && has_computed_prompt(*other);
  });
  if (source == running_.end()) return false;
  auto admission = cache_.share(*(*source)->blocks, sequence.num_prompt_tokens, num_tokens);
  if (!admission) return false;
  if (admission->copy) copy_block(*admission->copy);
  sequence.blocks = std::move(admission->blocks);
  return true;
}

void Scheduler::note_first_admission(Sequence& sequence, TimePoint begin) {
  RequestTimings& lookup = sequence.shared->lookup;
  if (sequence.sample == 0) {
    lookup.num_prompt_tokens = sequence.num_prompt_tokens;
    lookup.num_cached_tokens = sequence.num_computed_tokens;
    if (!sequence.uses_prefix_cache()) lookup.miss_reason = MissReason::kDisabled;
    stats_.prompt_tokens += sequence.num_prompt_tokens;
  }
  sequence.timings = lookup;
  sequence.timings.queue_ms = elapsed_ms(sequence.shared->submitted_at, begin);
  sequence.timings.cache_lookup_ms = elapsed_ms(begin, clock_.now());
}

void Scheduler::add_slices() {
  const auto is_decoding = [](const Sequence& s) { return s.num_pending_tokens() == 1; };
  const auto is_recomputing = [](const Sequence& s) { return !s.request().use_cache && s.has_reply(); };
  for (const auto& sequence : running_) {
    if (is_decoding(*sequence)) add_slice(*sequence);
  }
  for (const auto& sequence : running_) {
    if (!is_decoding(*sequence) && !is_recomputing(*sequence)) add_slice(*sequence);
  }
  for (const auto& sequence : running_) {
    if (!is_decoding(*sequence) && is_recomputing(*sequence)) add_slice(*sequence);
  }
}

void Scheduler::add_slice(Sequence& sequence) {
  const int start = sequence.next_position();
  int end = start + std::min(sequence.num_pending_tokens(), budget_);
  // Of the prompt's tokens, those from here on are read.
  const int read_from = sequence.is_reading() ? std::max(start, sequence.num_read_tokens) : end;
  const bool reads_logits = sequence.is_reading() && sequence.request().num_prompt_logprobs.has_value();
  if (reads_logits) end = std::min(end, read_from + logits_budget_);
  if (end == start) return;
  budget_ -= end - start;
  if (!sequence.forward_at) sequence.forward_at = clock_.now();
  model::SequenceSlice slice;
  slice.tokens = std::span<const TokenId>(sequence.tokens).subspan(start, end - start);
  slice.start_position = start;
  slice.num_stored = std::clamp(sequence.num_computed_tokens - start, 0, end - start);
  slice.block_table = sequence.blocks->block_table();
  if (end == sequence.num_tokens()) slice.num_logits = 1;
  if (reads_logits) {
    slice.num_logits = std::max(0, end - read_from);
    logits_budget_ -= slice.num_logits;
  }
  if (sequence.request().wants_embedding) slice.num_hidden = std::max(0, end - read_from);
  batch_.slices.push_back(slice);
  batch_.sequences.push_back(&sequence);
}

void Scheduler::check_integrity() const {
  const auto check_order = [](const Queue& queue) {
    for (std::size_t i = 1; i < queue.size(); ++i) KVASIR_CHECK(comes_before(*queue[i - 1], *queue[i]));
  };
  std::int64_t num_waiting_tokens = 0;
  for (const auto& sequence : waiting_) num_waiting_tokens += prompt_tokens_of_request(*sequence);
  KVASIR_CHECK(num_waiting_tokens == num_waiting_tokens_);
  check_order(waiting_);
  check_order(running_);
  for (const auto& sequence : waiting_) {
    KVASIR_CHECK(sequence->state == SequenceState::kWaiting && !sequence->blocks);
    KVASIR_CHECK(sequence->num_computed_tokens == 0);
  }
  for (const auto& sequence : running_) {
    KVASIR_CHECK(sequence->state == SequenceState::kRunning && sequence->blocks);
    KVASIR_CHECK(sequence->num_pending_tokens() > 0);
    KVASIR_CHECK(sequence->num_tokens() < sequence->max_tokens || !sequence->has_reply());
    const int room = static_cast<int>(sequence->blocks->block_table().size()) * config_.block_size;
    KVASIR_CHECK(sequence->num_computed_tokens <= room);
  }
}

}  // namespace kvasir::engine
