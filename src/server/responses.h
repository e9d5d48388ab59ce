#pragma once

// The responses that are not a stream, and what an error looks like in either.

#include <boost/beast/http/message.hpp>
#include <boost/beast/http/string_body.hpp>
#include <string>
#include <string_view>

#include "base/status.h"

namespace kvasir::server {

using Response = boost::beast::http::response<boost::beast::http::string_body>;

struct ErrorKind {
  boost::beast::http::status status;
  const char* type;  // in the body
};

ErrorKind kind_of(StatusCode code);

// {"error": {...}}. `param`: the field that is to blame, "" for none.
std::string error_body(const ErrorKind& kind, std::string_view message, std::string_view param);

// With a body of JSON.
Response make_response(boost::beast::http::status status, std::string body);
Response make_error(const ErrorKind& kind, std::string_view message, std::string_view param = "");
Response make_error(const Status& status, std::string_view param = "");

}  // namespace kvasir::server
