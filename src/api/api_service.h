#pragma once

// Between the server's text and the engine's tokens: tokenizes, submits, and turns events into text and the
// original's responses. No sockets. Any thread may call it.

#include <functional>
#include <memory>
#include <string>

#include "api/generate_request.h"
#include "api/response_stream.h"
#include "base/clock.h"
#include "base/status.h"
#include "engine/engine.h"
#include "tokenizer/tokenizer.h"

namespace kvasir::api {

class ApiService {
 public:
  // All must outlive the service.
  ApiService(const tokenizer::Tokenizer& tokenizer, std::vector<TokenId> eos_token_ids,
             engine::Engine& engine, const Clock& clock)
      : tokenizer_(tokenizer), eos_token_ids_(std::move(eos_token_ids)), engine_(engine), clock_(clock) {}

  // Starts a request. `notify` is called, on the engine's thread, whenever the stream has something new; it
  // must be quick and may outlive the stream. Errors: those of the tokenizer and of Engine::submit.
  Result<std::unique_ptr<ResponseStream>> generate(GenerateRequest request, std::function<void()> notify);

  // The JSON text of GET /cache/stats, and what POST /cache/clear answers.
  std::string cache_stats() const;
  std::string clear_cache();

 private:
  const tokenizer::Tokenizer& tokenizer_;
  const std::vector<TokenId> eos_token_ids_;
  engine::Engine& engine_;
  const Clock& clock_;
};

}  // namespace kvasir::api
