#pragma once

// What may become part of a path or of a URL. Names come from users, servers and the files of a cache; each
// of them passes one of these checks first. No side effects.

#include <string_view>

namespace kvasir::hub {

// "org/name", as the hub allows it.
bool is_repo_id(std::string_view text);

// A branch, a tag, a commit, "refs/pr/1".
bool is_revision(std::string_view text);

// 40 hexadecimal digits in lower case.
bool is_commit_hash(std::string_view text);

// The path of a file inside a repository: relative, without "." and "..", control characters and backslashes.
bool is_file_path(std::string_view text);

// The name of a blob, which is an ETag: letters, digits, '-' and '_'.
bool is_blob_name(std::string_view text);

// 64 hexadecimal digits in lower case.
bool is_sha256(std::string_view text);

}  // namespace kvasir::hub
