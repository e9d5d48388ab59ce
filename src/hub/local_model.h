#pragma once

// A model's files on this machine, and whether the cache has all that a reference needs.

#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/status.h"
#include "hub/hub_cache.h"
#include "hub/model_reference.h"

namespace kvasir::hub {

// Where a model that can be opened lies: a folder in the form of Hugging Face, or the parts of a GGUF file.
struct LocalModel {
  std::string folder;
  std::vector<std::string> gguf_files;  // paths, in order; empty: what is in `folder`
};

// Of a model in safetensors: what Kvasir cannot do without beside the weights, and what it reads where the
// model has it.
std::span<const std::string_view> required_files();
std::span<const std::string_view> optional_files();

constexpr std::string_view kWeightsFile = "model.safetensors";
constexpr std::string_view kWeightsIndexFile = "model.safetensors.index.json";

// The files that the index of a model's weights in `folder` names, each once, in order. Errors: those of
// reading; kCorrupt for an index of another form, and for names that could lead out of the folder.
Result<std::vector<std::string>> read_weights_index(const std::string& folder);

struct CacheLookup {
  std::string commit;               // of the revision; empty: the cache does not know it
  std::optional<LocalModel> model;  // all that is required is there
  bool is_complete = false;         // so is all that is optional, as far as the commit has it
  std::string missing;              // what is not there, for a message
};

// What the cache has of a repository's model. No network. Errors: an index that cannot be read, a file name
// that may mean several.
Result<CacheLookup> look_up(const HubCache& cache, const ModelReference& reference);

}  // namespace kvasir::hub
