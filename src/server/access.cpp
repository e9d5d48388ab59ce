#include "server/access.h"

#include <fmt/format.h>
#include <strings.h>
#include <xxhash.h>

#include <algorithm>

namespace kvasir::server {
namespace {

// Takes as long for a key that is wrong in its first byte as for one that is wrong in its last.
bool is_equal(std::string_view expected, std::string_view given) {
  if (given.empty() || expected.empty()) return false;
  unsigned difference = expected.size() == given.size() ? 0 : 1;
  for (std::size_t i = 0; i < given.size(); ++i) {
    difference |=
        static_cast<unsigned char>(expected[i % expected.size()]) ^ static_cast<unsigned char>(given[i]);
  }
  return difference == 0;
}

bool is_among(const std::vector<std::string>& keys, std::string_view given) {
  bool found = false;
  for (const std::string& key : keys) found |= is_equal(key, given);
  return found;
}

}  // namespace

std::optional<AccessControl::Denial> AccessControl::check(api::Access access, std::string_view key) const {
  const bool has_keys = !config_.api_keys.empty(), has_admin_keys = !config_.admin_keys.empty();
  if (access == api::Access::kEveryone || (!has_keys && !has_admin_keys)) return std::nullopt;
  const bool is_admin = is_among(config_.admin_keys, key), is_user = is_among(config_.api_keys, key);
  if (is_admin) return std::nullopt;
  if (access == api::Access::kUsers && (is_user || !has_keys)) return std::nullopt;
  if (key.empty()) return Denial{401, "this route needs a key: Authorization: Bearer KEY"};
  if (!is_user) return Denial{401, "the key is not one of this server's"};
  return Denial{403, has_admin_keys
                         ? "this route needs the admin key"
                         : "this route needs an admin key, and the server was started without --admin-key"};
}

api::Caller AccessControl::caller(std::string_view key) const {
  if (config_.share_cache_across_keys || config_.api_keys.empty() || key.empty()) return {};
  const XXH128_hash_t hash = XXH3_128bits(key.data(), key.size());
  return {fmt::format("{:016x}{:016x}", hash.high64, hash.low64)};
}

std::string_view AccessControl::allowed_origin(std::string_view origin) const {
  if (origin.empty()) return "";
  const std::vector<std::string>& origins = config_.cors_origins;
  if (std::find(origins.begin(), origins.end(), "*") != origins.end()) return "*";
  return std::find(origins.begin(), origins.end(), origin) == origins.end() ? "" : origin;
}

std::string_view key_of(std::string_view authorization, std::string_view x_api_key) {
  constexpr std::string_view kScheme = "Bearer ";
  if (authorization.size() <= kScheme.size() ||
      strncasecmp(authorization.data(), kScheme.data(), kScheme.size()) != 0) {
    return x_api_key;
  }
  const std::string_view key = authorization.substr(kScheme.size());
  return key.substr(std::min(key.find_first_not_of(' '), key.size()));
}

}  // namespace kvasir::server
