#pragma once

// Regular expressions as grammars, over Unicode characters.
//
// literals, `.` (all but \n), classes with ranges and negation, \d \w \s and their negations (of ASCII, as in
// ECMAScript without the flag u and in Python with re.ASCII), \n \r \t \f \v \0 \xHH \uHHHH \u{H...}
// \UHHHHHHHH, escaped punctuation, groups (capturing, named, `(?:`), `|`, and * + ? {m} {m,} {m,n}, lazy or
// not: the set of texts is the same. `^` and `$` stand at the beginning and end of the pattern, or of an
// alternative of it. What is not regular (backreferences, lookaround) or not supported (\b, \p, flags,
// possessive quantifiers) is refused by name.

#include <string_view>

#include "base/status.h"
#include "grammar/grammar_builder.h"

namespace kvasir::grammar {

struct RegexOptions {
  // false: the whole text matches. true: a part does, if `^` and `$` do not say otherwise.
  bool search = false;
  // The text is the inside of a JSON string: what JSON escapes is matched in its (shortest) escaped form.
  bool inside_json_string = false;
};

// Errors: kInvalidArgument (syntax, limits), kUnsupported, with the position in the pattern.
Result<Expr> add_regex(GrammarBuilder& builder, std::string_view pattern, const RegexOptions& options = {});

}  // namespace kvasir::grammar
