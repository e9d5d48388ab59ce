#include "hub/cached_models.h"

#include <sys/stat.h>

#include <algorithm>
#include <filesystem>
#include <set>

#include "hub/file_lock.h"
#include "hub/gguf_names.h"
#include "hub/local_model.h"
#include "hub/names.h"

namespace kvasir::hub {
namespace {

namespace fs = std::filesystem;

constexpr std::string_view kFolderPrefix = "models--";
constexpr std::string_view kIncomplete = ".incomplete";  // of a blob that has not come whole

std::vector<fs::path> entries(const fs::path& folder) {
  std::vector<fs::path> paths;
  std::error_code failure;
  fs::directory_iterator entry(folder, failure), end;
  for (; !failure && entry != end; entry.increment(failure)) paths.push_back(entry->path());
  std::sort(paths.begin(), paths.end());
  return paths;
}

// All that is below `folder` and not a folder itself; links are not followed.
std::vector<fs::path> files_below(const fs::path& folder) {
  std::vector<fs::path> paths;
  std::error_code failure;
  fs::recursive_directory_iterator entry(folder, failure), end;
  for (; !failure && entry != end; entry.increment(failure)) {
    if (!fs::is_directory(entry->symlink_status(failure))) paths.push_back(entry->path());
  }
  return paths;
}

// "models--org--name" as "org/name"; empty when it is not the name of a repository's folder.
std::string repo_of(const fs::path& folder) {
  std::string name = folder.filename().string();
  if (!name.starts_with(kFolderPrefix)) return {};
  name.erase(0, kFolderPrefix.size());
  if (const std::size_t dashes = name.find("--"); dashes != name.npos) name.replace(dashes, 2, "/");
  return is_repo_id(name) ? name : std::string();
}

std::vector<fs::path> incomplete_blobs(const fs::path& repo_folder) {
  std::vector<fs::path> paths = entries(repo_folder / "blobs");
  std::erase_if(paths, [](const fs::path& path) { return path.extension() != kIncomplete; });
  return paths;
}

// Adds a snapshot's file, as its blob is on the disk.
void add_file(const fs::path& path, CachedModel& model) {
  struct stat info {};
  if (::stat(path.c_str(), &info) != 0) return;
  model.num_bytes += static_cast<std::uint64_t>(info.st_size);
  const auto used = std::chrono::system_clock::from_time_t(std::max(info.st_atime, info.st_mtime));
  model.last_used = std::max(model.last_used, used);
}

void list_snapshot(const HubCache& cache, const std::string& repo, const std::string& commit,
                   std::vector<CachedModel>& models) {
  const std::vector<std::string> refs = cache.refs_of(repo, commit);
  ModelReference reference;
  reference.kind = ModelReference::Kind::kRepo;
  reference.repo = repo;
  const bool is_main = std::find(refs.begin(), refs.end(), "main") != refs.end();
  if (!is_main) reference.revision = refs.empty() ? commit : refs.front();

  const fs::path folder = cache.snapshot(repo, commit);
  const auto is_in_cache = [&] {
    const auto lookup = look_up(cache, reference);
    return lookup.ok() && lookup->model.has_value();
  };
  CachedModel rest{reference.text(), commit, 0, {}, is_in_cache()};
  bool has_rest = false;
  for (const fs::path& path : files_below(folder)) {
    if (path.extension() == ".gguf") continue;
    has_rest = true;
    add_file(path, rest);
  }
  const std::vector<std::string> files = gguf_models(cache.gguf_files(repo, commit));
  if (has_rest && (rest.is_complete || files.empty())) models.push_back(rest);
  for (const std::string& file : files) {
    reference.file = file;
    CachedModel model{reference.text(), commit, 0, {}, is_in_cache()};
    for (const std::string& part : gguf_parts(file)) add_file(folder / part, model);
    models.push_back(model);
  }
}

std::uint64_t size_of(const fs::path& path) {
  struct stat info {};
  return ::lstat(path.c_str(), &info) == 0 && S_ISREG(info.st_mode) ? static_cast<std::uint64_t>(info.st_size)
                                                                    : 0;
}

// Removes a file, a link or a folder with all that is in it; links are removed, not what they lead to.
Status remove_tree(const fs::path& path) {
  std::error_code failure;
  fs::remove_all(path, failure);
  if (failure) return error(StatusCode::kIo, "{}: cannot be removed: {}", path.string(), failure.message());
  return Status();
}

// The blobs that files of snapshots lead to.
std::set<std::string> blobs_of(const std::vector<fs::path>& files) {
  std::set<std::string> names;
  for (const fs::path& file : files) {
    std::error_code failure;
    const fs::path target = fs::read_symlink(file, failure);
    if (!failure && target.parent_path().filename() == "blobs") names.insert(target.filename().string());
  }
  return names;
}

// Removes files of snapshots, and the blobs that no other file leads to; adds what that frees.
Status remove_files(const fs::path& repo_folder, const std::vector<fs::path>& files, std::uint64_t& freed) {
  const std::set<std::string> candidates = blobs_of(files);
  for (const fs::path& file : files) {
    freed += size_of(file);
    KVASIR_RETURN_IF_ERROR(remove_tree(file));
  }
  const std::set<std::string> used = blobs_of(files_below(repo_folder / "snapshots"));
  for (const std::string& name : candidates) {
    if (used.contains(name)) continue;
    freed += size_of(repo_folder / "blobs" / name);
    KVASIR_RETURN_IF_ERROR(remove_tree(repo_folder / "blobs" / name));
  }
  return Status();
}

// Whether what is at `path` really lies in the cache, and not behind a link that leads out of it.
bool is_inside(const fs::path& root, const fs::path& path) {
  std::error_code failure;
  const fs::path real_root = fs::weakly_canonical(root, failure);
  if (failure) return false;
  const fs::path inside = fs::weakly_canonical(path, failure).lexically_relative(real_root);
  return !failure && !inside.empty() && *inside.begin() != "..";
}

Status remove_whole_repo(const HubCache& cache, const std::string& repo, std::uint64_t& freed) {
  const fs::path folder = cache.repo_folder(repo), locks = cache.lock(repo, "any").parent_path();
  for (const fs::path& file : files_below(folder)) freed += size_of(file);
  KVASIR_RETURN_IF_ERROR(remove_tree(folder));
  return is_inside(cache.root(), locks) ? remove_tree(locks) : Status();
}

// Removes what downloads have left, and the repository if nothing else is in it. False: there is nothing.
// Which file a beginning belongs to is not known, so all of the repository's are removed.
Result<bool> remove_incomplete(const HubCache& cache, const std::string& repo, std::uint64_t& freed) {
  const fs::path folder = cache.repo_folder(repo);
  if (!is_inside(cache.root(), folder / "blobs")) return false;
  const std::vector<fs::path> paths = incomplete_blobs(folder);
  std::stop_source no_waiting;
  no_waiting.request_stop();
  for (const fs::path& path : paths) {
    const auto lock =
        FileLock::acquire(cache.lock(repo, path.stem().string()), nullptr, no_waiting.get_token());
    if (lock.status().code() == StatusCode::kCancelled) {
      return error(StatusCode::kUnavailable, "{}: another process is downloading it", path.string());
    }
    KVASIR_RETURN_IF_ERROR(lock.status());
    freed += size_of(path);
    KVASIR_RETURN_IF_ERROR(remove_tree(path));
  }
  if (!paths.empty() && files_below(folder / "snapshots").empty()) {
    KVASIR_RETURN_IF_ERROR(remove_whole_repo(cache, repo, freed));
  }
  return !paths.empty();
}

}  // namespace

Result<std::vector<CachedModel>> list_models(const HubCache& cache) {
  std::vector<CachedModel> models;
  std::error_code failure;
  const fs::directory_iterator readable(cache.root(), failure);
  if (failure && failure != std::errc::no_such_file_or_directory) {
    return error(StatusCode::kIo, "{}: the cache cannot be read: {}", cache.root().string(),
                 failure.message());
  }
  for (const fs::path& folder : entries(cache.root())) {
    const std::string repo = repo_of(folder);
    if (repo.empty()) continue;
    for (const fs::path& snapshot : entries(folder / "snapshots")) {
      const std::string commit = snapshot.filename().string();
      if (is_commit_hash(commit)) list_snapshot(cache, repo, commit, models);
    }
    CachedModel begun{repo, {}, 0, {}, false};
    const std::vector<fs::path> blobs = incomplete_blobs(folder);
    for (const fs::path& blob : blobs) add_file(blob, begun);
    if (!blobs.empty()) models.push_back(begun);
  }
  return models;
}

Result<std::uint64_t> remove_model(const HubCache& cache, const ModelReference& reference) {
  const fs::path repo_folder = cache.repo_folder(reference.repo);
  const auto not_found = [&] {
    return error(StatusCode::kNotFound, "{}: is not in the cache {}", reference.text(),
                 cache.root().string());
  };
  std::error_code failure;
  if (!fs::exists(fs::symlink_status(repo_folder, failure))) return not_found();
  if (!is_inside(cache.root(), repo_folder) || !is_inside(cache.root(), repo_folder / "snapshots")) {
    return error(StatusCode::kIo, "{}: leads out of the cache, remove it by hand", repo_folder.string());
  }
  std::uint64_t freed = 0;
  if (reference.revision.empty() && reference.file.empty()) {
    KVASIR_RETURN_IF_ERROR(remove_whole_repo(cache, reference.repo, freed));
    return freed;
  }
  // What is asked for may be what a download has begun with.
  const auto remove_begun = [&](const Status& otherwise) -> Result<std::uint64_t> {
    KVASIR_ASSIGN_OR_RETURN(const bool has_begun, remove_incomplete(cache, reference.repo, freed));
    if (has_begun) return freed;
    return otherwise;
  };
  const auto commit = cache.commit_of(reference.repo, reference.revision_or_main());
  if (!commit || !fs::is_directory(cache.snapshot(reference.repo, *commit), failure)) {
    return remove_begun(not_found());
  }
  const fs::path snapshot = cache.snapshot(reference.repo, *commit);
  if (!is_inside(cache.root(), snapshot)) {
    return error(StatusCode::kIo, "{}: leads out of the cache, remove it by hand", snapshot.string());
  }
  std::vector<fs::path> files = files_below(snapshot);
  if (!reference.file.empty()) {
    const Result<std::string> file =
        find_gguf(reference.text(), reference.file, cache.gguf_files(reference.repo, *commit));
    if (file.status().code() == StatusCode::kNotFound) return remove_begun(file.status());
    if (!file.ok()) return file.status();
    files.clear();
    for (const std::string& part : gguf_parts(*file)) files.push_back(snapshot / part);
  }
  KVASIR_RETURN_IF_ERROR(remove_files(repo_folder, files, freed));
  if (!files_below(snapshot).empty()) return freed;
  // Nothing is left of the commit.
  for (const std::string& ref : cache.refs_of(reference.repo, *commit)) {
    KVASIR_RETURN_IF_ERROR(remove_tree(repo_folder / "refs" / ref));
  }
  KVASIR_RETURN_IF_ERROR(remove_tree(snapshot));
  KVASIR_RETURN_IF_ERROR(remove_tree(repo_folder / ".no_exist" / *commit));
  KVASIR_RETURN_IF_ERROR(remove_tree(repo_folder / "trees" / (*commit + ".json")));
  if (entries(repo_folder / "snapshots").empty()) {
    KVASIR_RETURN_IF_ERROR(remove_whole_repo(cache, reference.repo, freed));
  }
  return freed;
}

}  // namespace kvasir::hub
