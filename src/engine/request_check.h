#pragma once

// Which requests can be served at all.

#include <cstdint>

#include "base/status.h"
#include "engine/request.h"

namespace kvasir::engine {

struct RequestLimits {
  int vocab_size = 0;
  int context = 0;                   // tokens of prompt and reply
  std::int64_t capacity_tokens = 0;  // of the whole KV cache
  int max_samples = 0;
};

// Errors: kInvalidArgument, naming the field, what was expected and what came. No side effects.
Status check_request(const Request& request, const RequestLimits& limits);

}  // namespace kvasir::engine
