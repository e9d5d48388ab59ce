#include "grammar/json_schema.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <fstream>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "grammar/grammar_harness.h"
#include "grammar/json_number.h"
#include "tests/shared_data.h"

namespace kvasir::grammar {
namespace {

using testing::from_schema;
using testing::matches;
using testing::refusal;

std::string schema_refusal(std::string_view schema) {
  return refusal(from_schema(schema));
}

void expect(std::string_view schema, const std::vector<const char*>& valid,
            const std::vector<const char*>& invalid) {
  const auto grammar = from_schema(schema);
  ASSERT_TRUE(grammar.ok()) << schema << ": " << grammar.status().message();
  for (const char* text : valid) EXPECT_TRUE(matches(*grammar, text)) << schema << " should match " << text;
  for (const char* text : invalid)
    EXPECT_FALSE(matches(*grammar, text)) << schema << " should not match " << text;
}

// tools/make_grammar_goldens.py: schemas and instances with what the Python package jsonschema says. An
// instance is written in the schema's order and compactly.
TEST(JsonSchema, EqualsTheReference) {
  std::ifstream file(kvasir::testing::test_data_dir() / "grammar" / "json_schema.jsonl");
  int num_valid = 0, num_invalid = 0;
  for (std::string line; std::getline(file, line);) {
    const auto golden = nlohmann::ordered_json::parse(line);
    const auto grammar = from_schema(golden.at("schema").dump());
    ASSERT_TRUE(grammar.ok()) << golden.at("schema") << ": " << grammar.status().message();
    for (const auto& text : golden.at("valid")) {
      EXPECT_TRUE(matches(*grammar, text.get<std::string>()))
          << golden.at("schema") << " should match " << text;
      ++num_valid;
    }
    for (const auto& text : golden.at("invalid")) {
      EXPECT_FALSE(matches(*grammar, text.get<std::string>()))
          << golden.at("schema") << " should not match " << text;
      ++num_invalid;
    }
  }
  EXPECT_GT(num_valid, 500);
  EXPECT_GT(num_invalid, 500);
}

TEST(JsonSchema, OptionalPropertiesKeepTheOrder) {
  expect(
      R"({"type": "object", "properties": {"a": {"type": "null"}, "b": {"type": "null"}, "c": {"type": "null"}},
             "required": ["b"]})",
      {R"({"a":null,"b":null,"c":null})", R"({"b": null})", R"({"b": null, "c": null})",
       R"({"a": null,"b":null})"},
      {R"({})", R"({"a":null})", R"({"b":null,"a":null})", R"({"b":null,"d":null})", R"({"b":null,})",
       R"({ "b":null})", R"({"b":  null})"});
}

TEST(JsonSchema, FurtherPropertiesFollowAndHaveOtherNames) {
  expect(R"({"properties": {"ab": {"type": "null"}, "ac": {}}, "additionalProperties": {"type": "integer"}})",
         {R"({})", R"({"ab":null, "x":1})", R"({"x":1,"abc":2})", R"({"a":1})", R"({"":1})",
          R"({"ac":"s","é":3})"},
         {R"({"ab":1})", R"({"x":1,"ab":null})", R"({"x":null})", R"({"\u0061b":1})"});
}

TEST(JsonSchema, RecursionThroughReferences) {
  expect(R"({"$ref": "#/$defs/node", "$defs": {"node": {"type": "object", "required": ["v"], "properties": {
             "v": {"type": "integer"}, "next": {"anyOf": [{"$ref": "#/$defs/node"}, {"type": "null"}]}}}}})",
         {R"({"v":1})", R"({"v":1,"next":{"v":2,"next":null}})"},
         {R"({"v":1,"next":{}})", R"({"next":null})"});
  expect(R"({"type": "array", "items": {"$ref": "#"}})", {"[]", "[[],[[]]]"}, {"[1]", "[[]"});
}

TEST(JsonSchema, NumbersWithinBounds) {
  expect(R"({"type": "integer", "minimum": -12, "maximum": 105})", {"-12", "-9", "0", "99", "100", "105"},
         {"-13", "106", "-0", "00", "1.0", "1e1", "200", "-100"});
  expect(R"({"type": "integer", "exclusiveMinimum": 0})", {"1", "999999999999999999"},
         {"0", "-1", "1000000000000000000"});
  expect(R"({"type": "number", "minimum": 0, "maximum": 1})", {"0", "0.0", "0.5", "1", "1.000"},
         {"1.001", "-0.1", "2", "1.1"});
  expect(R"({"type": "number", "exclusiveMinimum": -0.25, "exclusiveMaximum": 10.5})",
         {"-0.2", "-0.24999", "0", "10.49", "9.99", "3"},
         {"-0.25", "-0.250", "-0.3", "10.5", "10.50", "11", "-1"});
  expect(R"({"type": "number", "minimum": 1e-3, "maximum": 2.5e2})", {"0.001", "250", "250.00", "249.999"},
         {"0.0009", "250.001", "0", "1e1"});
}

TEST(JsonSchema, StringsCountCharactersNotBytes) {
  expect(R"({"type": "string", "minLength": 2, "maxLength": 3})",
         {R"("ab")", R"("äöü")", R"("😀😀")", R"("\u001f\n")", R"("\\\"")"},
         {R"("a")", R"("abcd")", R"("ä")", R"("😀")", R"("\u00e4b")", R"("\u001f")"});
  expect(R"({"type": "string", "maxLength": 10000})", {R"("")", R"("abc")"}, {});
  const auto grammar = from_schema(R"({"type": "string", "minLength": 4990, "maxLength": 5000})");
  for (const auto& [length, fits] : std::vector<std::pair<std::size_t, bool>>{
           {4989, false}, {4990, true}, {4995, true}, {5000, true}, {5001, false}}) {
    EXPECT_EQ(matches(grammar, '"' + std::string(length, 'x') + '"'), fits) << length;
  }
}

TEST(JsonSchema, EscapesOfSurrogatesComeInPairs) {
  expect(R"({"type": "string"})", {R"("\u00e4\/\ud83d\ude00\uDBFF\uDFFF")"},
         {R"("\ud83d")", R"("\ude00\ud83d")", R"("\u12")"});
}

TEST(JsonSchema, PatternIsAppliedToTheContent) {
  expect(R"({"type": "string", "pattern": "^[a-z]\"?\\\\$"})", {R"("a\\")", R"("a\"\\")"},
         {R"("a")", R"("a\"")"});
  expect(R"({"type": "string", "pattern": "b"})", {R"("abc")", R"("b")", R"("\nb")"}, {R"("")", R"("ac")"});
}

TEST(JsonSchema, ArraysCountAndHaveTheirFirstItems) {
  expect(R"({"type": "array", "items": {"type": "integer"}, "minItems": 1, "maxItems": 3})",
         {"[1]", "[1,2]", "[1, 2, 3]"}, {"[]", "[1,2,3,4]", "[1,]", "[ 1]", "[1,  2]"});
  expect(
      R"({"prefixItems": [{"type": "null"}, {"type": "boolean"}], "items": {"type": "integer"}, "minItems": 1, "maxItems": 3})",
      {"[null]", "[null,true]", "[null, false, 3]"}, {"[]", "[true]", "[null,1]", "[null,true,2,3]"});
  expect(R"({"items": [{"type": "null"}], "additionalItems": false, "type": "array"})", {"[]", "[null]"},
         {"[null,1]"});
  expect(R"({"type": "array", "maxItems": 0})", {"[]"}, {"[1]"});
}

TEST(JsonSchema, EnumAndConstAreTheirTexts) {
  expect(R"({"enum": ["a\"b", 1, 2.5, null, [1, {"x": true}]]})",
         {R"("a\"b")", "1", "2.5", "null", R"([1, {"x": true}])", R"([1,{"x":true}])"},
         {"2", R"("a")", "[1]"});
  expect(R"({"type": "string", "enum": ["a", 1]})", {R"("a")"}, {"1"});
  expect(R"({"const": {"k": [1]}})", {R"({"k":[1]})"}, {R"({"k":[]})"});
}

TEST(JsonSchema, AllOfIsMerged) {
  expect(R"({"allOf": [{"type": "object", "properties": {"a": {"type": "integer"}}, "required": ["a"]},
                       {"properties": {"a": {"minimum": 3}, "b": {"const": 1}}}], "required": ["b"]})",
         {R"({"a":3,"b":1})"}, {R"({"a":2,"b":1})", R"({"a":3})", R"({"a":3,"b":2})"});
  expect(R"({"$ref": "#/$defs/s", "description": "x", "maxLength": 1, "$defs": {"s": {"type": "string"}}})",
         {R"("a")"}, {R"("ab")", "1"});
  expect(R"({"type": "object", "properties": {"k": {"type": "string"}}, "required": ["k"],
             "anyOf": [{"properties": {"x": {"type": "null"}}, "required": ["x"]}, {"properties": {"k": {"const": "q"}}}]})",
         {R"({"k":"q"})", R"({"k":"any","x":null})"}, {R"({"k":"any"})"});
}

TEST(JsonSchema, OneOfNeedsDisjointAlternatives) {
  expect(R"({"oneOf": [{"type": "string"}, {"type": "integer"}]})", {R"("a")", "1"}, {"null"});
  expect(R"({"oneOf": [{"properties": {"t": {"const": "a"}, "x": {"type": "null"}}, "required": ["t", "x"]},
                       {"properties": {"t": {"enum": ["b", "c"]}}, "required": ["t"]}]})",
         {R"({"t":"a","x":null})", R"({"t":"c"})"}, {R"({"t":"a"})", R"({"t":"b","x":null})"});
  EXPECT_THAT(
      schema_refusal(R"({"properties": {"p": {"oneOf": [{"type": "number"}, {"type": "integer"}]}}})"),
      ::testing::HasSubstr("'oneOf' at '#/properties/p': alternatives 0 and 1"));
}

TEST(JsonSchema, FormatsAreExact) {
  expect(R"({"type": "string", "format": "date"})", {R"("2024-02-29")", R"("2023-12-31")", R"("2000-02-29")"},
         {R"("2023-02-29")", R"("1900-02-29")", R"("2023-04-31")", R"("2023-13-01")", R"("2023-1-01")"});
  expect(R"({"type": "string", "format": "date-time"})",
         {R"("2024-02-29T23:59:59Z")", R"("2024-01-01T00:00:00.5+02:00")"},
         {R"("2024-02-29")", R"("2024-02-29T24:00:00Z")", R"("2024-02-29T23:59:59")"});
  expect(R"({"type": "string", "format": "uuid"})", {R"("123e4567-e89b-12d3-a456-426614174000")"},
         {R"("123e4567")"});
  expect(R"({"type": "string", "format": "ipv4"})", {R"("192.168.0.255")"},
         {R"("192.168.0.256")", R"("1.2.3")"});
}

TEST(JsonSchema, RefusalsNameTheKeywordAndItsPlace) {
  using ::testing::HasSubstr;
  for (const char* keyword :
       {"not", "if", "patternProperties", "propertyNames", "maxProperties", "uniqueItems", "contains",
        "multipleOf", "dependentRequired", "unevaluatedProperties", "$dynamicRef", "no-such-keyword"}) {
    const std::string schema = std::string(R"({"properties": {"a/b": {")") + keyword + R"(": 1}}})";
    EXPECT_THAT(schema_refusal(schema), HasSubstr(std::string("'") + keyword + "' at '#/properties/a~1b'"));
    EXPECT_EQ(from_schema(schema).status().code(), StatusCode::kUnsupported);
  }
  for (const auto& [schema, text] : std::vector<std::pair<const char*, const char*>>{
           {R"({"type": "strng"})", "'type' at '#': expected names of types, got \"strng\""},
           {R"({"items": {"type": "string", "format": "uri"}})",
            "'format' at '#/items': expected one of date"},
           {R"x({"type": "string", "pattern": "(?=a)"})x", "'pattern' at '#': regex: lookahead"},
           {R"({"type": "string", "pattern": "a", "minLength": 2})",
            "'pattern' at '#': not supported beside"},
           {R"({"$ref": "#/$defs/x"})", "'$ref' at '#': '#/$defs/x' is not there"},
           {R"({"$ref": "http://x/y"})", "'$ref' at '#': 'http://x/y' is not a JSON pointer"},
           {R"({"type": "string", "minLength": -1})", "'minLength' at '#': expected a count"},
           {R"({"type": "string", "maxLength": 1000000})",
            "'maxLength' at '#': expected a count up to 100000"},
           {R"({"type": "integer", "minimum": "3"})", "'minimum' at '#': expected a number"},
           {R"({"required": "a"})", "'required' at '#': expected a list of names"},
           {R"({"required": ["a"], "additionalProperties": false})", "'required' at '#': 'a' is neither"},
           {R"({"enum": 3})", "'enum' at '#': expected a list of values"},
           {R"({"enum": [1], "minimum": 0})", "'minimum' at '#': not supported beside enum"},
           {R"({"anyOf": []})", "'anyOf' at '#': expected a list of schemas"},
           {R"({"properties": []})", "'properties' at '#': expected an object"},
           {R"([])", "'#': expected a schema, an object or a boolean"},
           {R"({"properties": {"a": 3}})", "'#/properties/a': expected a schema"},
           {R"({"allOf": [{"pattern": "a"}, {"pattern": "b"}]})",
            "'pattern' at '#': two of them that must both hold"},
           {R"({"$ref": "#"})", "no finite text"},
           {R"({"properties": {"a": {"$ref": "#"}}, "required": ["a"]})", "no finite text"},
           {R"({"allOf": [{"$ref": "#"}]})", "more than 32 schemas within each other"}}) {
    EXPECT_THAT(schema_refusal(schema), HasSubstr(text)) << schema;
  }
}

TEST(JsonSchema, AnyObject) {
  const auto grammar = testing::build([](GrammarBuilder& b) { return add_json_object(b); });
  EXPECT_TRUE(matches(grammar, R"({"a": [1, -2.5e10, {"b": null}], "": "\u00e9\\"})"));
  EXPECT_FALSE(matches(grammar, "[1]"));
  EXPECT_FALSE(matches(grammar, R"({"a": 01})"));
}

TEST(JsonSchema, WrappedInACallOfATool) {
  const auto grammar = testing::build([](GrammarBuilder& b) -> Result<Expr> {
    KVASIR_ASSIGN_OR_RETURN(
        const Expr arguments,
        add_json_schema(
            b,
            nlohmann::ordered_json::parse(
                R"({"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]})")));
    const Expr call = b.sequence({b.literal("<tool_call>\n{\"name\": \"weather\", \"arguments\": "),
                                  arguments, b.literal("}\n</tool_call>")});
    return b.repeat(b.sequence({call, b.optional(b.literal("\n"))}), 1, GrammarBuilder::kUnbounded);
  });
  const std::string call =
      "<tool_call>\n{\"name\": \"weather\", \"arguments\": {\"city\": \"Oslo\"}}\n</tool_call>";
  EXPECT_TRUE(matches(grammar, call));
  EXPECT_TRUE(matches(grammar, call + "\n" + call));
  EXPECT_FALSE(matches(grammar, "hello " + call));
}

TEST(Decimal, ReadsWhatJsonHas) {
  const auto read = [](const char* text) { return Decimal::from_json(nlohmann::ordered_json::parse(text)); };
  EXPECT_EQ(read("-12.50"), (Decimal{true, "12", "5"}));
  EXPECT_EQ(read("1e-3"), (Decimal{false, "0", "001"}));
  EXPECT_EQ(read("2.5e2"), (Decimal{false, "250", ""}));
  EXPECT_EQ(read("-0.0"), (Decimal{}));
  EXPECT_EQ(read("1e300"), std::nullopt);
  EXPECT_EQ(read("1e-300"), std::nullopt);
  EXPECT_TRUE(*read("-2") < *read("-1.5") && *read("-1.5") < *read("0") && *read("9.9") < *read("10"));
  EXPECT_FALSE(*read("-1.5") < *read("-2") || *read("1") < *read("1"));
}

}  // namespace
}  // namespace kvasir::grammar
