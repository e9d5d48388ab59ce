#pragma once

// Python's two ways of formatting: '%s' % value, and '{}'.format(value).

#include "tokenizer/jinja/runtime.h"

namespace kvasir::tokenizer::jinja {

// `format % arguments`: a tuple is the arguments, a dict those by name, anything else the only one.
Result<Value> format_percent(Runtime& runtime, const Value& format, const Value& arguments);

// format.format(...).
Result<Value> format_braces(Runtime& runtime, const Value& format, const Arguments& arguments);

}  // namespace kvasir::tokenizer::jinja
