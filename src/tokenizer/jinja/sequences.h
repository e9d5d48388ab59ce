#pragma once

// What is inside a value: items, attributes, slices.

#include <span>

#include "tokenizer/jinja/runtime.h"

namespace kvasir::tokenizer::jinja {

// What `for` goes through. Of an Iterator what is left, which is then used up.
// Errors: a value that is not iterable.
Result<std::span<const Value>> elements_of(Runtime& runtime, const Value& value);
bool is_iterable(const Value& value);

// len(). Errors: a value without a length.
Result<std::int64_t> length_of(Runtime& runtime, const Value& value);
bool has_length(const Value& value);

// `value.name` and `value[key]`: each tries the other's way as well, as jinja2 does. What is not there is
// undefined; what the sandbox forbids is undefined with a message that says so.
Result<Value> get_attribute(Runtime& runtime, const Value& value, std::string_view name);
Result<Value> get_item(Runtime& runtime, const Value& value, const Value& key);
// The attribute `name` only, missing when there is none.
Result<Value> find_attribute(Runtime& runtime, const Value& value, std::string_view name);

// The undefined value that stands for an attribute that `value` has not.
Result<Value> absent_attribute(Runtime& runtime, const Value& value, std::string_view name);

// `value[start:stop:step]`; each may be None.
Result<Value> slice(Runtime& runtime, const Value& value, const Value& start, const Value& stop,
                    const Value& step);

}  // namespace kvasir::tokenizer::jinja
