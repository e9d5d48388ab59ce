#pragma once

// What the load generator has to find out about a server before it can measure it.

#include <optional>
#include <string>
#include <string_view>

#include "base/status.h"
#include "bench/completion.h"
#include "bench/load_client.h"
#include "bench/prompts.h"

namespace kvasir::bench {

// The dialect of `api`, "generate", "openai" or "auto": /generate when the server has that route, else
// /v1/completions with the first of its models.
// Errors: kUnavailable (no server there), kUnsupported (neither route), kInvalidArgument (another name).
Result<Dialect> probe_dialect(const ServerUrl& url, std::string_view api, std::chrono::seconds timeout);

// Prompts for a server whose tokenizer is not at hand, from the prompt tokens that it counts in two requests.
// Errors: those of a request; kUnsupported when it does not count.
Result<Prompts> calibrate(const ServerUrl& url, const Dialect& dialect, std::chrono::seconds timeout);

}  // namespace kvasir::bench
