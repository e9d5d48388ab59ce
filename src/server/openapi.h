#pragma once

// The OpenAPI 3.1 document of all routes: openapi.json, which is part of the binary. openapi_test.cpp holds
// it against the routes, tests/clients against what they answer.

#include <string_view>

namespace kvasir::server {

// JSON. No side effects.
std::string_view openapi_document();

}  // namespace kvasir::server
