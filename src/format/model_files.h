#pragma once

// The files of one model by name: from a folder, from memory (the model that is part of the binary), or from
// a GGUF file, which then is like the folder that it was converted from: its config.json, tokenizer.json and
// tokenizer_config.json are made from its metadata, and its tensors are those of format/gguf_names.h. One
// thread at a time.

#include <cstddef>
#include <map>
#include <memory>
#include <nlohmann/json_fwd.hpp>
#include <span>
#include <string>
#include <string_view>

#include "base/status.h"
#include "format/file_map.h"

namespace kvasir::format {

struct Gguf;

class ModelFiles {
 public:
  struct MemoryFile {
    std::string_view name;
    std::span<const std::byte> bytes;
  };

  // The files of a folder, or of a file *.gguf, which may be a part of a split one. Errors: kNotFound when
  // `path` is neither; those of read_gguf().
  static Result<ModelFiles> open(const std::string& path);

  // Files in memory, which must outlive the object; `name` stands for the folder in messages.
  static ModelFiles from_memory(std::string name, std::span<const MemoryFile> files);

  ModelFiles(ModelFiles&&) noexcept;
  ModelFiles& operator=(ModelFiles&&) noexcept;
  ~ModelFiles();

  // The path, as given.
  const std::string& name() const { return name_; }

  // Null for a folder.
  const Gguf* gguf() const { return gguf_.get(); }

  // What messages call `file`.
  std::string path(std::string_view file) const;

  bool has(std::string_view file) const;

  // The bytes of `file`, valid as long as this object; a file on disk is mapped once, at the first call.
  // Errors: kNotFound, kIo; kInvalidArgument when `file` is not a plain name (a path could leave the folder).
  Result<std::span<const std::byte>> read(std::string_view file);

  // Says that a part of a file's bytes will not be read soon, so that its memory can be had. No effect on
  // files in memory. Any thread, but not at the same time as read().
  void release(std::span<const std::byte> part) const;

  // The JSON object in `file`. Errors: those of read(); kCorrupt when it is not a JSON object.
  Result<nlohmann::json> read_json(std::string_view file);

 private:
  explicit ModelFiles(std::string name, bool is_folder);
  static Result<ModelFiles> open_gguf(const std::string& path);
  Result<std::span<const std::byte>> map(const std::string& path);
  Result<std::span<const std::byte>> make(std::string_view file);

  std::string name_;
  bool is_folder_ = false;
  std::unique_ptr<Gguf> gguf_;                            // views into maps_
  std::map<std::string, std::string, std::less<>> made_;  // files made from it
  std::map<std::string, FileMap, std::less<>> maps_;
  std::map<std::string, std::span<const std::byte>, std::less<>> bytes_;
};

}  // namespace kvasir::format
