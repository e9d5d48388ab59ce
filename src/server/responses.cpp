#include "server/responses.h"

#include <nlohmann/json.hpp>
#include <utility>

namespace kvasir::server {

namespace http = boost::beast::http;
using nlohmann::ordered_json;

ErrorKind kind_of(StatusCode code) {
  switch (code) {
    case StatusCode::kInvalidArgument:
      return {http::status::bad_request, "invalid_request_error"};
    case StatusCode::kNotFound:
      return {http::status::not_found, "not_found_error"};
    case StatusCode::kUnsupported:
      return {http::status::not_implemented, "not_supported_error"};
    case StatusCode::kResourceExhausted:
      return {http::status::too_many_requests, "rate_limit_error"};
    case StatusCode::kUnavailable:
    case StatusCode::kCancelled:
      return {http::status::service_unavailable, "unavailable_error"};
    default:
      return {http::status::internal_server_error, "server_error"};
  }
}

std::string error_body(const ErrorKind& kind, std::string_view message, std::string_view param) {
  ordered_json json;
  json["error"]["message"] = message;
  json["error"]["type"] = kind.type;
  json["error"]["param"] = param.empty() ? ordered_json() : ordered_json(param);
  json["error"]["code"] = static_cast<unsigned>(kind.status);
  return json.dump(-1, ' ', false, ordered_json::error_handler_t::replace);
}

Response make_response(http::status status, std::string body) {
  Response response(status, 11);
  response.set(http::field::content_type, "application/json");
  response.body() = std::move(body);
  return response;
}

Response make_error(const ErrorKind& kind, std::string_view message, std::string_view param) {
  Response response = make_response(kind.status, error_body(kind, message, param));
  if (kind.status == http::status::too_many_requests || kind.status == http::status::service_unavailable) {
    response.set(http::field::retry_after, "1");
  }
  return response;
}

Response make_error(const Status& status, std::string_view param) {
  return make_error(kind_of(status.code()), status.message(), param);
}

}  // namespace kvasir::server
