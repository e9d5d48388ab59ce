#pragma once

// Python's operators on values.

#include "tokenizer/jinja/runtime.h"

namespace kvasir::tokenizer::jinja {

// The failure of using an undefined value: jinja2's UndefinedError.
Status undefined_failure(const Value& value);

bool is_true(const Value& value);

// ==. Errors: only the budgets'.
Result<bool> equals(Runtime& runtime, const Value& a, const Value& b);
// <, of what can be ordered.
Result<bool> less(Runtime& runtime, const Value& a, const Value& b);
// `is`: the same object.
bool is_same(const Value& a, const Value& b);

// Equal values have equal hashes. Errors: for lists, dicts and what else has none.
Result<std::uint64_t> hash_value(Runtime& runtime, const Value& value);
// The value under a key, or null. Errors: a key without a hash.
Result<const Value*> find(Runtime& runtime, const Dict& dict, const Value& key);
const Value* find(const Dict& dict, std::string_view key);
const Value* find(const Namespace& names, std::string_view key);
// Adds or replaces.
Status assign(Runtime& runtime, Namespace& names, std::string_view key, const Value& value);

// `item in container`.
Result<bool> contains(Runtime& runtime, const Value& container, const Value& item);

Result<Value> add(Runtime& runtime, const Value& a, const Value& b);
Result<Value> subtract(Runtime& runtime, const Value& a, const Value& b);
Result<Value> multiply(Runtime& runtime, const Value& a, const Value& b);
Result<Value> divide(Runtime& runtime, const Value& a, const Value& b);
Result<Value> floor_divide(Runtime& runtime, const Value& a, const Value& b);
// Of numbers; of a string the %-format.
Result<Value> modulo(Runtime& runtime, const Value& a, const Value& b);
Result<Value> power(Runtime& runtime, const Value& a, const Value& b);
Result<Value> negate(Runtime& runtime, const Value& a);
Result<Value> plus(Runtime& runtime, const Value& a);

// Bounds for values inside values, so that going through them cannot exhaust the stack.
inline constexpr int kMaxValueDepth = 200;

}  // namespace kvasir::tokenizer::jinja
