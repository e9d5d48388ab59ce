#pragma once

// The routes of the server: one table, which the server, its documents and the tests read.

#include <optional>
#include <span>
#include <string_view>

#include "api/refusal.h"

namespace kvasir::api {

enum class Route {
  kGenerate,
  kCompletions,
  kChatCompletions,
  kResponses,
  kMessages,
  kEmbeddings,
  kModels,
  kModel,
  kTokenize,
  kDetokenize,
  kApplyTemplate,
  kCacheStats,
  kCacheClear,
  kResetPrefixCache,
  kHealth,
  kHealthLive,
  kVersion,
  kMetrics,
  kOpenApi,
};

// Who may use a route, where the server has keys.
enum class Access { kEveryone, kUsers, kAdmins };

struct RouteInfo {
  Route route;
  std::string_view method;
  std::string_view path;  // a last part in braces stands for any one
  Access access;
  ErrorStyle error_style = ErrorStyle::kOpenAi;
};

std::span<const RouteInfo> all_routes();

// The route of a path without its query, whatever the method; null when there is none. `parameter`: what
// stands for the part in braces.
const RouteInfo* find_route(std::string_view path, std::string_view& parameter);

}  // namespace kvasir::api
