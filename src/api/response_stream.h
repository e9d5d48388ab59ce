#pragma once

// The reply to one request as it comes: text piece by piece, then the original's response. One thread at a
// time; the engine's thread only puts events into its channel. Destroying it cancels the request.

#include <functional>
#include <memory>
#include <optional>
#include <string>

#include "api/generate_request.h"
#include "api/stop_text.h"
#include "base/channel.h"
#include "base/clock.h"
#include "engine/engine.h"
#include "tokenizer/detokenizer.h"

namespace kvasir::api {

class ResponseStream {
 public:
  // What has come: the text of a token (which may be empty), or the end.
  struct Piece {
    std::string text;
    std::optional<std::string> response;  // at the end: the JSON of the whole response
    Status status;                        // at the end: why there is none
    bool is_last() const { return response.has_value() || !status.ok(); }
  };

  // Requires: events of the request `id` go to `events`.
  ResponseStream(engine::Engine& engine, engine::RequestId id,
                 std::shared_ptr<Channel<engine::TokenEvent>> events, GenerateRequest request,
                 const tokenizer::Tokenizer& tokenizer, const Clock& clock, TimePoint begin,
                 double tokenize_ms);
  ~ResponseStream();
  ResponseStream(const ResponseStream&) = delete;
  ResponseStream& operator=(const ResponseStream&) = delete;

  // The next piece, or nullopt when there is none yet. Nothing comes after the last one.
  std::optional<Piece> next();

 private:
  Piece finish(const engine::TokenEvent& event);

  engine::Engine& engine_;
  const engine::RequestId id_;
  const std::shared_ptr<Channel<engine::TokenEvent>> events_;  // shared with the engine's sink
  const GenerateRequest request_;
  const Clock& clock_;
  const TimePoint begin_;
  const double tokenize_ms_;
  tokenizer::IncrementalDetokenizer detokenizer_;
  StopText stop_text_;
  std::string text_;
  int num_generated_ = 0;
  bool is_done_ = false;
};

}  // namespace kvasir::api
