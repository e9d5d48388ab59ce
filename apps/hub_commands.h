#pragma once

// `kvasir pull`, `kvasir models` and `kvasir rm`: what is in the Hugging Face cache of this machine.

#include <ostream>
#include <string>

#include "base/status.h"

namespace kvasir {

// Downloads what the cache lacks of a hub's model and writes where it is to `out`.
Status pull_model(const std::string& reference, std::ostream& out);

// Writes a table of the models in the cache.
Status list_cached_models(std::ostream& out);

// Removes a file, a revision or a whole model from the cache and writes what that freed.
Status remove_cached_model(const std::string& reference, std::ostream& out);

}  // namespace kvasir
