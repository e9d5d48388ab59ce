#pragma once

// Who may use what: keys and origins. Immutable, any thread.

#include <optional>
#include <string>
#include <string_view>

#include "api/api_service.h"
#include "api/routes.h"
#include "server/http_config.h"

namespace kvasir::server {

class AccessControl {
 public:
  // `config` must outlive it.
  explicit AccessControl(const HttpConfig& config) : config_(config) {}

  struct Denial {
    int http_status;  // 401: no key, or none that we know; 403: a key, but not for this route
    std::string message;
  };
  // Why a request may not use the route; nullopt: it may. `key`: what the client sent, "" for none.
  std::optional<Denial> check(api::Access access, std::string_view key) const;

  // The caller with this key: each has a salt of its own, so that nobody can learn from the cache what
  // another has asked. Requires: check() let it in.
  api::Caller caller(std::string_view key) const;

  // What Access-Control-Allow-Origin says to a page from `origin`; "" for nothing.
  std::string_view allowed_origin(std::string_view origin) const;

 private:
  const HttpConfig& config_;
};

// The key in "Authorization: Bearer KEY", or in Anthropic's "X-Api-Key: KEY".
std::string_view key_of(std::string_view authorization, std::string_view x_api_key);

}  // namespace kvasir::server
