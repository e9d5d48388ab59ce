#include "api/routes.h"

namespace kvasir::api {
namespace {

constexpr RouteInfo kRoutes[] = {
    {Route::kGenerate, "POST", "/generate", Access::kUsers},
    {Route::kCompletions, "POST", "/v1/completions", Access::kUsers},
    {Route::kChatCompletions, "POST", "/v1/chat/completions", Access::kUsers},
    {Route::kResponses, "POST", "/v1/responses", Access::kUsers},
    {Route::kMessages, "POST", "/v1/messages", Access::kUsers, ErrorStyle::kAnthropic},
    {Route::kEmbeddings, "POST", "/v1/embeddings", Access::kUsers},
    {Route::kModels, "GET", "/v1/models", Access::kUsers},
    {Route::kModel, "GET", "/v1/models/{id}", Access::kUsers},
    {Route::kTokenize, "POST", "/tokenize", Access::kUsers},
    {Route::kDetokenize, "POST", "/detokenize", Access::kUsers},
    {Route::kApplyTemplate, "POST", "/apply-template", Access::kUsers},
    {Route::kCacheStats, "GET", "/cache/stats", Access::kAdmins},
    {Route::kCacheClear, "POST", "/cache/clear", Access::kAdmins},
    {Route::kResetPrefixCache, "POST", "/reset_prefix_cache", Access::kAdmins},
    {Route::kHealth, "GET", "/health", Access::kEveryone},
    {Route::kHealthLive, "GET", "/health/live", Access::kEveryone},
    {Route::kVersion, "GET", "/version", Access::kUsers},
    {Route::kMetrics, "GET", "/metrics", Access::kUsers},
    {Route::kOpenApi, "GET", "/openapi.json", Access::kUsers},
};

}  // namespace

std::span<const RouteInfo> all_routes() {
  return kRoutes;
}

const RouteInfo* find_route(std::string_view path, std::string_view& parameter) {
  for (const RouteInfo& route : kRoutes) {
    const std::size_t brace = route.path.find('{');
    if (brace == std::string_view::npos) {
      if (route.path == path) return &route;
    } else if (path.size() > brace && path.starts_with(route.path.substr(0, brace))) {
      // Names of models have slashes.
      parameter = path.substr(brace);
      return &route;
    }
  }
  return nullptr;
}

}  // namespace kvasir::api
