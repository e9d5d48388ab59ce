#pragma once

// What form a reply must have: free text, JSON, or the language of a grammar. Compiled to a constraint on the
// tokens.

#include <memory>
#include <optional>
#include <string>

#include "api/field_reader.h"
#include "base/status.h"
#include "grammar/grammar.h"
#include "grammar/token_constraint.h"

namespace kvasir::api {

// The grammar that a reply has to match; none: free text. Shared by the replies to one request.
using OutputFormat = std::shared_ptr<const grammar::Grammar>;

// `response_format` (OpenAI's text, json_object, json_schema), vLLM's guided_json, guided_regex,
// guided_grammar and structured_outputs, llama.cpp's json_schema and grammar: at most one of them.
void read_output_format(FieldReader& reader, OutputFormat& format);
// `response_format` alone.
void read_response_format(FieldReader& reader, OutputFormat& format);

}  // namespace kvasir::api
