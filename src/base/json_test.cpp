#include "base/json.h"

#include <gtest/gtest.h>

#include <nlohmann/json.hpp>
#include <string>

namespace kvasir {
namespace {

TEST(Json, ParsesAValue) {
  auto value = parse_json("test", R"({"a": [1, 2.5, "x"]})");
  ASSERT_TRUE(value.ok()) << value.status().message();
  EXPECT_EQ((*value)["a"][2], "x");
}

TEST(Json, SyntaxErrorNamesTheInput) {
  auto value = parse_json("x.json", "{\"a\": ");
  ASSERT_FALSE(value.ok());
  EXPECT_TRUE(value.status().message().starts_with("x.json: not valid JSON")) << value.status().message();
  EXPECT_EQ(value.status().message().find('\n'), std::string::npos);
}

TEST(Json, DepthIsLimited) {
  EXPECT_TRUE(parse_json("t", std::string(64, '[') + std::string(64, ']')).ok());
  EXPECT_FALSE(parse_json("t", std::string(65, '[') + std::string(65, ']')).ok());
  EXPECT_FALSE(parse_json("t", std::string(1'000'000, '[')).ok());
}

TEST(Json, InvalidUtf8IsAnError) {
  EXPECT_FALSE(parse_json("t", "\"\xff\"").ok());
}

TEST(Json, OrderedObjectsKeepTheOrderOfTheText) {
  auto value = parse_ordered_json("t", R"({"z": 1, "a": {"y": 2, "b": 3}})");
  ASSERT_TRUE(value.ok()) << value.status().message();
  EXPECT_EQ(value->dump(), R"({"z":1,"a":{"y":2,"b":3}})");
}

TEST(Json, OrderedObjectsHaveALimitOfKeys) {
  std::string text = "{";
  for (int i = 0; i < 20'000; ++i) text += fmt::format("\"{}\":0,", i);
  text += "\"x\":0}";
  EXPECT_TRUE(parse_json("t", text).ok());
  auto value = parse_ordered_json("t", text);
  ASSERT_FALSE(value.ok());
  EXPECT_EQ(value.status().message(), "t: too many keys in one JSON object");
}

}  // namespace
}  // namespace kvasir
