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

}  // namespace
}  // namespace kvasir
