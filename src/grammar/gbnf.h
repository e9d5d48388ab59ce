#pragma once

// GBNF, the grammar notation of llama.cpp: `root ::= "a" [b-z]+ (other | "x"{2,3})? # comment`.
//
// Literals and classes take the escapes \n \r \t \\ \" \[ \] \- \^ \xHH \uHHHH \UHHHHHHHH; `.` is any
// character; names are of letters, digits, '-' and '_'. A rule goes on over the end of a line until the next
// `name ::=`.

#include <string_view>

#include "base/status.h"
#include "grammar/grammar_builder.h"

namespace kvasir::grammar {

// Adds the rules of `text`; the result calls its rule `root`.
// Errors: kInvalidArgument, with line and column.
Result<Expr> add_gbnf(GrammarBuilder& builder, std::string_view text);

}  // namespace kvasir::grammar
