#pragma once

// The folder in which huggingface_hub keeps what it downloads, and Kvasir too:
//
//   models--org--name/
//     blobs/<etag>                      a file's bytes; <etag>.incomplete while they are on their way
//     refs/main                         the commit that a branch or a tag was at
//     snapshots/<commit>/config.json    a link to ../../blobs/<etag>
//     .no_exist/<commit>/<file>         empty: the commit has no such file
//   .locks/models--org--name/<etag>.lock
//
// A snapshot never changes, it only gets more files. One object may be used by several threads; what other
// processes do at the same time is theirs. Names that come in have passed the checks of names.h.

#include <filesystem>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/status.h"

namespace kvasir::hub {

class HubCache {
 public:
  // The folder need not exist.
  explicit HubCache(std::filesystem::path root) : root_(std::move(root)) {}

  const std::filesystem::path& root() const { return root_; }
  std::filesystem::path repo_folder(std::string_view repo) const;
  std::filesystem::path snapshot(std::string_view repo, std::string_view commit) const;
  std::filesystem::path blob(std::string_view repo, std::string_view etag) const;
  std::filesystem::path lock(std::string_view repo, std::string_view etag) const;

  // The commit of a revision: itself, or what its ref says; nothing when the cache does not know it.
  std::optional<std::string> commit_of(std::string_view repo, std::string_view revision) const;

  // The branches and tags that are at a commit.
  std::vector<std::string> refs_of(std::string_view repo, std::string_view commit) const;

  // Whether a commit's file is there with its bytes.
  bool has(std::string_view repo, std::string_view commit, std::string_view file) const;

  // Whether it is known that the commit has no such file.
  bool is_absent(std::string_view repo, std::string_view commit, std::string_view file) const;

  // The GGUF files of a commit that are there, as paths inside the repository, sorted.
  std::vector<std::string> gguf_files(std::string_view repo, std::string_view commit) const;

  // Makes a commit's file a link to a blob. Errors: kIo.
  Status link(std::string_view repo, std::string_view commit, std::string_view file,
              std::string_view etag) const;

  // Says that the commit has no such file. Where that cannot be written it will be asked for again.
  void mark_absent(std::string_view repo, std::string_view commit, std::string_view file) const;

  // Says what commit a branch or a tag is at, in one step. Errors: kIo.
  Status set_ref(std::string_view repo, std::string_view revision, std::string_view commit) const;

 private:
  std::filesystem::path root_;
};

// The folders above `path`, made where they are missing. Errors: kIo, naming the path.
Status make_parent_folders(const std::filesystem::path& path);

}  // namespace kvasir::hub
