#pragma once

// How a reply ended, for whoever counts: one for each reply of a request, whatever the API. Data only.

#include "engine/request.h"

namespace kvasir::api {

struct RequestOutcome {
  enum class Reason {
    kStop,    // the model's end, a stop string or token, a call of a tool
    kLength,  // the limit of tokens
    kAbort,   // the client went away, or the server is shutting down
    kError,   // anything else, a missed deadline among it
  };
  Reason reason = Reason::kStop;
  int num_generated_tokens = 0;
  double total_ms = 0;             // from the request's arrival
  engine::RequestTimings timings;  // of the engine
};

}  // namespace kvasir::api
