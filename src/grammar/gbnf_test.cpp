#include "grammar/gbnf.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>

#include "grammar/grammar_harness.h"

namespace kvasir::grammar {
namespace {

using testing::from_gbnf;
using testing::matches;
using testing::refusal;

std::string gbnf_refusal(std::string_view text) {
  return refusal(from_gbnf(text));
}

TEST(Gbnf, MatchesLiteralsClassesAndGroups) {
  const auto grammar = from_gbnf(R"(
    # a comment
    root ::= greeting " "? ("you" | name){1,2} [.!?]+   # and another
    greeting ::= "hello" | "\x68i" | "\u00e9\U0001F600\n\"\\"
    name ::= [A-Z] [a-z\-\]]*
  )");
  for (const char* text : {"hello you!", "hiBob.", "hello BobAda-]?!.", "\u00e9\U0001F600\n\"\\you."}) {
    EXPECT_TRUE(matches(grammar, text)) << text;
  }
  for (const char* text :
       {"hello", "hello !", "hello bob.", "hello youyouyou.", "Hello you!", "hello you!x"}) {
    EXPECT_FALSE(matches(grammar, text)) << text;
  }
}

TEST(Gbnf, ClassesAreOfCharactersNotBytes) {
  EXPECT_TRUE(matches(from_gbnf("root ::= [^a]"), "\u4e2d"));
  EXPECT_FALSE(matches(from_gbnf("root ::= [^a]"), "\xe4\xb8"));
  EXPECT_TRUE(matches(from_gbnf("root ::= ."), "\U0001F600"));
  EXPECT_TRUE(matches(from_gbnf("root ::= [\u03b1-\u03c9]+"), "\u03b3\u03b4"));
  EXPECT_FALSE(matches(from_gbnf("root ::= [\u03b1-\u03c9]+"), "\u03b3x"));
}

TEST(Gbnf, RepetitionsCount) {
  const auto exactly = from_gbnf("root ::= \"ab\"{3}"), at_least = from_gbnf("root ::= \"a\"{2,}"),
             between = from_gbnf("root ::= \"a\"{0,2}");
  EXPECT_TRUE(matches(exactly, "ababab"));
  EXPECT_FALSE(matches(exactly, "abab"));
  EXPECT_FALSE(matches(exactly, "abababab"));
  EXPECT_TRUE(matches(at_least, "aaaaa"));
  EXPECT_FALSE(matches(at_least, "a"));
  EXPECT_TRUE(matches(between, "") && matches(between, "aa"));
  EXPECT_FALSE(matches(between, "aaa"));
}

TEST(Gbnf, RulesMayCallThemselves) {
  const auto grammar = from_gbnf(R"(
    root ::= value
    value ::= "[" (value ("," value)*)? "]" | number
    number ::= [0-9]+)");
  EXPECT_TRUE(matches(grammar, "[1,[2,[],[[33]]],4]"));
  EXPECT_FALSE(matches(grammar, "[1,[2,[],[[33]],4]"));
  std::string deep(100'000, '[');
  deep += std::string(100'000, ']');
  EXPECT_TRUE(matches(grammar, deep));
}

TEST(Gbnf, RuleGoesOnOverTheEndOfALine) {
  EXPECT_TRUE(matches(from_gbnf("root ::= \"a\"\n  other\n  | \"c\"\nother ::= \"b\""), "ab"));
}

TEST(Gbnf, ErrorsHaveLineAndColumn) {
  using ::testing::HasSubstr;
  EXPECT_THAT(gbnf_refusal("root ::= \"a\"\n\"b"), HasSubstr("line 2, column 1: a literal without its end"));
  EXPECT_THAT(gbnf_refusal("root ::= (\"a\""), HasSubstr("line 1, column 14: expected ')'"));
  EXPECT_THAT(gbnf_refusal("root ::= \"a\")"), HasSubstr("line 1, column 13: ')' without '('"));
  EXPECT_THAT(gbnf_refusal("root ::= [z-a]"), HasSubstr("a range whose end is before its beginning"));
  EXPECT_THAT(gbnf_refusal("root ::= [a"), HasSubstr("column 10: a class without its ']'"));
  EXPECT_THAT(gbnf_refusal("root ::= \"\\q\""), HasSubstr("column 11: an unknown escape"));
  EXPECT_THAT(gbnf_refusal("root ::= \"\\ud800\""),
              HasSubstr("expected the hexadecimal number of a character"));
  EXPECT_THAT(gbnf_refusal("root ::= a{3,2}"), HasSubstr("expected {m}"));
  EXPECT_THAT(gbnf_refusal("root ::= \"a\"{100001}"), HasSubstr("up to 100000"));
  EXPECT_THAT(gbnf_refusal("root ::= \n missing"),
              HasSubstr("line 2, column 2: rule 'missing' is not defined"));
  EXPECT_THAT(gbnf_refusal("a ::= \"b\""), HasSubstr("expected a rule named 'root'"));
  EXPECT_THAT(gbnf_refusal("root ::= \"a\"\nroot ::= \"b\""),
              HasSubstr("line 2, column 1: rule 'root' is defined twice"));
  EXPECT_THAT(gbnf_refusal("root = \"a\""), HasSubstr("expected '::='"));
  EXPECT_THAT(gbnf_refusal("root ::= \"\xff\""), HasSubstr("not UTF-8"));
  EXPECT_THAT(gbnf_refusal("root ::= *"), HasSubstr("column 10: expected a literal"));
  EXPECT_THAT(gbnf_refusal("root ::= " + std::string(1000, '(')), HasSubstr("nested deeper"));
}

TEST(Gbnf, LeftRecursionIsRefused) {
  using ::testing::HasSubstr;
  EXPECT_THAT(gbnf_refusal("root ::= root \"a\" | \"b\""), HasSubstr("'root' is left-recursive"));
  EXPECT_THAT(gbnf_refusal("root ::= a\na ::= b \"x\" | \"y\"\nb ::= \"\" a"),
              HasSubstr("is left-recursive"));
  EXPECT_THAT(gbnf_refusal("root ::= a\na ::= n a \"x\" | \"y\"\nn ::= \"n\"?"),
              HasSubstr("'a' is left-recursive"));
}

TEST(Gbnf, WhatMatchesNoFiniteTextIsRefused) {
  using ::testing::HasSubstr;
  EXPECT_THAT(gbnf_refusal("root ::= \"a\" root"), HasSubstr("no finite text"));
  EXPECT_THAT(gbnf_refusal("root ::= []"), HasSubstr("no finite text"));
  // An alternative without an end is no way at all.
  const auto grammar = from_gbnf("root ::= \"a\" | \"b\" endless\nendless ::= \"c\" endless");
  EXPECT_TRUE(matches(grammar, "a"));
  GrammarMatcher matcher(*grammar);
  EXPECT_FALSE(matcher.accept("b"));
}

}  // namespace
}  // namespace kvasir::grammar
