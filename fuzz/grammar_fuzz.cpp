#include <cstdint>
#include <memory>
#include <nlohmann/json.hpp>
#include <string>
#include <string_view>
#include <vector>

#include "base/json.h"
#include "grammar/gbnf.h"
#include "grammar/json_schema.h"
#include "grammar/regex.h"
#include "grammar/token_constraint.h"

namespace {

using namespace kvasir;
using namespace kvasir::grammar;

// The first byte says what the text is.
Result<Expr> add(GrammarBuilder& builder, char kind, std::string_view text) {
  if (kind == 'g') return add_gbnf(builder, text);
  if (kind == 'r')
    return add_regex(builder, text,
                     {.search = text.size() % 2 == 0, .inside_json_string = text.size() % 3 == 0});
  KVASIR_ASSIGN_OR_RETURN(const nlohmann::ordered_json schema, parse_ordered_json("fuzz", text));
  return add_json_schema(builder, schema);
}

const std::shared_ptr<const TokenTable>& token_table() {
  static const std::shared_ptr<const TokenTable> table = [] {
    std::vector<TokenTable::Token> tokens = {{"</s>", true}};
    for (int byte = 0; byte < 256; ++byte) tokens.push_back({std::string(1, static_cast<char>(byte))});
    for (const char* text : {"{\"", "\": ", "\", \"", "\"}", "[[", "ab", "abc", "123", "\xe4\xb8", "true"})
      tokens.push_back({text});
    const TokenId stop = 0;
    return TokenTable::create(tokens, {&stop, 1});
  }();
  return table;
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  if (size == 0) return 0;
  const std::string_view text(reinterpret_cast<const char*>(data), size);
  GrammarBuilder builder;
  const Result<Expr> root = add(builder, text[0], text.substr(1));
  if (!root.ok()) return 0;
  const auto grammar = builder.build(*root);
  if (!grammar.ok()) return 0;
  TokenConstraint constraint(std::make_shared<const CompiledGrammar>(*grammar, token_table()));
  std::vector<std::uint32_t> bits(constraint.mask_words());
  std::uint32_t random = static_cast<std::uint32_t>(size);
  for (int i = 0; i < 40 && constraint.fill_mask(bits); ++i) {
    std::vector<TokenId> allowed;
    for (TokenId id = 0; id < token_table()->vocab_size(); ++id) {
      if ((bits[static_cast<std::size_t>(id) / 32] >> (id % 32) & 1) != 0) allowed.push_back(id);
    }
    random = random * 1664525 + 1013904223;
    // The bytes of a state are always there, so its grammar can always be finished.
    if (!constraint.accept(allowed[(random >> 8) % allowed.size()])) __builtin_trap();
  }
  if (!constraint.is_finished() && !constraint.fill_mask(bits)) __builtin_trap();
  return 0;
}
