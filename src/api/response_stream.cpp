#include "api/response_stream.h"

#include <nlohmann/json.hpp>
#include <utility>

namespace kvasir::api {

using nlohmann::ordered_json;

ResponseStream::ResponseStream(engine::Engine& engine, engine::RequestId id,
                               std::shared_ptr<Channel<engine::TokenEvent>> events, GenerateRequest request,
                               const tokenizer::Tokenizer& tokenizer, const Clock& clock, TimePoint begin,
                               double tokenize_ms)
    : engine_(engine),
      id_(id),
      events_(std::move(events)),
      request_(std::move(request)),
      clock_(clock),
      begin_(begin),
      tokenize_ms_(tokenize_ms),
      detokenizer_(tokenizer, {.skip_special_tokens = true}),
      stop_text_(request_.stop) {}

ResponseStream::~ResponseStream() {
  if (!is_done_) engine_.cancel(id_);
}

std::optional<ResponseStream::Piece> ResponseStream::next() {
  while (!is_done_) {
    const std::optional<engine::TokenEvent> event = events_->try_receive();
    if (!event) return std::nullopt;
    if (event->finish) {
      is_done_ = true;
      return finish(*event);
    }
    // After a stop string the engine may have been a step ahead.
    if (!event->token || stop_text_.stopped()) continue;
    ++num_generated_;
    Piece piece;
    piece.text = stop_text_.push(detokenizer_.push(*event->token));
    text_ += piece.text;
    if (stop_text_.stopped()) engine_.cancel(id_);
    return piece;
  }
  return std::nullopt;
}

ResponseStream::Piece ResponseStream::finish(const engine::TokenEvent& event) {
  Piece piece;
  if (event.finish == engine::FinishReason::kError) {
    piece.status = event.status;
    return piece;
  }
  if (event.finish == engine::FinishReason::kCancelled && !stop_text_.stopped()) {
    piece.status = error(StatusCode::kUnavailable, "the server is shutting down");
    return piece;
  }
  piece.text = stop_text_.push(detokenizer_.finish()) + stop_text_.finish();
  text_ += piece.text;

  const engine::RequestTimings& timings = event.timings;
  const double total_ms = elapsed_ms(begin_, clock_.now());
  const int num_computed = timings.num_prompt_tokens - timings.num_cached_tokens;
  ordered_json json;
  json["text"] = text_;
  json["latency_ms"] = total_ms;
  json["tokens_per_sec"] = total_ms > 0 ? num_generated_ * 1000.0 / total_ms : 0.0;
  json["cache_enabled"] = request_.use_cache;
  json["prefix_cache_hit"] = timings.num_cached_tokens > 0;
  ordered_json& out = json["timings"];
  out["tokenize_ms"] = tokenize_ms_;
  out["cache_lookup_ms"] = timings.cache_lookup_ms;
  out["ttft_ms"] = timings.prefill_ms;
  out["decode_ms"] = timings.decode_ms;
  out["total_ms"] = total_ms;
  out["queue_ms"] = timings.queue_ms;
  out["total_prompt_tokens"] = timings.num_prompt_tokens;
  out["cached_tokens"] = timings.num_cached_tokens;
  out["suffix_tokens_processed"] = num_computed;
  if (timings.num_cached_tokens > 0) out["prefix_tokens_saved"] = timings.num_cached_tokens;
  const bool is_cut = event.finish == engine::FinishReason::kLength && !stop_text_.stopped();
  json["finish_reason"] = is_cut ? "length" : "stop";
  json["prompt_tokens"] = timings.num_prompt_tokens;
  json["generated_tokens"] = num_generated_;
  piece.response = json.dump(-1, ' ', false, ordered_json::error_handler_t::replace);
  return piece;
}

}  // namespace kvasir::api
