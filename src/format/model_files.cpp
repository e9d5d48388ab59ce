#include "format/model_files.h"

#include <algorithm>
#include <filesystem>
#include <nlohmann/json.hpp>
#include <utility>

#include "base/bytes.h"
#include "base/json.h"
#include "format/gguf.h"
#include "format/gguf_config.h"
#include "format/gguf_tokenizer.h"

namespace kvasir::format {
namespace {

bool is_plain_name(std::string_view file) {
  return !file.empty() && file != "." && file != ".." && file.find('/') == file.npos &&
         file.find('\0') == file.npos;
}

constexpr std::string_view kMadeFiles[] = {"config.json", "tokenizer.json", "tokenizer_config.json"};

}  // namespace

ModelFiles::ModelFiles(std::string name, bool is_folder) : name_(std::move(name)), is_folder_(is_folder) {}
ModelFiles::ModelFiles(ModelFiles&&) noexcept = default;
ModelFiles& ModelFiles::operator=(ModelFiles&&) noexcept = default;
ModelFiles::~ModelFiles() = default;

Result<ModelFiles> ModelFiles::open(const std::string& path) {
  std::error_code failure;
  if (std::filesystem::is_directory(path, failure)) return ModelFiles(path, true);
  if (std::filesystem::path(path).extension() == ".gguf" && std::filesystem::exists(path, failure)) {
    return open_gguf(path);
  }
  return error(
      StatusCode::kNotFound,
      "{}: expected a folder with config.json, *.safetensors and tokenizer.json, or a file *.gguf; {}", path,
      std::filesystem::exists(path, failure) ? "got another file" : "there is nothing");
}

Result<ModelFiles> ModelFiles::open_gguf(const std::string& path) {
  ModelFiles files(path, false);
  KVASIR_ASSIGN_OR_RETURN(const auto bytes, files.map(path));
  const std::filesystem::path folder = std::filesystem::path(path).parent_path();
  const auto read = [&](const std::string& file) { return files.map((folder / file).string()); };
  KVASIR_ASSIGN_OR_RETURN(Gguf gguf, read_gguf(path, bytes, read));
  files.gguf_ = std::make_unique<Gguf>(std::move(gguf));
  return files;
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
  if (gguf_) return std::find(std::begin(kMadeFiles), std::end(kMadeFiles), file) != std::end(kMadeFiles);
  std::error_code failure;
  return is_folder_ && is_plain_name(file) && std::filesystem::is_regular_file(path(file), failure);
}

Result<std::span<const std::byte>> ModelFiles::read(std::string_view file) {
  if (const auto known = bytes_.find(file); known != bytes_.end()) return known->second;
  if (!is_plain_name(file)) {
    return error(StatusCode::kInvalidArgument, "{}: expected the name of a file in this folder, got '{}'",
                 name_, file);
  }
  if (gguf_) return make(file);
  if (!is_folder_) return error(StatusCode::kNotFound, "{}: there is no such file", path(file));
  KVASIR_ASSIGN_OR_RETURN(const auto bytes, map(path(file)));
  return bytes_.emplace(file, bytes).first->second;
}

Result<std::span<const std::byte>> ModelFiles::map(const std::string& path) {
  KVASIR_ASSIGN_OR_RETURN(FileMap map, FileMap::open(path));
  return maps_.emplace(path, std::move(map)).first->second.bytes();
}

Result<std::span<const std::byte>> ModelFiles::make(std::string_view file) {
  std::string text;
  if (file == "config.json") {
    KVASIR_ASSIGN_OR_RETURN(const nlohmann::json config, gguf_config(*gguf_));
    text = config.dump();
  } else if (file == "tokenizer.json") {
    KVASIR_ASSIGN_OR_RETURN(text, gguf_tokenizer(gguf_->metadata));
  } else if (file == "tokenizer_config.json") {
    KVASIR_ASSIGN_OR_RETURN(const nlohmann::json config, gguf_tokenizer_config(gguf_->metadata));
    text = config.dump();
  } else {
    return error(StatusCode::kNotFound, "{}: there is no such file", path(file));
  }
  const std::string& made = made_.emplace(file, std::move(text)).first->second;
  return bytes_.emplace(file, std::as_bytes(std::span(made))).first->second;
}

void ModelFiles::release(std::span<const std::byte> part) const {
  for (const auto& [name, map] : maps_) {
    const std::span<const std::byte> all = map.bytes();
    if (part.data() >= all.data() && part.data() < all.data() + all.size()) return map.release(part);
  }
}

Result<nlohmann::json> ModelFiles::read_json(std::string_view file) {
  KVASIR_ASSIGN_OR_RETURN(const auto bytes, read(file));
  Result<nlohmann::json> value = parse_json(path(file), as_text(bytes));
  if (!value.ok()) return Status(StatusCode::kCorrupt, value.status().message());
  if (!value->is_object()) {
    return error(StatusCode::kCorrupt, "{}: expected a JSON object, got {}", path(file), value->type_name());
  }
  return value;
}

}  // namespace kvasir::format
