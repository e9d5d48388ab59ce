#pragma once

// Requests for a completion, and their replies read, in the two dialects that the load generator speaks. No
// sockets.

#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <vector>

#include "base/clock.h"
#include "base/status.h"
#include "bench/load_client.h"

namespace kvasir::bench {

enum class Api {
  kGenerate,  // POST /generate, the reply's last event is the whole response
  kOpenAi,    // POST /v1/completions
};

struct Dialect {
  Api api = Api::kGenerate;
  std::string model;              // the field "model" of kOpenAi
  nlohmann::json request_fields;  // object: set in every request; null takes a field out

  std::string route() const;
  // The body of a streamed, greedy request of exactly `num_tokens` new tokens, where the server lets us
  // ignore the end token.
  std::string request(const std::string& prompt, int num_tokens) const;
};

// One request as its client saw it.
struct Completion {
  TimePoint sent;
  TimePoint ended;
  std::vector<TimePoint> token_times;  // of each event with a token
  int num_output_tokens = 0;           // as the server counts, else its events
  std::optional<int> num_prompt_tokens;
  std::optional<int> num_cached_tokens;
  std::string text;

  double ttft_ms() const { return elapsed_ms(sent, token_times.front()); }
};

// Errors: kUnavailable for a status other than 200 (with the server's message), kCorrupt for what is not the
// dialect's event stream, or has no token.
Result<Completion> read_completion(Api api, const RawReply& reply);

}  // namespace kvasir::bench
