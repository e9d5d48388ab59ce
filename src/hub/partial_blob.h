#pragma once

// A blob on its way: the file <etag>.incomplete, which survives a break and is gone on with. Whoever opens it
// has the blob's lock. One thread.

#include <cstdint>
#include <filesystem>
#include <string>
#include <string_view>

#include "base/status.h"
#include "hub/file_descriptor.h"
#include "hub/sha256.h"

namespace kvasir::hub {

class PartialBlob {
 public:
  // The beginning of the blob that is at `blob`.incomplete, or a new file. Reads what is there, for its hash.
  // Errors: kIo.
  static Result<PartialBlob> open(const std::filesystem::path& blob);

  std::uint64_t size() const { return size_; }

  // Errors: kIo, also for a full disk.
  Status append(std::string_view bytes);

  // Forgets all bytes. Errors: kIo.
  Status restart();

  // The SHA-256 of all bytes, in hexadecimal. Nothing is appended any more, unless restart() comes first.
  std::string sha256() { return hash_.finish(); }

  // Makes the file the blob, in one step and on the disk. Errors: kIo.
  Status publish();

  // Removes the file.
  void discard();

 private:
  PartialBlob(std::filesystem::path blob, std::filesystem::path path, FileDescriptor file)
      : blob_(std::move(blob)), path_(std::move(path)), file_(std::move(file)) {}

  std::filesystem::path blob_, path_;
  FileDescriptor file_;
  Sha256 hash_;
  std::uint64_t size_ = 0;
};

}  // namespace kvasir::hub
