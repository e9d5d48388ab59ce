#include "grammar/grammar_builder.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <random>
#include <string>
#include <vector>

#include "grammar/character_class.h"
#include "grammar/grammar_harness.h"

namespace kvasir::grammar {
namespace {

using testing::from_gbnf;
using testing::from_regex;
using testing::from_schema;
using testing::matches;

TEST(CharacterClass, OperationsEqualASetOfCharacters) {
  std::mt19937 random(1);
  constexpr char32_t kEnd = 0x900;  // around the first border between lengths
  const auto make = [&](std::vector<bool>& set) {
    std::vector<CharacterClass::Range> ranges;
    for (int i = 0; i < 6; ++i) {
      const char32_t first = 0x700 + random() % 0x180, last = first + random() % 0x40;
      ranges.emplace_back(first, last);
      for (char32_t c = first; c <= last; ++c) set[c] = true;
    }
    return CharacterClass::of(std::move(ranges));
  };
  for (int round = 0; round < 50; ++round) {
    std::vector<bool> a(kEnd), b(kEnd);
    const CharacterClass first = make(a), second = make(b);
    const CharacterClass difference = first.without(second), negated = first.negated();
    for (char32_t c = 0; c < kEnd; ++c) {
      ASSERT_EQ(first.contains(c), a[c]);
      ASSERT_EQ(negated.contains(c), !a[c]);
      ASSERT_EQ(difference.contains(c), a[c] && !b[c]);
    }
  }
  EXPECT_FALSE(CharacterClass::all().contains(0xD800));
  EXPECT_EQ(CharacterClass::all().negated().negated().ranges(), CharacterClass::all().ranges());
}

TEST(CharacterClass, Utf8IsExact) {
  std::mt19937 random(2);
  for (int round = 0; round < 30; ++round) {
    const char32_t first = random() % (kMaxCodePoint + 1),
                   last = first + random() % (kMaxCodePoint + 1 - first);
    const CharacterClass characters = {{first, last}};
    GrammarBuilder builder;
    const auto grammar =
        builder.build(builder.any_of({builder.character(characters), builder.literal("x!")}));
    ASSERT_TRUE(grammar.ok());
    for (int i = 0; i < 2000; ++i) {
      const char32_t near[] = {first - 1, first, last, last + 1,
                               static_cast<char32_t>(random() % (kMaxCodePoint + 1))};
      const char32_t c = near[random() % 5];
      if (c > kMaxCodePoint || (c >= 0xD800 && c <= 0xDFFF)) continue;
      std::string text;
      append_utf8(text, c);
      ASSERT_EQ(matches(*grammar, text), characters.contains(c))
          << std::hex << std::uint32_t{first} << "-" << std::uint32_t{last} << " " << std::uint32_t{c};
    }
  }
}

TEST(CharacterClass, WhatIsNotUtf8IsNoCharacter) {
  for (const std::string text :
       {"\x80", "\xc0\x80", "\xc3", "\xe0\x80\x80", "\xed\xa0\x80", "\xf4\x90\x80\x80", "\xf8", "\xff"}) {
    std::size_t at = 0;
    EXPECT_EQ(next_character(text, at), kInvalidCharacter);
    EXPECT_EQ(at, 1u);
  }
}

// Long repetitions are made of chunks: all counts near the borders.
TEST(GrammarBuilder, LongRepetitionsAreExact) {
  for (const auto& [min, max] : std::vector<std::pair<int, int>>{
           {0, 5000}, {4999, 5000}, {4900, 9500}, {0, 4970}, {5041, 5041}, {7000, -1}}) {
    GrammarBuilder builder;
    const auto grammar = builder.build(builder.repeat(builder.literal("abcdefgh"), min, max));
    ASSERT_TRUE(grammar.ok()) << grammar.status().message();
    EXPECT_LT((*grammar)->states().size(), 10'000u);
    GrammarMatcher matcher(*grammar);
    for (int count = 0; count < 10'000; ++count) {
      ASSERT_EQ(matcher.is_complete(), count >= min && (max < 0 || count <= max))
          << min << ' ' << max << ' ' << count;
      if (max >= 0 && count == max) {
        EXPECT_TRUE(matcher.is_at_end());
        break;
      }
      ASSERT_TRUE(matcher.accept("abcdefgh"));
    }
  }
}

TEST(GrammarBuilder, RightRecursionNeedsNoStack) {
  const auto grammar = from_gbnf("root ::= item root | \".\"\nitem ::= \"(\" item \")\" | \"x\"");
  ASSERT_TRUE(grammar.ok());
  GrammarMatcher matcher(*grammar);
  for (int i = 0; i < 10'000; ++i) ASSERT_TRUE(matcher.accept("x"));
  EXPECT_LT(matcher.stacks().num_nodes(), 200u);
}

TEST(GrammarBuilder, RuleThatIsNotDefinedIsNamed) {
  GrammarBuilder builder;
  const auto grammar = builder.build(builder.call(builder.declare("ghost")));
  EXPECT_THAT(grammar.status().message(), ::testing::HasSubstr("'ghost' is not defined"));
}

// Each is an error or a grammar, soon, and with bounded memory.
TEST(GrammarBuilder, HostileGrammarsEndSoon) {
  std::vector<std::pair<std::string, Result<testing::GrammarPtr>>> cases;
  const auto nest = [](int depth, const std::string& inside) {
    std::string text = inside;
    for (int i = 0; i < depth; ++i) text = "(" + text + "){100000}";
    return text;
  };
  const auto add = [&](const std::string& name, Result<testing::GrammarPtr> result) {
    cases.emplace_back(name, std::move(result));
  };
  add("nested counts", from_regex(nest(90, "a")));
  add("nested counts of nothing", from_regex(nest(90, "")));
  add("subset blow-up", from_regex("(a|b)*a(a|b){5000}"));
  add("two blow-ups", from_regex("((a|b)*a(a|b){40}){40}"));
  add("wide classes", from_regex("(\\W|\\D|[^x]){3000}[^y]{0,100000}"));
  std::string rules = "root ::= r0\n", alternatives = "root ::= ";
  for (int i = 0; i < 15'000; ++i)
    rules += "r" + std::to_string(i) + " ::= \"a\" r" + std::to_string(i + 1) + " | \"b\"\n";
  add("a chain of rules", from_gbnf(rules + "r15000 ::= \"c\""));
  std::string unit = "root ::= r0\n";
  for (int i = 0; i < 15'000; ++i)
    unit += "r" + std::to_string(i) + " ::= r" + std::to_string(i + 1) + " r" + std::to_string(i + 1) + "\n";
  add("a chain that doubles", from_gbnf(unit + "r15000 ::= \"c\"?"));
  for (int i = 0; i < 40'000; ++i) alternatives += "\"" + std::to_string(i * 7919) + "\" | ";
  add("many alternatives", from_gbnf(alternatives + "\"x\""));
  std::string refs = "{\"$ref\": \"#/$defs/0\", \"$defs\": {";
  for (int i = 0; i < 24; ++i) {
    const std::string next = "{\"$ref\": \"#/$defs/" + std::to_string(i + 1) + "\"}";
    refs += "\"" + std::to_string(i) + "\": {\"allOf\": [" + next + ", " + next + "]}, ";
  }
  add("allOf that doubles", from_schema(refs + "\"24\": {\"type\": \"string\"}}}"));
  add("anyOf of itself", from_schema(R"({"type": "array", "anyOf": [{"$ref": "#"}, {"$ref": "#"}]})"));
  add("large counts",
      from_schema(
          R"({"type": "array", "items": {"type": "string", "maxLength": 100000}, "maxItems": 100000})"));
  for (const auto& [name, result] : cases) {
    if (result.ok()) {
      EXPECT_LE((*result)->states().size(), kMaxStates) << name;
    } else {
      EXPECT_FALSE(result.status().message().empty()) << name;
    }
  }
}

}  // namespace
}  // namespace kvasir::grammar
