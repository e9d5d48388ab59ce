#include "api/generation.h"

#include <algorithm>
#include <limits>
#include <utility>

#include "api/encode_prompt.h"
#include "engine/token_constraint.h"

namespace kvasir::api {
namespace {

// A grammar's state as the engine knows constraints.
class GrammarConstraint : public engine::TokenConstraint {
 public:
  explicit GrammarConstraint(grammar::TokenConstraint constraint) : constraint_(std::move(constraint)) {}

  std::unique_ptr<engine::TokenConstraint> clone() const override {
    return std::make_unique<GrammarConstraint>(*this);
  }
  void fill_mask(std::span<std::uint32_t> bits) override {
    constraint_.fill_mask(bits);
    if (is_lost_) std::fill(bits.begin(), bits.end(), 0);
  }
  // A grammar so ambiguous that the matcher has given up readings of it may refuse what its mask allowed:
  // then nothing may follow, which ends the reply with an error.
  void accept(TokenId token) override { is_lost_ |= !constraint_.accept(token); }
  bool is_finished() const override { return constraint_.is_finished(); }

 private:
  grammar::TokenConstraint constraint_;
  bool is_lost_ = false;
};

}  // namespace

Generation::Generation(const Environment& environment, GenerationSpec spec)
    : environment_(environment), spec_(std::move(spec)), begin_(environment.clock.now()) {}

Generation::~Generation() {
  if (has_ended() && status_.ok()) return;
  // Nobody waits for it any more.
  if (status_.ok()) report_open(RequestOutcome::Reason::kAbort);
  for (const engine::RequestId id : ids_) environment_.engine.cancel(id);
}

std::variant<std::unique_ptr<Generation>, Refusal> Generation::start(const Environment& environment,
                                                                     GenerationSpec spec,
                                                                     std::function<void()> notify) {
  // More than may wait would be told to try again for ever.
  const int max_replies =
      std::min(RequestLimits::kMaxReplies, environment.engine.config().max_queued_requests);
  if (auto refusal = check_counts(spec, max_replies)) return std::move(*refusal);
  std::unique_ptr<Generation> generation(new Generation(environment, std::move(spec)));
  if (auto refusal = generation->submit(notify)) return std::move(*refusal);
  return generation;
}

std::optional<Refusal> Generation::submit(const std::function<void()>& notify) {
  for (const Prompt& prompt : spec_.prompts) {
    if (auto refusal = encode(prompt, prompts_.emplace_back())) return refusal;
  }
  if (auto refusal = check_prompt_logprobs()) return refusal;
  if (spec_.format != nullptr) {
    grammar_ = environment_.grammars.get(spec_.format);
  }
  // A reader that is slow or gone never holds up the engine: there is room for all that can come, which the
  // engine's own limits bound. The channel grows as it is needed.
  events_ = std::make_shared<Channel<Event>>(std::numeric_limits<std::size_t>::max());
  const bool skips = spec_.skip_special_tokens;
  for (int i = 0; i < static_cast<int>(prompts_.size()); ++i) {
    for (int sample = 0; sample < spec_.best_of; ++sample) {
      Choice& choice = choices_.emplace_back();
      choice.index = static_cast<int>(choices_.size()) - 1;
      choice.prompt = i;
      running_.push_back(
          {tokenizer::IncrementalDetokenizer(environment_.tokenizer, {skips}), StopText(spec_.stop)});
    }
    auto id = environment_.engine.submit(request(prompts_[i]),
                                         [events = events_, notify, i](engine::TokenEvent event) {
                                           Event sent = {i, std::move(event)};
                                           events->try_send(sent);
                                           notify();
                                         });
    if (!id.ok()) {
      status_ = id.status();
      const bool is_prompt = id.status().code() == StatusCode::kInvalidArgument;
      return Refusal{id.status(), is_prompt ? "prompt" : ""};
    }
    ids_.push_back(*id);
    num_open_ += spec_.best_of;
  }
  return std::nullopt;
}

// Each choice repeats those of its prompt.
std::optional<Refusal> Generation::check_prompt_logprobs() const {
  if (!spec_.num_prompt_logprobs) return std::nullopt;
  std::int64_t num_tokens = 0;
  for (const PromptReport& prompt : prompts_) num_tokens += static_cast<std::int64_t>(prompt.ids.size());
  const std::int64_t count = num_tokens * spec_.num_samples * (*spec_.num_prompt_logprobs + 1);
  if (count <= RequestLimits::kMaxPromptLogprobs) return std::nullopt;
  const char* param = spec_.echo ? "logprobs" : "prompt_logprobs";
  return Refusal{
      error(StatusCode::kInvalidArgument,
            "{}: {} prompt tokens with {} log-probabilities each in {} replies are {}, expected at most {}",
            param, num_tokens, *spec_.num_prompt_logprobs + 1, spec_.num_samples, count,
            RequestLimits::kMaxPromptLogprobs),
      param};
}

std::optional<Refusal> Generation::encode(const Prompt& prompt, PromptReport& report) const {
  const TimePoint begin = environment_.clock.now();
  const tokenizer::Tokenizer& tokenizer = environment_.tokenizer;
  auto ids = encode_prompt(tokenizer, prompt, spec_.add_special_tokens, spec_.truncate_prompt_tokens);
  if (!ids.ok()) return Refusal{ids.status(), "prompt"};
  report.ids = std::move(*ids);
  if (spec_.echo) {
    const auto* text = std::get_if<std::string>(&prompt);
    const bool is_whole = text != nullptr && !spec_.truncate_prompt_tokens;
    report.text = is_whole ? *text : tokenizer.decode(report.ids, {spec_.skip_special_tokens});
  }
  report.tokenize_ms = spec_.encode_ms + elapsed_ms(begin, environment_.clock.now());
  return std::nullopt;
}

engine::Request Generation::request(const PromptReport& prompt) const {
  engine::Request request;
  request.prompt = prompt.ids;
  request.max_new_tokens = spec_.max_new_tokens.value_or(environment_.model.context);
  request.min_new_tokens = spec_.min_new_tokens;
  request.num_samples = spec_.best_of;
  request.sampling = spec_.sampling;
  request.stop_token_ids = spec_.stop_token_ids;
  if (!spec_.ignore_eos) {
    const std::vector<TokenId>& eos = environment_.model.eos_token_ids;
    request.stop_token_ids.insert(request.stop_token_ids.end(), eos.begin(), eos.end());
  }
  request.use_cache = spec_.use_cache;
  request.use_prefix_cache = spec_.use_prefix_cache;
  request.cache_salt = spec_.cache_salt;
  request.priority = spec_.priority;
  if (environment_.request_timeout.count() > 0) request.deadline = begin_ + environment_.request_timeout;
  request.num_logprobs = spec_.num_logprobs;
  if (spec_.best_of > spec_.num_samples && !request.num_logprobs) request.num_logprobs = 0;
  request.num_prompt_logprobs = spec_.num_prompt_logprobs;
  if (grammar_ != nullptr) {
    request.constraint = std::make_unique<GrammarConstraint>(grammar::TokenConstraint(grammar_));
  }
  return request;
}

std::optional<Generation::Delta> Generation::next() {
  while (!has_ended()) {
    std::optional<Event> received = events_->try_receive();
    if (!received) return std::nullopt;
    engine::TokenEvent& event = received->event;
    PromptReport& prompt = prompts_[received->prompt];
    std::move(event.prompt_logprobs.begin(), event.prompt_logprobs.end(),
              std::back_inserter(prompt.logprobs));
    Choice& choice = choices_[received->prompt * spec_.best_of + event.sample];
    // After a stop string the engine may have been a step ahead.
    if (choice.has_ended) continue;
    const std::size_t num_ids = choice.ids.size();
    std::string text;
    if (event.token && !choice.stop_text) on_token(choice, event, text);
    if (event.finish) on_end(choice, event, text);
    if (!status_.ok()) return std::nullopt;
    choice.text += text;
    if (choice.has_ended) {
      if (event.sample == 0) prompt.timings = choice.timings;
      report(choice, choice.is_cut ? RequestOutcome::Reason::kLength : RequestOutcome::Reason::kStop);
      if (--num_open_ == 0) {
        end_ = environment_.clock.now();
        keep_best();
        if (on_end_) on_end_(*this);
        if (spec_.best_of > spec_.num_samples) return std::nullopt;  // the choice may have gone
      }
    }
    return Delta{choice, std::move(text), choice.ids.size() - num_ids};
  }
  return std::nullopt;
}

void Generation::on_token(Choice& choice, engine::TokenEvent& event, std::string& text) {
  Running& running = running_[choice.index];
  choice.ids.push_back(*event.token);
  if (event.logprobs) {
    choice.sum_logprobs += event.logprobs->logprob;
    if (spec_.num_logprobs) choice.logprobs.push_back(std::move(*event.logprobs));
  }
  text = running.detokenizer.push(*event.token);
  // Before min_tokens a stop string is text like any other.
  if (static_cast<int>(choice.ids.size()) < spec_.min_new_tokens) return;
  text = running.stop_text.push(text);
  if (!running.stop_text.stopped()) return;
  choice.stop_text = running.stop_text.matched();
  if (spec_.include_stop_text) text += *choice.stop_text;
  // Its last event brings the timings.
  environment_.engine.cancel(ids_[choice.prompt], event.sample);
}

void Generation::on_end(Choice& choice, const engine::TokenEvent& event, std::string& text) {
  const bool is_stopped = choice.stop_text.has_value();
  if (event.finish == engine::FinishReason::kError) return fail(event.status);
  if (event.finish == engine::FinishReason::kCancelled && !is_stopped) {
    return fail(error(StatusCode::kUnavailable, "the server is shutting down"));
  }
  Running& running = running_[choice.index];
  if (!is_stopped) {
    text += running.stop_text.push(running.detokenizer.finish()) + running.stop_text.finish();
    if (running.stop_text.stopped()) choice.stop_text = running.stop_text.matched();
    choice.is_cut = event.finish == engine::FinishReason::kLength && !choice.stop_text;
    const std::vector<TokenId>& own = spec_.stop_token_ids;
    if (event.stop_token && std::find(own.begin(), own.end(), *event.stop_token) != own.end()) {
      choice.stop_token = event.stop_token;
    }
  }
  choice.timings = event.timings;
  choice.has_ended = true;
}

// Of each prompt's choices the likeliest: by the mean log-probability of their tokens.
void Generation::keep_best() {
  if (spec_.best_of == spec_.num_samples) return;
  const auto mean = [](const Choice& choice) {
    return choice.ids.empty() ? 0 : choice.sum_logprobs / static_cast<double>(choice.ids.size());
  };
  std::vector<Choice> best;
  for (auto first = choices_.begin(); first != choices_.end(); first += spec_.best_of) {
    std::stable_sort(first, first + spec_.best_of,
                     [&](const Choice& a, const Choice& b) { return mean(a) > mean(b); });
    std::move(first, first + spec_.num_samples, std::back_inserter(best));
    for (auto other = first + spec_.num_samples; other != first + spec_.best_of; ++other) {
      num_dropped_tokens_ += static_cast<int>(other->ids.size());
    }
  }
  choices_ = std::move(best);
  for (std::size_t i = 0; i < choices_.size(); ++i) choices_[i].index = static_cast<int>(i);
}

void Generation::fail(Status status) {
  status_ = std::move(status);
  end_ = environment_.clock.now();
  const bool is_shutdown = status_.code() == StatusCode::kUnavailable;
  report_open(is_shutdown ? RequestOutcome::Reason::kAbort : RequestOutcome::Reason::kError);
}

void Generation::report_open(RequestOutcome::Reason reason) const {
  for (const Choice& choice : choices_) {
    if (!choice.has_ended) report(choice, reason);
  }
}

void Generation::report(const Choice& choice, RequestOutcome::Reason reason) const {
  if (!environment_.on_reply) return;
  environment_.on_reply({reason, static_cast<int>(choice.ids.size()), elapsed(), choice.timings});
}

Usage Generation::usage() const {
  Usage usage;
  usage.completion_tokens = num_dropped_tokens_;
  for (const PromptReport& prompt : prompts_) {
    usage.prompt_tokens += static_cast<int>(prompt.ids.size());
    usage.cached_tokens += prompt.timings.num_cached_tokens;
  }
  for (const Choice& choice : choices_) usage.completion_tokens += static_cast<int>(choice.ids.size());
  return usage;
}

double Generation::elapsed() const {
  return elapsed_ms(begin_, end_.value_or(environment_.clock.now()));
}

}  // namespace kvasir::api
