#pragma once

// The hub as the commands use it: set up by the environment, telling on standard error what it downloads.

#include <string>

#include "base/status.h"
#include "hub/model_source.h"

namespace kvasir {

// Progress is one line that a terminal overwrites, elsewhere a line now and then; what else there is to tell
// is in the log. Errors: variables of the environment that make no sense.
Result<hub::ModelSource> open_hub();

}  // namespace kvasir
