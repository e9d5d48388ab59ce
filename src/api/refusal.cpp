#include "api/refusal.h"

#include <nlohmann/json.hpp>

namespace kvasir::api {
namespace {

using nlohmann::ordered_json;

const char* openai_type(int http_status) {
  switch (http_status) {
    case 401:
      return "authentication_error";
    case 403:
      return "permission_error";
    case 404:
      return "not_found_error";
    case 429:
      return "rate_limit_error";
    case 500:
      return "server_error";
    case 501:
      return "not_supported_error";
    case 503:
      return "unavailable_error";
    case 504:
      return "timeout_error";
    default:
      return "invalid_request_error";
  }
}

const char* anthropic_type(int http_status) {
  switch (http_status) {
    case 401:
    case 403:
    case 404:
    case 429:
    case 504:
      return openai_type(http_status);
    case 413:
      return "request_too_large";
    case 503:
      return "overloaded_error";
    case 500:
      return "api_error";
    default:
      return "invalid_request_error";
  }
}

}  // namespace

int http_status(StatusCode code) {
  switch (code) {
    case StatusCode::kInvalidArgument:
      return 400;
    case StatusCode::kNotFound:
      return 404;
    case StatusCode::kUnsupported:
      return 501;
    case StatusCode::kResourceExhausted:
      return 429;
    case StatusCode::kUnavailable:
    case StatusCode::kCancelled:
      return 503;
    case StatusCode::kDeadlineExceeded:
      return 504;
    default:
      return 500;
  }
}

std::string error_body(ErrorStyle style, const Refusal& refusal) {
  return error_body(style, http_status(refusal.status.code()), refusal.status.message(), refusal.param);
}

std::string error_body(ErrorStyle style, int http_status, std::string_view message, std::string_view param) {
  ordered_json json;
  if (style == ErrorStyle::kAnthropic) {
    json["type"] = "error";
    json["error"]["type"] = anthropic_type(http_status);
    json["error"]["message"] = message;
  } else {
    json["error"]["message"] = message;
    json["error"]["type"] = openai_type(http_status);
    json["error"]["param"] = param.empty() ? ordered_json() : ordered_json(param);
    json["error"]["code"] = http_status;
  }
  return json.dump(-1, ' ', false, ordered_json::error_handler_t::replace);
}

}  // namespace kvasir::api
