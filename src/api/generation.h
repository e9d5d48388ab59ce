#pragma once

// One request's replies as they come: tokens from the engine become text, stop strings end it, and what an
// API reports is collected. A request has one or more prompts, and for each one or more choices, numbered
// prompt by prompt. One thread at a time; the engine's thread only puts events into the channel. Destroying
// it cancels what still runs.

#include <chrono>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <variant>
#include <vector>

#include "api/generation_spec.h"
#include "api/request_outcome.h"
#include "api/stop_text.h"
#include "base/channel.h"
#include "base/clock.h"
#include "engine/engine.h"
#include "grammar/grammar_cache.h"
#include "tokenizer/detokenizer.h"

namespace kvasir::api {

// What a generation works with; all outlive it.
struct Environment {
  const tokenizer::Tokenizer& tokenizer;
  engine::Engine& engine;
  const Clock& clock;
  const ModelFacts& model;
  grammar::GrammarCache& grammars;
  std::chrono::milliseconds request_timeout{0};         // 0: none
  std::function<void(const RequestOutcome&)> on_reply;  // hears of each choice that has ended; may be empty
};

// Of one prompt.
struct PromptReport {
  std::vector<TokenId> ids;
  std::string text;                             // for echo
  std::vector<engine::TokenLogprobs> logprobs;  // of ids[1] and all after it, when asked for
  double tokenize_ms = 0;
  engine::RequestTimings timings;  // of its first choice
};

// Of one choice; complete when it has ended.
struct Choice {
  int index = 0;
  int prompt = 0;  // which one it replies to
  std::string text;
  std::vector<TokenId> ids;
  std::vector<engine::TokenLogprobs> logprobs;  // of each id, when asked for
  double sum_logprobs = 0;
  bool is_cut = false;                   // by the limit of tokens; else by a stop, or the model itself
  std::optional<std::string> stop_text;  // the stop string that ended it
  std::optional<TokenId> stop_token;     // the caller's stop token that did
  bool has_ended = false;
  engine::RequestTimings timings;
};

// The sums over a request: also over the choices that best_of passes over.
struct Usage {
  int prompt_tokens = 0, completion_tokens = 0, cached_tokens = 0;
};

class Generation {
 public:
  // What is new in one choice: the text and the token that came, or its end.
  struct Delta {
    const Choice& choice;
    std::string text;             // may be empty
    std::size_t num_new_ids = 0;  // at the end of choice.ids
  };

  // `notify` is called, on the engine's thread, whenever there may be something new; it must be quick and may
  // outlive the generation. A refusal names the field.
  static std::variant<std::unique_ptr<Generation>, Refusal> start(const Environment& environment,
                                                                  GenerationSpec spec,
                                                                  std::function<void()> notify);
  ~Generation();
  Generation(const Generation&) = delete;
  Generation& operator=(const Generation&) = delete;

  // Called by next() when all choices have ended.
  void on_end(std::function<void(const Generation&)> call) { on_end_ = std::move(call); }

  // Nullopt when there is nothing new yet, or nothing more: see has_ended(). The reference in it is valid
  // until the next call.
  std::optional<Delta> next();

  // All choices have ended, or it has failed.
  bool has_ended() const { return num_open_ == 0 || !status_.ok(); }
  // Why there are no replies.
  const Status& status() const { return status_; }

  const GenerationSpec& spec() const { return spec_; }
  const std::vector<PromptReport>& prompts() const { return prompts_; }
  // Those to be shown: with best_of the likeliest of each prompt. Requires: has_ended() or best_of == n.
  const std::vector<Choice>& choices() const { return choices_; }
  Usage usage() const;
  // From the beginning until now, or until it ended.
  double elapsed() const;

 private:
  struct Event {
    int prompt;
    engine::TokenEvent event;
  };
  struct Running {  // beside each choice
    tokenizer::IncrementalDetokenizer detokenizer;
    StopText stop_text;
  };

  Generation(const Environment& environment, GenerationSpec spec);
  std::optional<Refusal> submit(const std::function<void()>& notify);
  std::optional<Refusal> check_prompt_logprobs() const;
  std::optional<Refusal> encode(const Prompt& prompt, PromptReport& report) const;
  engine::Request request(const PromptReport& prompt) const;
  void on_token(Choice& choice, engine::TokenEvent& event, std::string& text);
  void on_end(Choice& choice, const engine::TokenEvent& event, std::string& text);
  void keep_best();
  void fail(Status status);
  void report(const Choice& choice, RequestOutcome::Reason reason) const;
  void report_open(RequestOutcome::Reason reason) const;

  const Environment environment_;
  const GenerationSpec spec_;
  const TimePoint begin_;
  std::optional<TimePoint> end_;
  std::shared_ptr<Channel<Event>> events_;  // shared with the engine's sinks
  std::vector<engine::RequestId> ids_;      // by prompt
  std::vector<PromptReport> prompts_;
  std::vector<Choice> choices_;
  std::vector<Running> running_;
  std::shared_ptr<const grammar::CompiledGrammar> grammar_;
  std::function<void(const Generation&)> on_end_;
  int num_open_ = 0;
  int num_dropped_tokens_ = 0;  // of choices that best_of has passed over
  Status status_;
};

}  // namespace kvasir::api
