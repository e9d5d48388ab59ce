#include "format/model_files.h"

#include <filesystem>
#include <nlohmann/json.hpp>
#include <utility>

#include "base/json.h"

namespace kvasir::format {
namespace {

bool is_plain_name(std::string_view file) {
  return !file.empty() && file != "." && file != ".." && file.find('/') == file.npos &&
         file.find('\0') == file.npos;
}

}  // namespace

Result<ModelFiles> ModelFiles::open(const std::string& folder) {
  std::error_code failure;
  if (!std::filesystem::is_directory(folder, failure)) {
    return error(StatusCode::kNotFound,
                 "{}: expected a folder with config.json, *.safetensors and tokenizer.json, {}", folder,
                 std::filesystem::exists(folder, failure) ? "got a file" : "there is nothing");
  }
  return ModelFiles(folder, true);
}

ModelFiles ModelFiles::from_memory(std::string name, std::span<const MemoryFile> files) {
  ModelFiles result(std::move(name), false);
  for (const MemoryFile& file : files) result.bytes_.emplace(file.name, file.bytes);
  return result;
}

std::string ModelFiles::path(std::string_view file) const {
  return (std::filesystem::path(name_) / file).string();
}

bool ModelFiles::has(std::string_view file) const {
  if (bytes_.contains(file)) return true;
  std::error_code failure;
  return is_folder_ && is_plain_name(file) && std::filesystem::is_regular_file(path(file), failure);
}

Result<std::span<const std::byte>> ModelFiles::read(std::string_view file) {
  if (const auto known = bytes_.find(file); known != bytes_.end()) return known->second;
  if (!is_plain_name(file)) {
    return error(StatusCode::kInvalidArgument, "{}: expected the name of a file in this folder, got '{}'",
                 name_, file);
  }
  if (!is_folder_) return error(StatusCode::kNotFound, "{}: there is no such file", path(file));
  KVASIR_ASSIGN_OR_RETURN(FileMap map, FileMap::open(path(file)));
  const auto [place, is_new] = maps_.emplace(file, std::move(map));
  return bytes_.emplace(file, place->second.bytes()).first->second;
}

void ModelFiles::release(std::span<const std::byte> part) const {
  for (const auto& [name, map] : maps_) {
    const std::span<const std::byte> all = map.bytes();
    if (part.data() >= all.data() && part.data() < all.data() + all.size()) return map.release(part);
  }
}

Result<nlohmann::json> ModelFiles::read_json(std::string_view file) {
  KVASIR_ASSIGN_OR_RETURN(const auto bytes, read(file));
  const std::string_view text(reinterpret_cast<const char*>(bytes.data()), bytes.size());
  Result<nlohmann::json> value = parse_json(path(file), text);
  if (!value.ok()) return Status(StatusCode::kCorrupt, value.status().message());
  if (!value->is_object()) {
    return error(StatusCode::kCorrupt, "{}: expected a JSON object, got {}", path(file), value->type_name());
  }
  return value;
}

}  // namespace kvasir::format
