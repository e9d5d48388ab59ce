#pragma once

// A file that is at its path whole or not at all: it is written as PATH.part, under a lock that ends with the
// process, and renamed at the end. What a process that was killed has left there is overwritten. One thread.

#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <memory>
#include <string>

#include "base/status.h"

namespace kvasir::format {

class NewFile {
 public:
  // Whether create() would find that what is at `path` must stay: when it is no file, or `replaces` is false.
  // Errors: kInvalidArgument. No side effects.
  static Status check(const std::string& path, bool replaces);

  // What is at `path` already is replaced in the end. Errors: those of check(); kUnavailable when another
  // process writes the same file; kIo.
  static Result<NewFile> create(const std::string& path, bool replaces);

  NewFile(NewFile&& other) noexcept = default;
  NewFile& operator=(NewFile&&) = delete;
  // Removes what was written, unless it is published.
  ~NewFile();

  const std::string& path() const { return path_; }

  // Errors: kIo, also for a full disk.
  Status write(const void* data, std::size_t num_bytes);

  // The bytes that were written.
  std::uint64_t size() const { return size_; }

  // Makes it the file at the path, in one step and on the disk. Once, at the end. Errors: kIo.
  Status publish();

 private:
  using File = std::unique_ptr<std::FILE, int (*)(std::FILE*)>;

  NewFile(std::string path, File file) : path_(std::move(path)), file_(std::move(file)) {}

  std::string path_;
  File file_;  // of path_ + ".part", until it is published
  std::uint64_t size_ = 0;
};

}  // namespace kvasir::format
