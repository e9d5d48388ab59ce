#include "hub/hub_cache.h"

#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <cstring>
#include <fstream>

#include "hub/names.h"

namespace kvasir::hub {
namespace {

namespace fs = std::filesystem;

// The content of a ref; empty when it is none.
std::string read_ref(const fs::path& path) {
  std::ifstream file(path, std::ios::binary);
  char text[41];
  file.read(text, sizeof text);
  const auto length = static_cast<std::size_t>(std::max<std::streamsize>(file.gcount(), 0));
  const std::string commit(text, std::min<std::size_t>(length, 40));
  const bool ends_here = length <= 40 || text[40] == '\n';
  return ends_here && is_commit_hash(commit) ? commit : std::string();
}

// Calls visit(path, its name below `folder`) for everything in `folder` that is not a folder, links not
// followed.
template <typename Visit>
void for_each_file(const fs::path& folder, const Visit& visit) {
  constexpr int kMaxDepth = 16;
  std::error_code failure;
  fs::recursive_directory_iterator entry(folder, failure), end;
  while (!failure && entry != end) {
    if (entry.depth() >= kMaxDepth) entry.disable_recursion_pending();
    if (!fs::is_directory(entry->symlink_status(failure))) {
      visit(entry->path(), entry->path().lexically_relative(folder).generic_string());
    }
    entry.increment(failure);
  }
}

}  // namespace

fs::path HubCache::repo_folder(std::string_view repo) const {
  std::string name = "models--" + std::string(repo);
  name.replace(name.find('/'), 1, "--");
  return root_ / name;
}

fs::path HubCache::snapshot(std::string_view repo, std::string_view commit) const {
  return repo_folder(repo) / "snapshots" / commit;
}

fs::path HubCache::blob(std::string_view repo, std::string_view etag) const {
  return repo_folder(repo) / "blobs" / etag;
}

fs::path HubCache::lock(std::string_view repo, std::string_view etag) const {
  return root_ / ".locks" / repo_folder(repo).filename() / (std::string(etag) + ".lock");
}

std::optional<std::string> HubCache::commit_of(std::string_view repo, std::string_view revision) const {
  if (is_commit_hash(revision)) return std::string(revision);
  std::string commit = read_ref(repo_folder(repo) / "refs" / revision);
  if (commit.empty()) return std::nullopt;
  return commit;
}

std::vector<std::string> HubCache::refs_of(std::string_view repo, std::string_view commit) const {
  std::vector<std::string> refs;
  for_each_file(repo_folder(repo) / "refs", [&](const fs::path& path, const std::string& name) {
    if (is_revision(name) && read_ref(path) == commit) refs.push_back(name);
  });
  std::sort(refs.begin(), refs.end());
  return refs;
}

bool HubCache::has(std::string_view repo, std::string_view commit, std::string_view file) const {
  std::error_code failure;
  return fs::is_regular_file(snapshot(repo, commit) / file, failure);
}

bool HubCache::is_absent(std::string_view repo, std::string_view commit, std::string_view file) const {
  std::error_code failure;
  return fs::exists(repo_folder(repo) / ".no_exist" / commit / file, failure);
}

std::vector<std::string> HubCache::gguf_files(std::string_view repo, std::string_view commit) const {
  std::vector<std::string> files;
  for_each_file(snapshot(repo, commit), [&](const fs::path& path, const std::string& name) {
    std::error_code failure;
    if (name.ends_with(".gguf") && is_file_path(name) && fs::is_regular_file(path, failure)) {
      files.push_back(name);
    }
  });
  std::sort(files.begin(), files.end());
  return files;
}

Status HubCache::link(std::string_view repo, std::string_view commit, std::string_view file,
                      std::string_view etag) const {
  const fs::path pointer = snapshot(repo, commit) / file;
  KVASIR_RETURN_IF_ERROR(make_parent_folders(pointer));
  const fs::path target = blob(repo, etag).lexically_relative(pointer.parent_path());
  for (int attempt = 0; attempt < 2; ++attempt) {
    if (::symlink(target.c_str(), pointer.c_str()) == 0) return Status();
    if (errno != EEXIST) break;
    if (has(repo, commit, file)) return Status();
    ::unlink(pointer.c_str());  // it leads nowhere: its blob was removed
  }
  return error(StatusCode::kIo, "{}: cannot be linked to its blob: {}", pointer.string(),
               std::strerror(errno));
}

void HubCache::mark_absent(std::string_view repo, std::string_view commit, std::string_view file) const {
  const fs::path path = repo_folder(repo) / ".no_exist" / commit / file;
  if (make_parent_folders(path).ok()) std::ofstream(path, std::ios::app);
}

Status HubCache::set_ref(std::string_view repo, std::string_view revision, std::string_view commit) const {
  const fs::path path = repo_folder(repo) / "refs" / revision;
  if (is_commit_hash(revision) || read_ref(path) == commit) return Status();
  KVASIR_RETURN_IF_ERROR(make_parent_folders(path));
  const fs::path temporary = path.string() + "." + std::to_string(::getpid()) + ".tmp";
  std::ofstream file(temporary, std::ios::binary | std::ios::trunc);
  file << commit;
  file.close();
  std::error_code failure;
  if (file) fs::rename(temporary, path, failure);
  if (!file || failure) return error(StatusCode::kIo, "{}: cannot be written", path.string());
  return Status();
}

Status make_parent_folders(const fs::path& path) {
  std::error_code failure;
  fs::create_directories(path.parent_path(), failure);
  if (failure) {
    return error(StatusCode::kIo, "{}: this folder cannot be made: {}", path.parent_path().string(),
                 failure.message());
  }
  return Status();
}

}  // namespace kvasir::hub
