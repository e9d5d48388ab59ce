#include "server/openapi.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cctype>
#include <map>
#include <nlohmann/json.hpp>
#include <set>
#include <string>

#include "api/chat.h"
#include "api/completions.h"
#include "api/embeddings.h"
#include "api/generate.h"
#include "api/messages.h"
#include "api/responses.h"
#include "api/routes.h"
#include "server/version.h"

namespace kvasir::server {
namespace {

using nlohmann::json;
using nlohmann::ordered_json;

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

const json& resolve(const json& schema) {
  if (!schema.contains("$ref")) return schema;
  return document()[json::json_pointer(schema["$ref"].get<std::string>().substr(1))];
}

// Fields that are given with their defaults make the request that `body`, which leaves them out, is.
template <typename Parser>
void expect_defaults(const std::string& path, Parser parse, const char* body) {
  api::ModelFacts model;
  model.name = "m";
  model.vocab_size = model.context = 64;
  const auto absent = ordered_json::parse(body);
  const auto expected = parse(absent, model);
  ASSERT_EQ(expected.index(), 0u) << path;
  int num_defaults = 0;
  const json& content = document()["paths"][path]["post"]["requestBody"]["content"];
  for (const auto& [field, schema] : resolve(content["application/json"]["schema"])["properties"].items()) {
    const json& resolved = resolve(schema);
    if (!resolved.contains("default") || absent.contains(field)) continue;
    ++num_defaults;
    ordered_json given = absent;
    given[field] = ordered_json::parse(resolved["default"].dump());
    const auto read = parse(given, model);
    ASSERT_EQ(read.index(), 0u) << path << ' ' << field;
    EXPECT_TRUE(std::get<0>(read) == std::get<0>(expected)) << path << ' ' << field;
  }
  EXPECT_GT(num_defaults, 0) << path;
}

TEST(OpenApi, HasTheDefaultsOfTheParsers) {
  constexpr const char* kMessages = R"({"messages":[{"role":"user","content":"Hi"}]})";
  expect_defaults("/generate", api::parse_generate, R"({"prompt":"Hi"})");
  expect_defaults("/v1/completions", api::parse_completion, R"({"prompt":"Hi"})");
  expect_defaults("/v1/chat/completions", api::parse_chat, kMessages);
  expect_defaults("/v1/responses", api::parse_responses, R"({"input":"Hi"})");
  expect_defaults("/v1/messages", api::parse_messages,
                  R"({"messages":[{"role":"user","content":"Hi"}],"max_tokens":9})");
  expect_defaults("/v1/embeddings", api::parse_embeddings, R"({"input":"Hi"})");
}

TEST(OpenApi, HasTheServersVersion) {
  EXPECT_EQ(document()["openapi"], "3.1.0");
  EXPECT_EQ(document()["info"]["version"], kVersion);
}

}  // namespace
}  // namespace kvasir::server
