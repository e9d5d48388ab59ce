#include "grammar/token_constraint.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <atomic>
#include <fstream>
#include <nlohmann/json.hpp>
#include <random>
#include <string>
#include <thread>
#include <vector>

#include "grammar/grammar_cache.h"
#include "grammar/grammar_harness.h"
#include "tests/shared_data.h"

namespace kvasir::grammar {
namespace {

using testing::from_gbnf;
using testing::from_regex;
using testing::from_schema;
using testing::GrammarPtr;

constexpr TokenId kStop = 0, kControl = 1;

// Special tokens, all single bytes, and pieces of JSON, words and UTF-8 that cross the borders of rules.
std::shared_ptr<const TokenTable> make_table() {
  std::vector<TokenTable::Token> tokens = {{"</s>", true}, {"{", true}, {"", false}};
  for (int byte = 0; byte < 256; ++byte) tokens.push_back({std::string(1, static_cast<char>(byte))});
  for (const char* text :
       {"{\"",      "\"}",          "\":",   "\": ", "\",",       "\", \"",   "\": \"",   "\":{\"",
        "]}",       "}]",           "}}",    "[[",   "]]",        "[{\"",     "},{",      "true",
        "false",    "tr",           "ue",    "null", "12",        "123",      "0.",       ".5",
        "-1",       "e+",           "1,",    "1, ",  "a",         "ab",       "abc",      "name",
        "\"name\"", "\"name\": \"", "value", " a",   " ",         "  ",       "\n",       "\\\"",
        "\\n",      "\\u",          "\\u00", "\xc3", "\xc3\xa9",  "\xe4\xb8", "\xad\xe6", "\x98\x80\"",
        "\xf0\x9f", "b\"",          "c\",",  "x\"}", "xyz\": 12", "</tool>",  "<tool>",   "\"}</tool>",
        "abab",     "aabb"}) {
    tokens.push_back({text});
  }
  const TokenId stops[] = {kStop, 100'000};
  return TokenTable::create(tokens, stops);
}

bool is_set(const std::vector<std::uint32_t>& bits, TokenId id) {
  return (bits[static_cast<std::size_t>(id) / 32] >> (id % 32) & 1) != 0;
}

std::vector<std::uint32_t> mask_of(TokenConstraint& constraint) {
  std::vector<std::uint32_t> bits(constraint.mask_words(), 0xDEADBEEF);
  bool any = false;
  const bool result = constraint.fill_mask(bits);
  for (const std::uint32_t word : bits) any = any || word != 0;
  EXPECT_EQ(result, any);
  return bits;
}

// Every token tried on a copy.
void expect_brute_force(TokenConstraint& constraint, const TokenTable& table, const std::string& text) {
  const std::vector<std::uint32_t> bits = mask_of(constraint);
  for (TokenId id = 0; id < table.vocab_size(); ++id) {
    ASSERT_EQ(is_set(bits, id), constraint.can_accept(id))
        << "token " << id << " '" << table.bytes(id) << "' after " << text;
  }
}

// Random tokens under the mask until the text ends or is long; the text.
std::string sample(TokenConstraint constraint, const TokenTable& table, std::mt19937& random, bool compare) {
  std::string text;
  for (int i = 0; i < 300; ++i) {
    if (compare) expect_brute_force(constraint, table, text);
    const std::vector<std::uint32_t> bits = mask_of(constraint);
    std::vector<TokenId> allowed;
    for (TokenId id = 0; id < table.vocab_size(); ++id) {
      if (is_set(bits, id)) allowed.push_back(id);
    }
    if (allowed.empty()) {
      ADD_FAILURE() << "no token may follow " << text;
      return text;
    }
    // Ends become likelier, so that most texts have one.
    TokenId token = allowed[random() % allowed.size()];
    if (i > 40 && is_set(bits, kStop)) token = kStop;
    if (i > 20) {
      for (const char* closing : {"\"", "}", "]", ","}) {
        for (const TokenId id : allowed) {
          if (table.bytes(id) == closing && random() % 2 == 0) token = id;
        }
      }
    }
    EXPECT_TRUE(constraint.accept(token));
    if (token == kStop) {
      EXPECT_TRUE(constraint.is_finished());
      std::vector<std::uint32_t> none(constraint.mask_words());
      EXPECT_FALSE(constraint.fill_mask(none));
      return text;
    }
    text += table.bytes(token);
  }
  return text;
}

const char* const kGrammars[] = {
    "root ::= \"[\" (root (\",\" root)*)? \"]\" | [0-9]+",
    "root ::= s\ns ::= \"a\" s \"b\" | \"ab\"",                                // counts
    "root ::= p\np ::= \"a\" p \"a\" | \"b\" p \"b\" | \"a\" | \"b\" | \"\"",  // palindromes: ambiguous
    "root ::= e\ne ::= \"a\" e e | \"b\" | \"\"",                              // very ambiguous
    "root ::= item+ \"x\"\nitem ::= \"a\" opt opt\nopt ::= opt2 opt2\nopt2 ::= \"b\"?",  // nullable rules
    "root ::= .{0,5} \"\\n\"",
    "root ::= [^\\x00-\\x7f]* \"a\"",
};

const char* const kSchemas[] = {
    R"({"type": "object", "properties": {"name": {"type": "string"}, "value": {"type": "integer"},
        "xyz": {"type": "array", "items": {"type": "number"}}}, "required": ["value"]})",
    R"({"$ref": "#/$defs/n", "$defs": {"n": {"properties": {"a": {"$ref": "#/$defs/n"}, "name": {"type": "string", "maxLength": 4},
        "b": {"type": "array", "items": {"$ref": "#/$defs/n"}}}, "additionalProperties": false}}})",
    R"({"anyOf": [{"type": "string", "pattern": "^[a-c]+$"}, {"type": "array", "items": {"enum": ["a", "ab", 12, 123]}}, {"type": "null"}]})",
    R"({"type": "object", "additionalProperties": {"type": "boolean"}})",
    R"({"type": "string", "minLength": 200, "maxLength": 400})",
};

TEST(TokenConstraint, MaskEqualsTryingEachToken) {
  const auto table = make_table();
  std::mt19937 random(1);
  for (const char* text : kGrammars) {
    const auto grammar = from_gbnf(text);
    ASSERT_TRUE(grammar.ok()) << grammar.status().message();
    const auto compiled = std::make_shared<const CompiledGrammar>(*grammar, table);
    for (int i = 0; i < 4; ++i) sample(TokenConstraint(compiled), *table, random, true);
  }
  for (const char* schema : kSchemas) {
    const auto grammar = from_schema(schema);
    ASSERT_TRUE(grammar.ok()) << grammar.status().message();
    // Kept masks and ones that find no room are the same.
    for (const std::size_t max_mask_bytes : {std::size_t{1} << 20, std::size_t{2000}}) {
      const auto compiled = std::make_shared<const CompiledGrammar>(*grammar, table, max_mask_bytes);
      for (int i = 0; i < 2; ++i) sample(TokenConstraint(compiled), *table, random, true);
      EXPECT_LE(compiled->mask_bytes(), max_mask_bytes);
    }
  }
}

TEST(TokenConstraint, SampledTextsAreInstances) {
  const auto table = make_table();
  std::mt19937 random(2);
  std::ifstream file(kvasir::testing::test_data_dir() / "grammar" / "json_schema.jsonl");
  int num_finished = 0;
  for (std::string line; std::getline(file, line);) {
    const auto golden = nlohmann::ordered_json::parse(line);
    const auto grammar = from_schema(golden.at("schema").dump());
    ASSERT_TRUE(grammar.ok()) << grammar.status().message();
    const auto compiled = std::make_shared<const CompiledGrammar>(*grammar, table);
    for (int i = 0; i < 2; ++i) {
      const std::string text = sample(TokenConstraint(compiled), *table, random, false);
      if (!testing::matches(*grammar, text)) continue;  // stopped by its length
      ++num_finished;
      EXPECT_TRUE(nlohmann::json::accept(text)) << golden.at("schema") << ": " << text;
    }
  }
  EXPECT_GT(num_finished, 600);
}

TEST(TokenConstraint, SpecialTokensAreNeverText) {
  const auto table = make_table();
  const auto compiled = std::make_shared<const CompiledGrammar>(*from_gbnf("root ::= \"{\" \"}\"?"), table);
  TokenConstraint constraint(compiled);
  EXPECT_FALSE(constraint.can_accept(kStop));
  EXPECT_FALSE(constraint.can_accept(kControl));  // its text is "{"
  EXPECT_FALSE(constraint.can_accept(2));         // has none
  EXPECT_FALSE(constraint.can_accept(-1));
  EXPECT_FALSE(constraint.can_accept(1'000'000));
  ASSERT_TRUE(constraint.accept(3 + '{'));
  EXPECT_TRUE(constraint.is_complete());
  EXPECT_FALSE(constraint.is_finished());
  EXPECT_TRUE(constraint.can_accept(kStop));
  EXPECT_FALSE(constraint.can_accept(kControl));
  ASSERT_TRUE(constraint.accept(3 + '}'));
  EXPECT_TRUE(constraint.is_finished());
  const auto bits = mask_of(constraint);
  for (TokenId id = 0; id < table->vocab_size(); ++id) EXPECT_EQ(is_set(bits, id), id == kStop);
  ASSERT_TRUE(constraint.accept(kStop));
  EXPECT_FALSE(constraint.can_accept(kStop));
}

TEST(TokenConstraint, CopiesAreIndependent) {
  const auto table = make_table();
  const auto compiled =
      std::make_shared<const CompiledGrammar>(*from_gbnf("root ::= \"a\" | \"[\" root \"]\""), table);
  TokenConstraint first(compiled);
  ASSERT_TRUE(first.accept(3 + '['));
  TokenConstraint second = first;
  ASSERT_TRUE(first.accept(3 + 'a'));
  EXPECT_FALSE(first.can_accept(3 + '['));
  EXPECT_TRUE(second.can_accept(3 + '['));
  EXPECT_FALSE(second.is_complete());
}

TEST(TokenConstraint, PartsOfCharactersAreTokens) {
  const auto table = make_table();
  const auto compiled = std::make_shared<const CompiledGrammar>(*from_regex("[\u00e9\u4e2d]+"), table);
  TokenConstraint constraint(compiled);
  EXPECT_FALSE(constraint.can_accept(3 + 0xe6));
  for (const int byte : {0xe4, 0xb8, 0xad, 0xc3}) {
    EXPECT_FALSE(byte != 0xe4 && byte != 0xc3 && constraint.is_complete());
    ASSERT_TRUE(constraint.accept(3 + byte));
  }
  EXPECT_FALSE(constraint.is_complete());
  EXPECT_FALSE(constraint.can_accept(3 + 0xc3));
  ASSERT_TRUE(constraint.accept(3 + 0xa9));
  EXPECT_TRUE(constraint.is_complete());
}

// Ambiguity costs a polynomial: 2^2000 ways to read this.
TEST(TokenConstraint, AmbiguousTextIsReadInOneGraph) {
  const auto table = make_table();
  const auto compiled = std::make_shared<const CompiledGrammar>(
      *from_gbnf("root ::= x \"!\"\nx ::= \"a\" y \"b\" | \"a\" z \"c\" | \"a\"\ny ::= x | x\nz ::= \"\" x"),
      table);
  TokenConstraint constraint(compiled);
  std::vector<std::uint32_t> bits(constraint.mask_words());
  for (int i = 0; i < 2000; ++i) {
    ASSERT_TRUE(constraint.accept(3 + 'a'));
    if (i % 100 == 0) {
      EXPECT_TRUE(constraint.fill_mask(bits));
    }
  }
  for (int i = 0; i < 1999; ++i) ASSERT_TRUE(constraint.accept(3 + (i % 3 == 0 ? 'c' : 'b')));
  EXPECT_FALSE(constraint.can_accept(3 + 'b'));
  EXPECT_TRUE(constraint.accept(3 + '!'));
}

TEST(TokenConstraint, ThreadsShareTheMasks) {
  const auto table = make_table();
  const auto compiled = std::make_shared<const CompiledGrammar>(*from_schema(kSchemas[0]), table);
  std::vector<std::string> texts(4);
  std::vector<std::thread> threads;
  for (std::string& text : texts) {
    threads.emplace_back([&] {
      std::mt19937 random(7);
      text = sample(TokenConstraint(compiled), *table, random, false);
    });
  }
  for (std::thread& thread : threads) thread.join();
  for (const std::string& text : texts) EXPECT_EQ(text, texts[0]);
}

// Only the last characters of a count are near enough to its end for a token to see it.
TEST(TokenConstraint, LongCountsShareMasks) {
  const auto table = make_table();
  const auto kept = [&](const char* pattern) {
    const auto compiled = std::make_shared<const CompiledGrammar>(*from_regex(pattern), table);
    EXPECT_TRUE(compiled->warm_up(60'000));
    return compiled->mask_bytes();
  };
  EXPECT_EQ(kept("[a-z]{0,300}x"), kept("[a-z]{0,100}x"));
  EXPECT_GT(kept("[a-z]{0,100}x"), kept("[a-z]{0,5}x"));
}

TEST(TokenConstraint, WarmUpComputesAllMasks) {
  const auto compiled = std::make_shared<const CompiledGrammar>(*from_schema(kSchemas[0]), make_table());
  ASSERT_TRUE(compiled->warm_up(60'000));
  const std::size_t num_bytes = compiled->mask_bytes();
  EXPECT_GT(num_bytes, 0u);
  std::mt19937 random(3);
  for (int i = 0; i < 5; ++i) sample(TokenConstraint(compiled), compiled->tokens(), random, false);
  EXPECT_EQ(compiled->mask_bytes(), num_bytes);
}

TEST(GrammarCache, AnEqualGrammarHasItsMasks) {
  GrammarCache cache(make_table());
  const auto first = cache.get(*from_schema(kSchemas[0]));
  EXPECT_EQ(cache.get(*from_schema(kSchemas[0])), first);
  const auto other = cache.get(*from_regex("a*"));
  EXPECT_NE(other, first);
  EXPECT_NE(cache.get(*from_regex("a+")), other);
  EXPECT_EQ(cache.get(*from_schema(kSchemas[0])), first);
}

TEST(GrammarCache, WhatIsUnusedForLongestGoes) {
  const auto pattern = [](int i) { return *from_regex("x{" + std::to_string(i) + "}y"); };
  GrammarCache cache(make_table(), 100'000);
  // Held here as well, so that no other grammar can take its place in memory.
  const auto first = cache.get(pattern(1)), second = cache.get(pattern(2));
  for (int i = 3; i < 600; ++i) {
    cache.get(pattern(i % 50 + 3));
    EXPECT_EQ(cache.get(pattern(1)), first);
  }
  EXPECT_NE(cache.get(pattern(2)), second);
  const auto large = cache.get(*from_regex("x{5000}"));
  EXPECT_EQ(cache.get(*from_regex("x{5000}")), large) << "larger than the bound, and asked for last";
  EXPECT_NE(cache.get(pattern(1)), first);
}

}  // namespace
}  // namespace kvasir::grammar
