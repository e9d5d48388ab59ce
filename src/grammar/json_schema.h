#pragma once

// JSON Schema (2020-12, and what draft 7 calls differently) as a grammar of the texts of its instances.
//
// The grammar is never looser than the schema; where a schema leaves things open it is stricter, so that
// models stay on track:
// - Whitespace: at most one space after ',' and ':', none elsewhere.
// - Objects have their properties in the schema's order; those not in `required` may be left out. Without
//   `additionalProperties`, an object that has `properties` has no others; one without may have any. Further
//   properties follow the listed ones, and their names need no escapes.
// - Arrays with `prefixItems` and without `items` have no further items.
// - Integers have at most 18 digits, other numbers at most 18 on each side of the point and two in the
//   exponent; with a minimum or maximum there is no exponent.
// - Strings with a minLength or maxLength have controls alone as \u escapes.
// - `const` and `enum` are written one way: strings escape only what must be.
// - `oneOf` is `anyOf` where its alternatives are disjoint by type, by their constants, or by a required
//   property with different constants; else it is refused.
// - `allOf`, and what stands beside `anyOf`, `oneOf` or `$ref`, is merged where that is possible.
// - `format`: date, time, date-time, duration, email, hostname, ipv4, uuid.
// Annotations (title, description, default, examples, deprecated, x-...) are without effect. Every other
// keyword is refused.

#include <nlohmann/json_fwd.hpp>

#include "base/status.h"
#include "grammar/grammar_builder.h"

namespace kvasir::grammar {

// Errors: kInvalidArgument for what is not a schema, has no finite instance or is over a limit, kUnsupported
// for what a grammar cannot express or this one does not; both name the keyword and its JSON pointer.
Result<Expr> add_json_schema(GrammarBuilder& builder, const nlohmann::ordered_json& schema);

// Any JSON object.
Expr add_json_object(GrammarBuilder& builder);

// `value` as the grammars of schemas write it: a space after ',' and ':' may be or not.
Expr add_json_constant(GrammarBuilder& builder, const nlohmann::ordered_json& value);

}  // namespace kvasir::grammar
