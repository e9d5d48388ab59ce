#pragma once

// JSON from outside: parsed with limits, failures as Status. Include <nlohmann/json.hpp> in the .cpp that
// looks inside; this header only names the type.

#include <cstddef>
#include <nlohmann/json_fwd.hpp>
#include <string_view>

#include "base/status.h"

namespace kvasir {

// The JSON value in `text`. `name` (a file, "request body") opens every message.
// Errors: kInvalidArgument (with the place) for a syntax error, invalid UTF-8, or nesting deeper than
// `max_depth`. Of a key that occurs twice in one object the last value counts, as in Python.
Result<nlohmann::json> parse_json(std::string_view name, std::string_view text, std::size_t max_depth = 64);

// The same with the keys of each object in the order of the text. Also refuses objects with so many keys that
// comparing them would take long.
Result<nlohmann::ordered_json> parse_ordered_json(std::string_view name, std::string_view text,
                                                  std::size_t max_depth = 64);

}  // namespace kvasir
