#pragma once

// What is in the cache, and how it gets out of it again.

#include <chrono>
#include <cstdint>
#include <string>
#include <vector>

#include "base/status.h"
#include "hub/hub_cache.h"
#include "hub/model_reference.h"

namespace kvasir::hub {

struct CachedModel {
  std::string name;    // what --model takes
  std::string commit;  // empty: what downloads have begun with and not ended
  std::uint64_t num_bytes = 0;
  std::chrono::system_clock::time_point last_used;  // when its files were read last, as far as that is kept
  bool is_complete = false;                         // whether it runs
};

// The models in the cache by name: of each snapshot the one in safetensors, and each GGUF file; of each
// repository the files that have not come whole. Errors: kIo when there is a cache that cannot be read.
Result<std::vector<CachedModel>> list_models(const HubCache& cache);

// Removes from the cache a file, a revision, or a whole repository when no revision is given, and returns how
// many bytes that freed. Files that other revisions share stay. Where what is asked for is not there, but
// files of the repository that have not come whole, those are removed. Follows no link out of the cache.
// Errors: kNotFound; kIo; kUnavailable when another process is downloading such a file.
Result<std::uint64_t> remove_model(const HubCache& cache, const ModelReference& reference);

}  // namespace kvasir::hub
