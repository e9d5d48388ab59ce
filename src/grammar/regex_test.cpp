#include "grammar/regex.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <fstream>
#include <nlohmann/json.hpp>
#include <string>

#include "grammar/grammar_harness.h"
#include "tests/shared_data.h"

namespace kvasir::grammar {
namespace {

using testing::from_regex;
using testing::matches;
using testing::refusal;

std::string regex_refusal(std::string_view pattern) {
  return refusal(from_regex(pattern));
}

// tools/make_grammar_goldens.py: patterns and texts with what Python's re says.
TEST(Regex, EqualsPython) {
  std::ifstream file(kvasir::testing::test_data_dir() / "grammar" / "regex.jsonl");
  int num_texts = 0;
  for (std::string line; std::getline(file, line);) {
    const auto golden = nlohmann::json::parse(line);
    const auto pattern = golden.at("pattern").get<std::string>();
    const auto whole = from_regex(pattern), part = from_regex(pattern, {.search = true});
    ASSERT_TRUE(whole.ok()) << pattern << ": " << whole.status().message();
    ASSERT_TRUE(part.ok()) << pattern << ": " << part.status().message();
    for (const auto& text : golden.at("texts")) {
      const auto subject = text.at("text").get<std::string>();
      EXPECT_EQ(matches(*whole, subject), text.at("fullmatch").get<bool>()) << pattern << " on " << text;
      EXPECT_EQ(matches(*part, subject), text.at("search").get<bool>()) << pattern << " in " << text;
      ++num_texts;
    }
  }
  EXPECT_GT(num_texts, 1000);
}

TEST(Regex, EscapesNameCharacters) {
  EXPECT_TRUE(
      matches(from_regex(R"(\x41\u00e9\u{1F600}\U0001F601\.\-\n)"), "A\u00e9\U0001F600\U0001F601.-\n"));
  EXPECT_TRUE(matches(from_regex(R"([\u4e00-\u9fff]{2})"), "\u4f60\u597d"));
  EXPECT_FALSE(matches(from_regex(R"(\w)"), "\u00e9"));  // of ASCII
}

TEST(Regex, InsideOfAJsonStringEscapes) {
  const auto grammar = from_regex("[\"a\\\\\n\\x01]+", {.inside_json_string = true});
  EXPECT_TRUE(matches(grammar, R"(a\"\\\n\u0001)"));
  EXPECT_FALSE(matches(grammar, "\""));
  EXPECT_FALSE(matches(grammar, "\n"));
  EXPECT_TRUE(matches(from_regex(".*", {.inside_json_string = true}), R"(\u0000\t\"\\)"));
}

TEST(Regex, RefusesByName) {
  using ::testing::HasSubstr;
  EXPECT_THAT(regex_refusal(R"((a)\1)"), HasSubstr("a backreference at position 4 is not supported"));
  EXPECT_THAT(regex_refusal("(?P<x>a)(?P=x)"), HasSubstr("a backreference at position 8"));
  EXPECT_THAT(regex_refusal("a(?=b)"), HasSubstr("lookahead at position 1"));
  EXPECT_THAT(regex_refusal("a(?!b)"), HasSubstr("lookahead"));
  EXPECT_THAT(regex_refusal("(?<=a)b"), HasSubstr("lookbehind"));
  EXPECT_THAT(regex_refusal("(?<!a)b"), HasSubstr("lookbehind"));
  EXPECT_THAT(regex_refusal("(?>a)"), HasSubstr("an atomic group"));
  EXPECT_THAT(regex_refusal("(?i)a"), HasSubstr("a flag"));
  EXPECT_THAT(regex_refusal("(?i:a)"), HasSubstr("a flag"));
  EXPECT_THAT(regex_refusal(R"(\bword)"), HasSubstr("a word boundary"));
  EXPECT_THAT(regex_refusal(R"(\p{L})"), HasSubstr("a Unicode property"));
  EXPECT_THAT(regex_refusal("a++"), HasSubstr("a possessive quantifier"));
  EXPECT_THAT(regex_refusal("a^b"), HasSubstr("an anchor inside of the pattern"));
  EXPECT_THAT(regex_refusal("a$b"), HasSubstr("'$' before the end"));
  EXPECT_THAT(regex_refusal("[[:alpha:]]"), HasSubstr("a POSIX class"));
  EXPECT_EQ(from_regex("a(?=b)").status().code(), StatusCode::kUnsupported);
}

TEST(Regex, SyntaxErrorsHaveAPosition) {
  using ::testing::HasSubstr;
  for (const auto& [pattern, text] : std::vector<std::pair<std::string, const char*>>{
           {"a)", "')' without '(' at position 1"},
           {"(a", "expected ')' at position 2"},
           {"[a", "expected ']' at position 2"},
           {"*a", "a quantifier without anything before it at position 0"},
           {"a{2,1}", "expected {m}"},
           {"a{1000000}", "up to 100000"},
           {"a**", "a quantifier of a quantifier"},
           {"[b-a]", "a range whose end is before its beginning"},
           {"[a-\\d]", "a range whose end is a class"},
           {"\\", "a backslash at the end"},
           {"\\q", "an unknown escape"},
           {"\\u12", "hexadecimal"},
           {"(?<x", "a group's name without its end"},
           {"\xc3", "not UTF-8"},
           {std::string(1000, '('), "groups nested deeper"}}) {
    EXPECT_THAT(regex_refusal(pattern), HasSubstr(text)) << pattern;
  }
}

}  // namespace
}  // namespace kvasir::grammar
