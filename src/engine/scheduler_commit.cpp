// What becomes of the model's output: tokens, log-probabilities, embeddings, and the ends of replies.

#include <algorithm>
#include <utility>

#include "base/check.h"
#include "engine/log_probability.h"
#include "engine/scheduler.h"

namespace kvasir::engine {

void Scheduler::commit(std::span<const float> logits, std::span<const float> hidden) {
  const auto take = [](std::span<const float>& from, std::size_t count) {
    const std::span<const float> taken = from.first(count);
    from = from.subspan(count);
    return taken;
  };
  std::size_t num_hidden = 0;
  for (const model::SequenceSlice& slice : batch_.slices) num_hidden += slice.num_hidden;
  const std::size_t hidden_size = num_hidden == 0 ? 0 : hidden.size() / num_hidden;

  for (std::size_t i = 0; i < batch_.slices.size(); ++i) {
    const model::SequenceSlice& slice = batch_.slices[i];
    Sequence& sequence = *batch_.sequences[i];
    const int end = slice.start_position + static_cast<int>(slice.tokens.size());
    forget_scores(sequence, slice);
    sequence.num_computed_tokens = std::max(sequence.num_computed_tokens, end);
    cache_.commit(*sequence.blocks, sequence.tokens, sequence.num_computed_tokens);

    const int known = std::min(sequence.num_computed_tokens, sequence.num_prompt_tokens);
    stats_.prompt_tokens_computed += std::max(0, known - sequence.num_prompt_tokens_computed);
    sequence.num_prompt_tokens_computed = std::max(sequence.num_prompt_tokens_computed, known);

    const std::span<const float> rows = take(logits, std::size_t(slice.num_logits) * config_.vocab_size);
    const std::span<const float> states = take(hidden, slice.num_hidden * hidden_size);
    if (sequence.is_reading()) read_prompt(sequence, slice, rows, states);
    if (sequence.num_pending_tokens() > 0) continue;
    const std::span<const float> last = rows.last(config_.vocab_size);
    if (sequence.has_reply()) {
      on_logits(sequence, last);
      continue;
    }
    if (sequence.uses_prefix_cache()) {
      cache_.insert_entry(*sequence.blocks, sequence.tokens, std::as_bytes(last));
    }
    keep_for_samples(sequence, last);
    admit_samples(sequence);
    on_prompt_logits(sequence, last);
  }
  put_away_finished();
}

// Nothing is known of the tokens whose K and V were written, but for the one after those read before.
void Scheduler::forget_scores(const Sequence& sequence, const model::SequenceSlice& slice) {
  const int num_tokens = static_cast<int>(slice.tokens.size());
  for (int i = slice.num_stored; i < num_tokens; ++i) {
    scores_.forget(slice.block_table, slice.start_position + i);
  }
  const int next = sequence.num_read_tokens - slice.start_position;
  if (sequence.next_score && next >= 0 && next < num_tokens) {
    scores_.store(slice.block_table, sequence.num_read_tokens, *sequence.next_score);
  }
}

// What was asked for of the prompt's tokens that have been run: their hidden states join the sum, and their
// logits, those after a token, give the probability of the next one.
void Scheduler::read_prompt(Sequence& sequence, const model::SequenceSlice& slice,
                            std::span<const float> logits, std::span<const float> hidden) {
  const int begin = std::max(slice.start_position, sequence.num_read_tokens);
  const int end = slice.start_position + static_cast<int>(slice.tokens.size());
  if (end <= begin) return;
  sequence.num_read_tokens = end;
  if (const std::size_t size = hidden.size() / (end - begin); size > 0) {
    sequence.hidden_sum.resize(size);
    for (std::size_t i = 0; i < hidden.size(); ++i) sequence.hidden_sum[i % size] += hidden[i];
  }
  if (!sequence.request().num_prompt_logprobs) return;
  const int num_top = *sequence.request().num_prompt_logprobs;
  const std::span<const BlockId> blocks = sequence.blocks->block_table();
  TokenEvent event;
  for (int i = begin; i < std::min(end, sequence.num_prompt_tokens - 1); ++i) {
    const std::span<const float> row =
        logits.subspan(std::size_t(i - begin) * config_.vocab_size, config_.vocab_size);
    TokenLogprobs logprobs =
        token_logprobs(row, sequence.tokens[i + 1], std::max(num_top, ScoreTable::kMaxTop));
    if (i + 1 < sequence.num_computed_tokens) {
      scores_.store(blocks, i + 1, logprobs);
    } else {
      sequence.next_score = logprobs;
    }
    if (num_top < ScoreTable::kMaxTop) logprobs.top.clear();
    event.prompt_logprobs.push_back(std::move(logprobs));
  }
  if (!event.prompt_logprobs.empty()) events_.emplace_back(&sequence, std::move(event));
}

// The whole prompt is computed, and the logits after it are known: from the model, the cache, or a sample.
void Scheduler::on_prompt_logits(Sequence& sequence, std::span<const float> logits) {
  if (sequence.follows_sample()) {
    on_logits(sequence, logits);
    forget_follower(*sequence.shared);
  } else if (sequence.ends_after_prompt) {
    finish(sequence, FinishReason::kCancelled);
  } else if (sequence.max_tokens > sequence.num_prompt_tokens) {
    on_logits(sequence, logits);
  } else {
    if (sequence.forward_at) sequence.timings.prefill_ms = elapsed_ms(*sequence.forward_at, clock_.now());
    finish(sequence, FinishReason::kLength);
  }
}

// One sample less will need the logits after the prompt.
void Scheduler::forget_follower(RequestState& shared) {
  if (--shared.num_samples_to_come == 0) shared.prompt_logits = {};
}

void Scheduler::keep_for_samples(const Sequence& first, std::span<const float> logits) {
  RequestState& shared = *first.shared;
  if (first.sample == 0 && shared.num_samples_to_come > 0) {
    shared.prompt_logits.assign(logits.begin(), logits.end());
  }
}

// The other samples of the request start while the first one has the prompt's blocks, as far as there is
// room.
void Scheduler::admit_samples(const Sequence& first) {
  if (first.shared->num_samples_to_come == 0) return;
  for (auto& sample : waiting_) {
    if (sample->shared != first.shared) continue;
    if (!has_room_to_run() || !admit(*sample)) break;
    Sequence& admitted = *sample;
    enqueue(running_, take_waiting(sample));
    on_prompt_logits(admitted, admitted.shared->prompt_logits);
  }
  std::erase(waiting_, nullptr);
}

// The logits after the sequence's last token are known: the next token.
void Scheduler::on_logits(Sequence& sequence, std::span<const float> logits) {
  const Request& request = sequence.request();
  const TimePoint now = clock_.now();
  sequence.last_token_at = now;
  TokenEvent event;
  if (!sequence.first_token_at) {
    sequence.first_token_at = now;
    if (sequence.forward_at) sequence.timings.prefill_ms = elapsed_ms(*sequence.forward_at, now);
    if (request.wants_first_logits) event.first_logits.assign(logits.begin(), logits.end());
  }
  if (!request.use_cache) sequence.num_computed_tokens = 0;

  const bool was_finished = sequence.constraint && sequence.constraint->is_finished();
  const std::optional<TokenId> token = was_finished ? std::nullopt : choose_token(sequence, logits);
  const std::vector<TokenId>& stops = request.stop_token_ids;
  const bool is_stop = token && std::find(stops.begin(), stops.end(), *token) != stops.end();
  if (token && !is_stop) {
    sequence.tokens.push_back(*token);
    ++stats_.generated_tokens;
    event.token = token;
    if (request.num_logprobs) event.logprobs = token_logprobs(logits, *token, *request.num_logprobs);
    if (sequence.constraint) {
      sequence.constraint->accept(*token);
      sequence.is_mask_filled = false;
    }
  }
  if (event.token || !event.first_logits.empty()) events_.emplace_back(&sequence, std::move(event));
  if (is_stop) {
    finish(sequence, FinishReason::kStop, Status(), token);
  } else if (sequence.constraint && sequence.constraint->is_finished()) {
    finish(sequence, FinishReason::kStop);
  } else if (!token) {
    finish(sequence, FinishReason::kError,
           error(StatusCode::kInvalidArgument,
                 "no token may follow {} generated ones: the constraint and allowed_token_ids leave none",
                 sequence.num_tokens() - sequence.num_prompt_tokens));
  } else if (sequence.num_tokens() == sequence.max_tokens) {
    finish(sequence, FinishReason::kLength);
  }
}

std::optional<TokenId> Scheduler::choose_token(Sequence& sequence, std::span<const float> logits) {
  const Request& request = sequence.request();
  fill_mask(sequence, config_.vocab_size);
  Exclusions exclusions;
  if (sequence.constraint) exclusions.mask = sequence.mask;
  const auto choose = [&] {
    return sample(logits, request.sampling, sequence.tokens, sequence.num_prompt_tokens, sequence.seed,
                  scratch_, exclusions);
  };
  const bool is_short = sequence.num_tokens() - sequence.num_prompt_tokens < request.min_new_tokens;
  if (is_short) exclusions.banned = request.stop_token_ids;
  std::optional<TokenId> token = choose();
  if (!token && is_short) {
    exclusions.banned = {};
    token = choose();
  }
  return token;
}

void Scheduler::finish(Sequence& sequence, FinishReason reason, Status status,
                       std::optional<TokenId> stop_token) {
  if (sequence.blocks) {
    cache_.release(std::move(*sequence.blocks), sequence.tokens, sequence.num_computed_tokens);
    sequence.blocks.reset();
  }
  if (sequence.follows_sample()) forget_follower(*sequence.shared);
  sequence.state = SequenceState::kFinished;
  ++stats_.requests_finished;
  ++(reason == FinishReason::kStop        ? stats_.finished_stop
     : reason == FinishReason::kLength    ? stats_.finished_length
     : reason == FinishReason::kCancelled ? stats_.cancelled
                                          : stats_.failed);
  if (sequence.first_token_at) {
    sequence.timings.decode_ms = elapsed_ms(*sequence.first_token_at, sequence.last_token_at);
  }
  sequence.timings.num_prompt_tokens = sequence.num_prompt_tokens;
  TokenEvent event;
  event.finish = reason;
  event.status = std::move(status);
  event.stop_token = stop_token;
  event.timings = sequence.timings;
  if (reason == FinishReason::kLength && sequence.request().wants_embedding) {
    for (const double sum : sequence.hidden_sum) {
      event.embedding.push_back(static_cast<float>(sum / sequence.num_prompt_tokens));
    }
  }
  events_.emplace_back(&sequence, std::move(event));
}

void Scheduler::put_away_finished() {
  const auto is_finished = [](const auto& s) { return s->state == SequenceState::kFinished; };
  for (auto& sequence : waiting_) {
    if (is_finished(sequence)) finished_.push_back(take_waiting(sequence));
  }
  for (auto& sequence : running_) {
    if (is_finished(sequence)) finished_.push_back(std::move(sequence));
  }
  std::erase(waiting_, nullptr);
  std::erase(running_, nullptr);
}

void Scheduler::send_events() {
  for (auto& [sequence, event] : events_) {
    event.sample = sequence->sample;
    sequence->shared->sink(std::move(event));
  }
  events_.clear();
  finished_.clear();
}

}  // namespace kvasir::engine
