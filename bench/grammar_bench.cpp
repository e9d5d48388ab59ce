// What a token mask costs under realistic grammars, on one core: the mask of each step of random texts, with
// all masks of states kept (as from the second request with a grammar on), and what building and the first
// masks cost.

#include <fmt/core.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <chrono>
#include <cstdio>
#include <fstream>
#include <memory>
#include <nlohmann/json.hpp>
#include <optional>
#include <random>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "bench/machine.h"
#include "grammar/gbnf.h"
#include "grammar/json_schema.h"
#include "grammar/regex.h"
#include "grammar/token_constraint.h"
#include "tokenizer/tokenizer.h"

namespace kvasir {
namespace {

using grammar::CompiledGrammar;
using grammar::Expr;
using grammar::GrammarBuilder;
using grammar::TokenConstraint;
using grammar::TokenTable;

double microseconds_since(std::chrono::steady_clock::time_point begin) {
  return std::chrono::duration<double, std::micro>(std::chrono::steady_clock::now() - begin).count();
}

// Bytes, JSON's punctuation in the combinations that vocabularies have, numbers up to 999, and words with and
// without a space.
std::shared_ptr<const TokenTable> make_vocabulary(std::size_t size) {
  std::mt19937 random(1);
  std::vector<TokenTable::Token> tokens = {{"</s>", true}};
  std::set<std::string> known = {""};
  const auto add = [&](std::string text) {
    if (tokens.size() < size && known.insert(text).second) tokens.push_back({std::move(text)});
  };
  for (int byte = 0; byte < 256; ++byte) add(std::string(1, static_cast<char>(byte)));
  const std::vector<std::string> marks = {"\"", "{", "}",  "[", "]", ",", ":", ".",
                                          "\\", " ", "\n", "-", "_", "/", ")", "("};
  for (const std::string& a : marks) {
    for (const std::string& b : marks) {
      for (const std::string& c : marks) {
        add(a + b);
        if (random() % 3 == 0) add(a + b + c);
      }
    }
  }
  for (int number = 0; number < 1000; ++number) add(std::to_string(number));
  for (int length = 2; length <= 64; ++length) add(std::string(static_cast<std::size_t>(length), ' '));
  const char* const syllables[] = {"an", "er", "in", "on", "re", "st", "th", "al",     "ing",    "ed",
                                   "is", "or", "ti", "en", "at", "le", "ou", "ic",     "com",    "pro",
                                   "t",  "s",  "a",  "e",  "o",  "r",  "n",  "\u00e9", "\u4e2d", "\u043e"};
  while (tokens.size() < size) {
    std::string word = random() % 2 == 0 ? " " : "";
    for (std::size_t count = 1 + random() % 5; count > 0; --count)
      word += syllables[random() % std::size(syllables)];
    if (random() % 4 == 0)
      word[word.size() > 1 && word[0] == ' ' ? 1 : 0] ^=
          0x20 * (static_cast<unsigned char>(word.back()) < 0x80);
    if (random() % 40 == 0) word += marks[random() % marks.size()];
    if (random() % 200 == 0) word += "\":";
    add(word);
  }
  const TokenId stop = 0;
  return TokenTable::create(tokens, {&stop, 1});
}

std::shared_ptr<const TokenTable> read_vocabulary(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  const std::string json(std::istreambuf_iterator<char>(file), {});
  const auto tokenizer = tokenizer::Tokenizer::from_json(path, json);
  if (!tokenizer.ok()) {
    fmt::print(stderr, "{}\n", tokenizer.status().message());
    return nullptr;
  }
  std::vector<TokenTable::Token> tokens;
  for (TokenId id = 0; id < (*tokenizer)->vocab_size(); ++id) {
    tokens.push_back({(*tokenizer)->token_bytes(id), (*tokenizer)->is_special(id)});
  }
  const TokenId stop = 0;
  return TokenTable::create(tokens, {&stop, 1});
}

struct Case {
  const char *name, *kind, *text;
};
const Case kCases[] = {
    {"any object", "object", ""},
    {"person", "schema",
     R"({"type": "object", "properties": {"name": {"type": "string"}, "age": {"type": "integer", "minimum": 0, "maximum": 150},
         "email": {"type": "string"}, "tags": {"type": "array", "items": {"type": "string"}},
         "address": {"type": "object", "properties": {"street": {"type": "string"}, "zip": {"type": "string", "pattern": "^[0-9]{5}$"},
         "country": {"enum": ["NO", "SE", "DK", "FI", "IS"]}}, "required": ["street", "zip", "country"]}},
         "required": ["name", "age", "email", "tags", "address"], "additionalProperties": false})"},
    {"recursive tree", "schema",
     R"({"$ref": "#/$defs/node", "$defs": {"node": {"type": "object", "properties": {"label": {"type": "string"}, "weight": {"type": "number"},
         "children": {"type": "array", "items": {"$ref": "#/$defs/node"}}}, "required": ["label", "children"]}}})"},
    {"20 tools", "tools", ""},
    {"string of 10..500", "schema", R"({"type": "string", "minLength": 10, "maxLength": 500})"},
    {"map with names", "schema",
     R"({"type": "object", "properties": {"id": {"type": "integer"}, "type": {"const": "map"}}, "required": ["id"],
         "additionalProperties": {"type": ["string", "number", "null"]}})"},
    {"GBNF of JSON", "gbnf",
     R"(root ::= value
value ::= object | array | string | number | "true" | "false" | "null"
object ::= "{" ws (string ":" ws value ("," ws string ":" ws value)*)? ws "}"
array ::= "[" ws (value ("," ws value)*)? ws "]"
string ::= "\"" ([^"\\\x7F\x00-\x1F] | "\\" (["\\bfnrt] | "u" [0-9a-fA-F]{4}))* "\""
number ::= "-"? ([0-9] | [1-9] [0-9]{0,15}) ("." [0-9]+)? ([eE] [-+]? [0-9]{1,3})?
ws ::= | " " | "\n" [ \t]{0,20})"},
    {"regex", "regex", R"((?:[A-Z][a-z]{1,12} ){2,6}[a-z0-9._-]{1,20}@[a-z0-9-]{1,20}\.(?:com|org|net))"},
};

Result<Expr> add_tools(GrammarBuilder& b) {
  std::vector<Expr> calls;
  for (int i = 0; i < 20; ++i) {
    const auto schema = nlohmann::ordered_json::parse(fmt::format(
        R"({{"type": "object", "properties": {{"query_{}": {{"type": "string"}}, "limit": {{"type": "integer"}}, "unit": {{"enum": ["c", "f"]}}}},
            "required": ["query_{}"]}})",
        i, i));
    KVASIR_ASSIGN_OR_RETURN(const Expr arguments, grammar::add_json_schema(b, schema));
    calls.push_back(
        b.sequence({b.literal(fmt::format("<tool_call>\n{{\"name\": \"function_{}\", \"arguments\": ", i)),
                    arguments, b.literal("}\n</tool_call>")}));
  }
  return b.repeat(b.any_of(calls), 1, GrammarBuilder::kUnbounded);
}

Result<Expr> add_case(GrammarBuilder& b, const Case& each) {
  const std::string_view kind = each.kind;
  if (kind == "object") return grammar::add_json_object(b);
  if (kind == "tools") return add_tools(b);
  if (kind == "gbnf") return grammar::add_gbnf(b, each.text);
  if (kind == "regex") return grammar::add_regex(b, each.text);
  return grammar::add_json_schema(b, nlohmann::ordered_json::parse(each.text));
}

struct Times {
  std::vector<double> mask_us, accept_us;
};

// The first token of `candidates` that is allowed, from a random place on; none in a while: nothing.
std::optional<TokenId> choose(const std::vector<TokenId>& candidates, const std::vector<std::uint32_t>& bits,
                              std::mt19937& random) {
  if (candidates.empty()) return std::nullopt;
  const std::size_t begin = random() % candidates.size();
  for (std::size_t i = 0; i < candidates.size(); ++i) {
    const TokenId id = candidates[(begin + i) % candidates.size()];
    if ((bits[static_cast<std::size_t>(id) / 32] >> (id % 32) & 1) != 0) return id;
  }
  return std::nullopt;
}

struct Vocabulary {
  std::string name;
  std::shared_ptr<const TokenTable> table;
  std::vector<TokenId> all, closing;  // in random order; those with a quote or a closing bracket
};

Vocabulary make(std::string name, std::shared_ptr<const TokenTable> table) {
  Vocabulary vocabulary{std::move(name), std::move(table), {}, {}};
  if (vocabulary.table == nullptr) return vocabulary;
  for (TokenId id = 0; id < vocabulary.table->vocab_size(); ++id) vocabulary.all.push_back(id);
  std::shuffle(vocabulary.all.begin(), vocabulary.all.end(), std::mt19937(1));
  for (const TokenId id : vocabulary.all) {
    const std::string_view text = vocabulary.table->bytes(id);
    if (text.find_first_of("\"}]") != text.npos) vocabulary.closing.push_back(id);
  }
  return vocabulary;
}

// A text under the mask, any token about as likely as another, but quotes and brackets more so: strings end.
void sample(const std::shared_ptr<const CompiledGrammar>& compiled, const Vocabulary& vocabulary,
            std::uint32_t seed, Times& times) {
  constexpr int kMaxTokens = 120;
  std::mt19937 random(seed);
  std::vector<std::uint32_t> bits(vocabulary.table->mask_words());
  TokenConstraint constraint(compiled);
  for (int i = 0; i < kMaxTokens; ++i) {
    auto begin = std::chrono::steady_clock::now();
    const bool any = constraint.fill_mask(bits);
    times.mask_us.push_back(microseconds_since(begin));
    if (!any) return;
    std::optional<TokenId> token;
    if (random() % 6 == 0) token = choose(vocabulary.closing, bits, random);
    if (!token) token = choose(vocabulary.all, bits, random);
    if (vocabulary.table->is_stop(*token)) return;
    begin = std::chrono::steady_clock::now();
    constraint.accept(*token);
    times.accept_us.push_back(microseconds_since(begin));
  }
}

double quantile(std::vector<double>& values, double q) {
  std::sort(values.begin(), values.end());
  return values[static_cast<std::size_t>(q * static_cast<double>(values.size() - 1))];
}

void measure(const Case& each, const Vocabulary& vocabulary) {
  constexpr std::uint32_t kTexts = 60;
  auto begin = std::chrono::steady_clock::now();
  GrammarBuilder builder;
  const auto root = add_case(builder, each);
  const auto built =
      root.ok() ? builder.build(*root) : Result<std::shared_ptr<const grammar::Grammar>>(root.status());
  if (!built.ok()) {
    fmt::print("{}: {}\n", each.name, built.status().message());
    return;
  }
  const double build_ms = microseconds_since(begin) / 1000;
  const auto compiled = std::make_shared<const CompiledGrammar>(*built, vocabulary.table);
  Times cold, warm;
  for (std::uint32_t seed = 0; seed < kTexts; ++seed) sample(compiled, vocabulary, seed, cold);
  for (std::uint32_t seed = 0; seed < kTexts; ++seed) sample(compiled, vocabulary, seed, warm);
  fmt::print("{:<20}{:>9}{:>10.2f}{:>10.2f}{:>11.2f}{:>9.1f}{:>9.1f}{:>9.1f}{:>11.2f}\n", each.name,
             (*built)->states().size(), build_ms, static_cast<double>(compiled->mask_bytes()) / 1e6,
             quantile(cold.mask_us, 1) / 1000, quantile(warm.mask_us, 0.5), quantile(warm.mask_us, 0.99),
             quantile(warm.mask_us, 1), quantile(warm.accept_us, 0.5));
}

int run(int argc, char** argv) {
  std::vector<std::string> paths;
  CLI::App app("The cost of token masks on one core");
  app.add_option("tokenizer", paths,
                 "tokenizer.json files; default: made-up vocabularies of 32,000 and 128,000 tokens");
  CLI11_PARSE(app, argc, argv);

  const ThreadPool pool(1);
  fmt::print("{}\n", bench::describe_machine(pool, "none"));
  std::vector<Vocabulary> vocabularies;
  for (const std::string& path : paths) vocabularies.push_back(make(path, read_vocabulary(path)));
  if (paths.empty()) {
    for (const std::size_t size : {32'000, 128'000})
      vocabularies.push_back(make("made-up vocabulary", make_vocabulary(size)));
  }
  for (const Vocabulary& vocabulary : vocabularies) {
    if (vocabulary.table == nullptr) return 1;
    fmt::print("\n{}: {} tokens, {} nodes\n", vocabulary.name, vocabulary.table->vocab_size(),
               vocabulary.table->num_nodes());
    fmt::print("{:<20}{:>9}{:>10}{:>10}{:>11}{:>9}{:>9}{:>9}{:>11}\n", "grammar", "states", "build ms",
               "masks MB", "cold ms max", "p50 us", "p99 us", "max us", "accept us");
    for (const Case& each : kCases) measure(each, vocabulary);
    std::fflush(stdout);
  }
  return 0;
}

}  // namespace
}  // namespace kvasir

int main(int argc, char** argv) {
  return kvasir::run(argc, argv);
}
