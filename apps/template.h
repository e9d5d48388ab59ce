#pragma once

// `kvasir template`: renders a chat template for JSON lines, to see what a model is given.

#include <istream>
#include <ostream>
#include <string>

#include "base/status.h"

namespace kvasir {

struct TemplateOptions {
  std::string file;   // a Jinja template; empty: that of the model
  std::string model;  // as for --model; empty: the embedded model
};

// For each line {"messages":..., "tools":..., "add_generation_prompt":..., "bos_token":..., "eos_token":...,
// "now": "2025-01-31T12:00:00", and any other variable of the template} of `in` writes {"text":...} or
// {"error":...} as a line to `out`. Tokens that a line does not name are the model's, where a model is given;
// `now` is the present where it is not given. A template that does not parse is each line's error. Errors:
// files that cannot be read, a model without a template.
Status render_templates(const TemplateOptions& options, std::istream& in, std::ostream& out);

}  // namespace kvasir
