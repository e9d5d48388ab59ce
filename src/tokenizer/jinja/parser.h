#pragma once

// Tokens to a tree, by the grammar of jinja2's parser.

#include <string_view>

#include "base/status.h"
#include "tokenizer/jinja/ast.h"

namespace kvasir::tokenizer::jinja {

// Requires: valid UTF-8. Errors: kCorrupt for what is not a template, kUnsupported for what jinja2 has and
// this has not; both begin with "line N: ".
Result<SyntaxTree> parse(std::string_view source);

}  // namespace kvasir::tokenizer::jinja
