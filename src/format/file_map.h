#pragma once

// A file's bytes, mapped read-only for as long as the object lives.

#include <cstddef>
#include <span>
#include <string>

#include "base/status.h"

namespace kvasir::format {

class FileMap {
 public:
  // Errors: kNotFound, kIo (also for what is not a regular file), naming the path.
  static Result<FileMap> open(const std::string& path);
  FileMap(FileMap&& other) noexcept;
  FileMap& operator=(FileMap&& other) noexcept;
  ~FileMap();

  // Valid as long as this map, wherever it has been moved to.
  std::span<const std::byte> bytes() const { return bytes_; }

  // Gives back the memory of the whole pages in `part` of the bytes; when they are read again they come from
  // the file again. Any thread.
  void release(std::span<const std::byte> part) const;

 private:
  explicit FileMap(std::span<const std::byte> bytes) : bytes_(bytes) {}

  std::span<const std::byte> bytes_;  // owned mapping; empty when moved from
};

}  // namespace kvasir::format
