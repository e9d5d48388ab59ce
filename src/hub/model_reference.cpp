#include "hub/model_reference.h"

#include <algorithm>
#include <filesystem>

#include "format/printable.h"
#include "hub/names.h"

namespace kvasir::hub {
namespace {

constexpr std::string_view kRepoForms =
    "a model of the hub such as org/name, org/name@revision or org/name:Q4_K_M";
constexpr std::string_view kForms =
    "a folder, a .gguf file, or a model of the hub such as org/name, org/name@revision or org/name:Q4_K_M";

bool looks_like_path(std::string_view text) {
  return text.starts_with('/') || text.starts_with("./") || text.starts_with("../") ||
         text.starts_with('~') || (text.ends_with(".gguf") && text.find(':') == text.npos);
}

// `forms` is what may be written where the text comes from.
Result<ModelReference> parse_repo(std::string_view text, std::string_view forms) {
  ModelReference reference;
  reference.kind = ModelReference::Kind::kRepo;
  const std::size_t colon = text.find(':');
  const std::size_t at = text.substr(0, colon).find('@');
  reference.repo = text.substr(0, std::min(at, colon));
  if (at != text.npos) reference.revision = text.substr(at + 1, colon == text.npos ? colon : colon - at - 1);
  if (colon != text.npos) reference.file = text.substr(colon + 1);
  if (!is_repo_id(reference.repo)) {
    return error(StatusCode::kInvalidArgument, "'{}': expected {}", format::printable(text), forms);
  }
  if (at != text.npos && !is_revision(reference.revision)) {
    return error(StatusCode::kInvalidArgument,
                 "'{}': expected a branch, a tag or a commit after '@', got '{}'", format::printable(text),
                 format::printable(reference.revision));
  }
  if (colon != text.npos && !is_file_path(reference.file)) {
    return error(StatusCode::kInvalidArgument,
                 "'{}': expected a .gguf file or a quantisation such as Q4_K_M after ':', got '{}'",
                 format::printable(text), format::printable(reference.file));
  }
  return reference;
}

}  // namespace

std::string ModelReference::text() const {
  if (kind != Kind::kRepo) return path;
  return repo + (revision.empty() ? "" : "@" + revision) + (file.empty() ? "" : ":" + file);
}

Result<ModelReference> parse_model_reference(std::string_view text) {
  ModelReference reference;
  if (text.empty()) return reference;
  if (text.find('\0') != text.npos) {
    return error(StatusCode::kInvalidArgument, "'{}': expected {}", format::printable(text), kForms);
  }
  std::error_code failure;
  const std::filesystem::file_status status = std::filesystem::status(text, failure);
  if (std::filesystem::is_directory(status)) {
    reference.kind = ModelReference::Kind::kFolder;
  } else if (std::filesystem::is_regular_file(status) && text.ends_with(".gguf")) {
    reference.kind = ModelReference::Kind::kGgufFile;
  } else if (std::filesystem::exists(status)) {
    return error(StatusCode::kInvalidArgument, "{}: expected {}, got another kind of file",
                 format::printable(text), kForms);
  } else if (looks_like_path(text)) {
    return error(StatusCode::kNotFound, "{}: expected {}, there is nothing", format::printable(text), kForms);
  } else {
    return parse_repo(text, kForms);
  }
  reference.path = text;
  return reference;
}

Result<ModelReference> parse_repo_reference(std::string_view text) {
  return parse_repo(text, kRepoForms);
}

}  // namespace kvasir::hub
