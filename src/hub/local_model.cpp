#include "hub/local_model.h"

#include <filesystem>
#include <nlohmann/json.hpp>
#include <set>

#include "format/model_files.h"
#include "format/printable.h"
#include "hub/gguf_names.h"
#include "hub/names.h"

namespace kvasir::hub {
namespace {

constexpr std::string_view kRequiredFiles[] = {"config.json", "tokenizer.json"};
constexpr std::string_view kOptionalFiles[] = {"generation_config.json", "tokenizer_config.json",
                                               "chat_template.jinja"};

// The first of `files` that is not in the snapshot; empty: all are.
template <typename Files>
std::string first_missing(const HubCache& cache, const std::string& repo, const std::string& commit,
                          const Files& files) {
  for (const auto& file : files) {
    if (!cache.has(repo, commit, file)) return std::string(file);
  }
  return {};
}

Result<CacheLookup> look_up_safetensors(const HubCache& cache, const std::string& repo,
                                        const std::string& commit) {
  CacheLookup lookup;
  const std::string folder = cache.snapshot(repo, commit).string();
  lookup.missing = first_missing(cache, repo, commit, kRequiredFiles);
  if (!lookup.missing.empty()) return lookup;
  if (!cache.has(repo, commit, kWeightsFile)) {
    if (!cache.has(repo, commit, kWeightsIndexFile)) {
      lookup.missing = kWeightsFile;
      return lookup;
    }
    KVASIR_ASSIGN_OR_RETURN(const auto shards, read_weights_index(folder));
    lookup.missing = first_missing(cache, repo, commit, shards);
    if (!lookup.missing.empty()) return lookup;
  }
  lookup.model = LocalModel{folder, {}};
  for (const std::string_view file : kOptionalFiles) {
    if (cache.has(repo, commit, file) || cache.is_absent(repo, commit, file)) continue;
    lookup.missing = file;
    return lookup;
  }
  lookup.is_complete = true;
  return lookup;
}

Result<CacheLookup> look_up_gguf(const HubCache& cache, const ModelReference& reference,
                                 const std::string& commit) {
  CacheLookup lookup;
  const std::vector<std::string> files = cache.gguf_files(reference.repo, commit);
  const Result<std::string> file = find_gguf(reference.text(), reference.file, files);
  if (!file.ok() && file.status().code() == StatusCode::kNotFound) {
    lookup.missing = reference.file;
    return lookup;
  }
  if (!file.ok()) return file.status();
  const std::vector<std::string> parts = gguf_parts(*file);
  lookup.missing = first_missing(cache, reference.repo, commit, parts);
  if (!lookup.missing.empty()) return lookup;
  const std::filesystem::path folder = cache.snapshot(reference.repo, commit);
  lookup.model = LocalModel{folder.string(), {}};
  for (const std::string& part : parts) lookup.model->gguf_files.push_back((folder / part).string());
  lookup.is_complete = true;
  return lookup;
}

}  // namespace

std::span<const std::string_view> required_files() {
  return kRequiredFiles;
}

std::span<const std::string_view> optional_files() {
  return kOptionalFiles;
}

Result<std::vector<std::string>> read_weights_index(const std::string& folder) {
  KVASIR_ASSIGN_OR_RETURN(format::ModelFiles files, format::ModelFiles::open(folder));
  KVASIR_ASSIGN_OR_RETURN(const nlohmann::json index, files.read_json(kWeightsIndexFile));
  const std::string path = files.path(kWeightsIndexFile);
  const auto map = index.find("weight_map");
  if (map == index.end() || !map->is_object() || map->empty()) {
    return error(StatusCode::kCorrupt, "{}: weight_map: expected an object of tensor names and files", path);
  }
  std::set<std::string> shards;
  for (const auto& [tensor, file] : map->items()) {
    if (!file.is_string()) {
      return error(StatusCode::kCorrupt, "{}: weight_map: tensor '{}': expected a file name, got {}", path,
                   format::printable(tensor), file.type_name());
    }
    const std::string& name = file.get_ref<const std::string&>();
    if (!is_file_path(name) || name.find('/') != name.npos || !name.ends_with(".safetensors")) {
      return error(StatusCode::kCorrupt, "{}: weight_map: expected names of .safetensors files, got '{}'",
                   path, format::printable(name));
    }
    shards.insert(name);
  }
  return std::vector<std::string>(shards.begin(), shards.end());
}

Result<CacheLookup> look_up(const HubCache& cache, const ModelReference& reference) {
  CacheLookup lookup;
  const auto commit = cache.commit_of(reference.repo, reference.revision_or_main());
  if (!commit) {
    lookup.missing = "the revision " + std::string(reference.revision_or_main());
    return lookup;
  }
  KVASIR_ASSIGN_OR_RETURN(lookup, reference.file.empty() ? look_up_safetensors(cache, reference.repo, *commit)
                                                         : look_up_gguf(cache, reference, *commit));
  lookup.commit = *commit;
  return lookup;
}

}  // namespace kvasir::hub
