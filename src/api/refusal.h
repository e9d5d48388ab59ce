#pragma once

// Why a request was refused or failed, in the words of each API.

#include <string>
#include <string_view>

#include "base/status.h"

namespace kvasir::api {

// `param`: the field of the request that is to blame, "" for none.
struct Refusal {
  Status status;
  std::string param;
};

// How an API words its errors.
enum class ErrorStyle { kOpenAi, kAnthropic };

// The HTTP status that goes with a failure.
int http_status(StatusCode code);

// OpenAI: {"error":{"message","type","param","code"}}; Anthropic:
// {"type":"error","error":{"type","message"}}.
std::string error_body(ErrorStyle style, const Refusal& refusal);
// The same for failures that are HTTP's own, such as 405 and 413.
std::string error_body(ErrorStyle style, int http_status, std::string_view message,
                       std::string_view param = "");

}  // namespace kvasir::api
