// Models in several GGUF files: NAME-00001-of-00003.gguf and so on.

#include <filesystem>
#include <optional>
#include <utility>

#include "format/gguf.h"
#include "format/printable.h"

namespace kvasir::format {
namespace {

constexpr std::string_view kExtension = ".gguf";
constexpr int kMaxParts = 9999;

// The name of the model, when `file` is the name of a part of `num_parts`.
std::optional<std::string> base_name(const std::string& file, std::int64_t part, std::int64_t num_parts) {
  const std::string end = fmt::format("-{:05}-of-{:05}{}", part + 1, num_parts, kExtension);
  if (!file.ends_with(end)) return std::nullopt;
  return file.substr(0, file.size() - end.size());
}

// What a part says of itself, held against what it should be.
Status check_part(const GgufMetadata& metadata, std::int64_t part, std::int64_t num_parts) {
  for (const auto& [key, expected] : {std::pair("split.count", num_parts), std::pair("split.no", part)}) {
    KVASIR_ASSIGN_OR_RETURN(const std::int64_t value, metadata.integer(key, 0, kMaxParts));
    if (value != expected) {
      return error(StatusCode::kCorrupt, "{}: key '{}': expected {}, got {}", metadata.file(), key, expected,
                   value);
    }
  }
  return Status();
}

}  // namespace

Result<Gguf> read_gguf(const std::string& path, std::span<const std::byte> bytes, const SiblingReader& read) {
  KVASIR_ASSIGN_OR_RETURN(Gguf given, parse_gguf(path, bytes));
  KVASIR_ASSIGN_OR_RETURN(const std::int64_t num_parts,
                          given.metadata.integer("split.count", 0, kMaxParts, 0));
  if (num_parts <= 1) return given;
  KVASIR_ASSIGN_OR_RETURN(const std::int64_t given_part,
                          given.metadata.integer("split.no", 0, num_parts - 1));
  const std::filesystem::path place(path);
  const auto base = base_name(place.filename().string(), given_part, num_parts);
  if (!base) {
    return error(StatusCode::kCorrupt, "{}: is part {} of {}: expected a name that ends in -{:05}-of-{:05}{}",
                 path, given_part + 1, num_parts, given_part + 1, num_parts, kExtension);
  }
  Gguf model;
  for (std::int64_t i = 0; i < num_parts; ++i) {
    const std::string file = fmt::format("{}-{:05}-of-{:05}{}", *base, i + 1, num_parts, kExtension);
    Gguf part;
    if (i == given_part) {
      part = std::move(given);
    } else {
      KVASIR_ASSIGN_OR_RETURN(const auto content, read(file));
      KVASIR_ASSIGN_OR_RETURN(part, parse_gguf((place.parent_path() / file).string(), content));
    }
    KVASIR_RETURN_IF_ERROR(check_part(part.metadata, i, num_parts));
    model.tensors.merge(part.tensors);
    if (!part.tensors.empty()) {
      return error(StatusCode::kCorrupt, "{}: tensor '{}' is in an earlier part too", part.metadata.file(),
                   printable(part.tensors.begin()->first));
    }
    if (i == 0) model.metadata = std::move(part.metadata);
  }
  const auto num_tensors = static_cast<std::int64_t>(model.tensors.size());
  KVASIR_ASSIGN_OR_RETURN(const std::int64_t expected,
                          model.metadata.integer("split.tensors.count", 0, INT64_MAX, num_tensors));
  if (num_tensors != expected) {
    return error(StatusCode::kCorrupt,
                 "{}: key 'split.tensors.count': its parts have {} tensors, expected {}", path, num_tensors,
                 expected);
  }
  return model;
}

}  // namespace kvasir::format
