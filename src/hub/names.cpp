#include "hub/names.h"

#include <algorithm>

namespace kvasir::hub {
namespace {

constexpr std::size_t kMaxNameLength = 255;  // of file systems
constexpr std::size_t kMaxPathLength = 1024;

bool is_alphanumeric(char c) {
  return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9');
}

bool is_lower_hex(std::string_view text) {
  return std::all_of(text.begin(), text.end(),
                     [](char c) { return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'f'); });
}

// Whether `accept` holds for each part of `path` between slashes.
template <typename Accept>
bool all_parts(std::string_view path, const Accept& accept) {
  for (;;) {
    const std::size_t slash = path.find('/');
    if (!accept(path.substr(0, slash))) return false;
    if (slash == path.npos) return true;
    path.remove_prefix(slash + 1);
  }
}

bool is_repo_part(std::string_view part) {
  const auto is_edge = [](char c) { return is_alphanumeric(c) || c == '_'; };
  // "--" stands for the slash in the names of the cache's folders.
  return !part.empty() && part.size() <= 96 && is_edge(part.front()) && is_edge(part.back()) &&
         part.find("--") == part.npos && part.find("..") == part.npos && !part.ends_with(".git") &&
         std::all_of(part.begin(), part.end(),
                     [](char c) { return is_alphanumeric(c) || c == '-' || c == '_' || c == '.'; });
}

}  // namespace

bool is_repo_id(std::string_view text) {
  return std::count(text.begin(), text.end(), '/') == 1 && all_parts(text, is_repo_part);
}

bool is_revision(std::string_view text) {
  constexpr std::string_view kForbidden = "\\:~^?*[";  // by git, and what shells and URLs may take for theirs
  return text.size() <= kMaxNameLength && text.find("..") == text.npos && all_parts(text, [&](auto part) {
           return !part.empty() && part.front() != '.' && part.front() != '-' &&
                  std::all_of(part.begin(), part.end(), [&](char c) {
                    return c > ' ' && c < 0x7f && kForbidden.find(c) == kForbidden.npos;
                  });
         });
}

bool is_commit_hash(std::string_view text) {
  return text.size() == 40 && is_lower_hex(text);
}

bool is_file_path(std::string_view text) {
  return text.size() <= kMaxPathLength && all_parts(text, [](std::string_view part) {
           return !part.empty() && part.size() <= kMaxNameLength && part != "." && part != ".." &&
                  std::all_of(part.begin(), part.end(), [](char c) {
                    return static_cast<unsigned char>(c) >= ' ' && c != 0x7f && c != '\\';
                  });
         });
}

bool is_blob_name(std::string_view text) {
  return !text.empty() && text.size() <= 128 && std::all_of(text.begin(), text.end(), [](char c) {
    return is_alphanumeric(c) || c == '-' || c == '_';
  });
}

bool is_sha256(std::string_view text) {
  return text.size() == 64 && is_lower_hex(text);
}

}  // namespace kvasir::hub
