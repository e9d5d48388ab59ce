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

}  // namespace

Scheduler::Scheduler(const SchedulerConfig& config, kv::KvCache& cache, backend::KvPool& pool,
                     const Clock& clock)
    : config_(config), cache_(cache), pool_(pool), clock_(clock) {}

Scheduler::~Scheduler() {
  KVASIR_CHECK(idle() && events_.empty());
}

void Scheduler::add(std::unique_ptr<Sequence> sequence) {
  KVASIR_CHECK(sequence->num_prompt_tokens > 0 && sequence->max_tokens > sequence->num_prompt_tokens);
  waiting_.push_back(std::move(sequence));
}

void Scheduler::cancel(RequestId id) {
  for (auto* queue : {&waiting_, &running_}) {
    for (const auto& sequence : *queue) {
      if (sequence->id == id) finish(*sequence, FinishReason::kCancelled, Status());
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
  reserve_running();
  admit_waiting();
  add_slices();
  return batch_;
}

// A sequence admitted earlier never gives way to a later one, so the oldest always gets on.
void Scheduler::reserve_running() {
  for (std::size_t i = 0; i < running_.size(); ++i) {
    Sequence& sequence = *running_[i];
    while (!cache_.reserve(*sequence.blocks, sequence.num_tokens())) {
      std::unique_ptr<Sequence> newest = std::move(running_.back());
      running_.pop_back();
      const bool gave_way_itself = newest.get() == &sequence;
      preempt(std::move(newest));
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
  waiting_.insert(waiting_.begin(), std::move(sequence));
}

void Scheduler::admit_waiting() {
  const int max_running = std::min(config_.max_running_sequences, config_.max_batch_tokens);
  for (auto& sequence : waiting_) {
    if (num_running() == max_running) break;
    if (waits_for_leader(*sequence)) continue;
    if (!admit(*sequence)) {
      // Nobody overtakes the oldest. With nothing else running it fits: the engine has checked its size.
      KVASIR_CHECK(!running_.empty());
      break;
    }
    Sequence& admitted = *sequence;
    running_.push_back(std::move(sequence));
    if (admitted.num_uncomputed_tokens() == 0) on_logits(admitted, as_floats(admitted.blocks->last_logits()));
  }
  std::erase(waiting_, nullptr);
  put_away_finished();
}

// Whether another sequence is computing a prefix of this one's prompt that the tree does not have yet. Such a
// prefix is computed once: this sequence stays in the queue until it is there, or the other one is gone.
bool Scheduler::waits_for_leader(Sequence& sequence) {
  if (!sequence.uses_prefix_cache()) return false;
  if (sequence.leader != 0) {
    const auto leader = std::find_if(running_.begin(), running_.end(),
                                     [&](const auto& other) { return other->id == sequence.leader; });
    if (leader != running_.end() && (*leader)->num_computed_tokens < sequence.leader_tokens) return true;
    sequence.leader = 0;
  }
  for (const auto& other : running_) {
    if (other->num_computed_tokens >= other->num_prompt_tokens || !other->uses_prefix_cache() ||
        other->request.cache_salt != sequence.request.cache_salt) {
      continue;
    }
    const std::span<const TokenId> prompt(other->tokens.data(), other->num_prompt_tokens);
    const int common = common_prefix(sequence.tokens, prompt);
    // Blocks enter the tree when they are full, the last one when the prompt is done.
    const int needed = std::min(round_up(common, config_.block_size), other->num_prompt_tokens);
    if (common < config_.min_tokens || other->num_computed_tokens >= needed) continue;
    const int cached = cache_.probe(cache_.open_namespace(sequence.request.cache_salt), sequence.tokens);
    if (common - cached < config_.block_size) continue;
    sequence.leader = other->id;
    sequence.leader_tokens = needed;
    return true;
  }
  return false;
}

// Gives the sequence its blocks, from the cache as far as it has them; false when there is no room now.
bool Scheduler::admit(Sequence& sequence) {
  const TimePoint begin = clock_.now();
  const bool is_first = sequence.timings.num_preemptions == 0;
  // One more than it has: a full hit brings a token at once, whose K and V are computed in the same step.
  const int num_tokens = sequence.num_tokens() + 1;
  if (sequence.uses_prefix_cache()) {
    const kv::NamespaceId ns = cache_.open_namespace(sequence.request.cache_salt);
    auto admission = is_first ? cache_.admit(ns, sequence.tokens, num_tokens)
                              : cache_.resume(ns, sequence.tokens, num_tokens);
    if (!admission) return false;
    if (admission->copy) pool_.copy_block(admission->copy->from, admission->copy->to);
    sequence.blocks = std::move(admission->blocks);
  } else {
    kv::SequenceBlocks blocks = cache_.admit_private();
    if (!cache_.reserve(blocks, num_tokens)) {
      cache_.release(std::move(blocks), sequence.tokens, 0);
      return false;
    }
    sequence.blocks = std::move(blocks);
  }
  sequence.blocks->reserve_table(round_up(sequence.max_tokens, config_.block_size) / config_.block_size);
  sequence.state = SequenceState::kRunning;
  sequence.num_computed_tokens = sequence.blocks->num_cached_tokens();
  if (is_first) {
    const TimePoint now = clock_.now();
    sequence.timings.queue_ms = elapsed_ms(sequence.submitted_at, begin);
    sequence.timings.cache_lookup_ms = elapsed_ms(begin, now);
    sequence.timings.num_cached_tokens = sequence.num_computed_tokens;
    stats_.prompt_tokens += sequence.num_prompt_tokens;
  }
  // What the tree holds was computed by someone; it counts as computed by the model only where it was run for
  // this sequence.
  sequence.num_prompt_tokens_computed =
      std::max(sequence.num_prompt_tokens_computed,
               std::min(sequence.num_computed_tokens, sequence.num_prompt_tokens));
  return true;
}

void Scheduler::add_slices() {
  const auto is_decoding = [](const Sequence& s) { return s.num_uncomputed_tokens() == 1; };
  const auto is_recomputing = [](const Sequence& s) { return !s.request.use_cache && s.has_reply(); };
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
  const int count = std::min(sequence.num_uncomputed_tokens(), budget_);
  if (count == 0) return;
  budget_ -= count;
  if (!sequence.forward_at) sequence.forward_at = clock_.now();
  model::SequenceSlice slice;
  slice.tokens = std::span<const TokenId>(sequence.tokens).subspan(sequence.num_computed_tokens, count);
  slice.start_position = sequence.num_computed_tokens;
  slice.block_table = sequence.blocks->block_table();
  slice.num_logits = count == sequence.num_uncomputed_tokens() ? 1 : 0;
  batch_.slices.push_back(slice);
  batch_.sequences.push_back(&sequence);
}

void Scheduler::commit(std::span<const float> logits) {
  for (std::size_t i = 0; i < batch_.slices.size(); ++i) {
    const model::SequenceSlice& slice = batch_.slices[i];
    Sequence& sequence = *batch_.sequences[i];
    sequence.num_computed_tokens += static_cast<int>(slice.tokens.size());
    cache_.commit(*sequence.blocks, sequence.tokens, sequence.num_computed_tokens);

    const int known = std::min(sequence.num_computed_tokens, sequence.num_prompt_tokens);
    stats_.prompt_tokens_computed += std::max(0, known - sequence.num_prompt_tokens_computed);
    sequence.num_prompt_tokens_computed = std::max(sequence.num_prompt_tokens_computed, known);

    if (slice.num_logits == 0) continue;
    const std::span<const float> row = logits.first(config_.vocab_size);
    logits = logits.subspan(config_.vocab_size);
    if (sequence.uses_prefix_cache() && !sequence.has_reply()) {
      cache_.insert_entry(*sequence.blocks, sequence.tokens, std::as_bytes(row));
    }
    on_logits(sequence, row);
  }
  put_away_finished();
}

// The logits after the sequence's last token are known, from the model or from the cache: the next token.
void Scheduler::on_logits(Sequence& sequence, std::span<const float> logits) {
  const TokenId token = sample(logits, sequence.request.sampling, sequence.tokens, sequence.num_prompt_tokens,
                               sequence.seed, scratch_);
  const TimePoint now = clock_.now();
  sequence.last_token_at = now;
  TokenEvent event;
  if (!sequence.first_token_at) {
    sequence.first_token_at = now;
    if (sequence.forward_at) sequence.timings.prefill_ms = elapsed_ms(*sequence.forward_at, now);
    if (sequence.request.wants_first_logits) event.first_logits.assign(logits.begin(), logits.end());
  }
  if (!sequence.request.use_cache) sequence.num_computed_tokens = 0;

  const std::vector<TokenId>& stops = sequence.request.stop_token_ids;
  const bool is_stop = std::find(stops.begin(), stops.end(), token) != stops.end();
  if (!is_stop) {
    sequence.tokens.push_back(token);
    ++stats_.generated_tokens;
    event.token = token;
  }
  if (event.token || !event.first_logits.empty()) events_.emplace_back(&sequence, std::move(event));
  if (is_stop) {
    finish(sequence, FinishReason::kStop, Status());
  } else if (sequence.num_tokens() == sequence.max_tokens) {
    finish(sequence, FinishReason::kLength, Status());
  }
}

void Scheduler::finish(Sequence& sequence, FinishReason reason, Status status) {
  if (sequence.blocks) {
    cache_.release(std::move(*sequence.blocks), sequence.tokens, sequence.num_computed_tokens);
    sequence.blocks.reset();
  }
  sequence.state = SequenceState::kFinished;
  ++stats_.requests_finished;
  if (sequence.first_token_at) {
    sequence.timings.decode_ms = elapsed_ms(*sequence.first_token_at, sequence.last_token_at);
  }
  sequence.timings.num_prompt_tokens = sequence.num_prompt_tokens;
  TokenEvent event;
  event.finish = reason;
  event.status = std::move(status);
  event.timings = sequence.timings;
  events_.emplace_back(&sequence, std::move(event));
}

void Scheduler::put_away_finished() {
  for (auto* queue : {&waiting_, &running_}) {
    for (auto& sequence : *queue) {
      if (sequence->state == SequenceState::kFinished) finished_.push_back(std::move(sequence));
    }
    std::erase(*queue, nullptr);
  }
}

void Scheduler::send_events() {
  for (auto& [sequence, event] : events_) sequence->sink(std::move(event));
  events_.clear();
  finished_.clear();
}

void Scheduler::check_integrity() const {
  for (const auto& sequence : waiting_) {
    KVASIR_CHECK(sequence->state == SequenceState::kWaiting && !sequence->blocks);
    KVASIR_CHECK(sequence->num_computed_tokens == 0 && sequence->num_tokens() < sequence->max_tokens);
  }
  for (const auto& sequence : running_) {
    KVASIR_CHECK(sequence->state == SequenceState::kRunning && sequence->blocks);
    KVASIR_CHECK(sequence->num_uncomputed_tokens() > 0 && sequence->num_tokens() < sequence->max_tokens);
    const int room = static_cast<int>(sequence->blocks->block_table().size()) * config_.block_size;
    KVASIR_CHECK(sequence->num_computed_tokens <= room);
  }
}

}  // namespace kvasir::engine
