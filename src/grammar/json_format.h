#pragma once

// The values of the keyword `format` that are understood, as regular expressions.

#include <string_view>

namespace kvasir::grammar {

// Empty for a format that is not supported.
std::string_view format_regex(std::string_view format);

// All that are, for messages.
std::string_view supported_formats();

}  // namespace kvasir::grammar
