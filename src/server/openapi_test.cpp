#include "server/openapi.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cctype>
#include <map>
#include <nlohmann/json.hpp>
#include <set>
#include <string>

#include "api/routes.h"
#include "server/version.h"

namespace kvasir::server {
namespace {

using nlohmann::json;

const json& document() {
  static const json parsed = json::parse(openapi_document());
  return parsed;
}

TEST(OpenApi, DescribesExactlyTheRoutes) {
  std::multimap<std::string, std::string> described, served;
  for (const auto& [path, operations] : document()["paths"].items()) {
    for (const auto& [method, operation] : operations.items()) described.emplace(path, method);
  }
  for (const api::RouteInfo& route : api::all_routes()) {
    std::string method(route.method);
    std::transform(method.begin(), method.end(), method.begin(), [](char c) { return std::tolower(c); });
    served.emplace(route.path, method);
  }
  EXPECT_EQ(described, served);
}

TEST(OpenApi, SaysWhoMayUseARouteAndHowItFails) {
  for (const api::RouteInfo& route : api::all_routes()) {
    const json& operations = document()["paths"][std::string(route.path)];
    const json& operation = operations.begin().value();
    const json& responses = operation["responses"];
    const bool is_open = operation.value("security", json()) == json::array();
    EXPECT_EQ(is_open, route.access == api::Access::kEveryone) << route.path;
    EXPECT_EQ(responses.contains("401"), route.access != api::Access::kEveryone) << route.path;
    EXPECT_EQ(responses.contains("403"), route.access == api::Access::kAdmins) << route.path;
    if (!responses.contains("404")) continue;
    const bool is_anthropic = route.error_style == api::ErrorStyle::kAnthropic;
    EXPECT_EQ(responses["404"]["$ref"],
              is_anthropic ? "#/components/responses/AnthropicNotFound" : "#/components/responses/NotFound")
        << route.path;
  }
}

// Every {"$ref": ...} below `node`.
void collect_references(const json& node, std::set<std::string>& found) {
  if (node.is_object() && node.contains("$ref") && node["$ref"].is_string()) found.insert(node["$ref"]);
  if (!node.is_structured()) return;
  for (const json& child : node) collect_references(child, found);
}

TEST(OpenApi, EachReferenceHasItsTargetAndEachComponentIsUsed) {
  std::set<std::string> referenced, defined;
  collect_references(document(), referenced);
  for (const char* kind : {"schemas", "responses"}) {
    for (const auto& [name, component] : document()["components"][kind].items()) {
      defined.insert(std::string("#/components/") + kind + "/" + name);
    }
  }
  EXPECT_EQ(referenced, defined);
}

TEST(OpenApi, HasTheServersVersion) {
  EXPECT_EQ(document()["openapi"], "3.1.0");
  EXPECT_EQ(document()["info"]["version"], kVersion);
}

}  // namespace
}  // namespace kvasir::server
