#pragma once

// The settings that the pre-tokenizer and the decoder "Metaspace" share: spaces as a visible character.

#include <string>

#include "base/status.h"
#include "tokenizer/json_node.h"
#include "tokenizer/unicode.h"

namespace kvasir::tokenizer {

// Before which pieces the replacement is put.
enum class PrependScheme { kAlways, kFirst, kNever };

struct Metaspace {
  std::string replacement;
  PrependScheme scheme = PrependScheme::kAlways;

  static Result<Metaspace> read(const JsonNode& node) {
    Metaspace metaspace;
    KVASIR_ASSIGN_OR_RETURN(metaspace.replacement, node.text("replacement", "\xE2\x96\x81"));
    if (num_characters(metaspace.replacement) != 1) return node.corrupt("one character", "replacement");
    // Older files have add_prefix_space instead.
    KVASIR_ASSIGN_OR_RETURN(const bool adds, node.boolean("add_prefix_space", true));
    KVASIR_ASSIGN_OR_RETURN(const std::string scheme, node.text("prepend_scheme", adds ? "always" : "never"));
    if (scheme != "always" && scheme != "first" && scheme != "never")
      return node.unsupported("prepend_scheme", scheme);
    metaspace.scheme = scheme == "always"  ? PrependScheme::kAlways
                       : scheme == "first" ? PrependScheme::kFirst
                                           : PrependScheme::kNever;
    return metaspace;
  }
};

}  // namespace kvasir::tokenizer
