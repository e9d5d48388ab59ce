#pragma once

// For tests: grammars from text in one line, and whether they match.

#include <gtest/gtest.h>

#include <memory>
#include <nlohmann/json.hpp>
#include <string>
#include <string_view>

#include "grammar/gbnf.h"
#include "grammar/grammar_builder.h"
#include "grammar/json_schema.h"
#include "grammar/matcher.h"
#include "grammar/regex.h"

namespace kvasir::grammar::testing {

using GrammarPtr = std::shared_ptr<const Grammar>;

// Adds with `add(builder)` and builds.
template <typename Add>
Result<GrammarPtr> build(Add add) {
  GrammarBuilder builder;
  KVASIR_ASSIGN_OR_RETURN(const Expr root, Result<Expr>(add(builder)));
  return builder.build(root);
}

inline Result<GrammarPtr> from_gbnf(std::string_view text) {
  return build([&](GrammarBuilder& b) { return add_gbnf(b, text); });
}
inline Result<GrammarPtr> from_regex(std::string_view pattern, const RegexOptions& options = {}) {
  return build([&](GrammarBuilder& b) { return add_regex(b, pattern, options); });
}
inline Result<GrammarPtr> from_schema(std::string_view schema) {
  return build([&](GrammarBuilder& b) { return add_json_schema(b, nlohmann::ordered_json::parse(schema)); });
}

// The message of a grammar that is refused.
inline std::string refusal(const Result<GrammarPtr>& grammar) {
  EXPECT_FALSE(grammar.ok());
  return grammar.ok() ? "" : grammar.status().message();
}

// The whole text.
inline bool matches(const GrammarPtr& grammar, std::string_view text) {
  GrammarMatcher matcher(grammar);
  return matcher.accept(text) && matcher.is_complete();
}
inline bool matches(const Result<GrammarPtr>& grammar, std::string_view text) {
  EXPECT_TRUE(grammar.ok()) << grammar.status().message();
  return grammar.ok() && matches(*grammar, text);
}

}  // namespace kvasir::grammar::testing
