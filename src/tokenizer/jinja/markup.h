#pragma once

// HTML escaping, as markupsafe does it. Strings that are markup are not escaped again.

#include "tokenizer/jinja/runtime.h"

namespace kvasir::tokenizer::jinja {

// str(value) with & < > ' " as entities, as markup.
Result<Value> escape(Runtime& runtime, const Value& value);

// The text without tags and comments, white space collapsed, entities as characters.
std::string strip_tags(std::string_view text);

}  // namespace kvasir::tokenizer::jinja
