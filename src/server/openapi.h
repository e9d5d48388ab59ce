#pragma once

// The OpenAPI 3.1 document of all routes: openapi.json, which is part of the binary. tests/openapi_test.py
// and openapi_test.cpp hold it against the routes, what they accept and what they answer.

#include <string_view>

namespace kvasir::server {

// JSON. No side effects.
std::string_view openapi_document();

}  // namespace kvasir::server
