#pragma once

// A blob on its way: the file <etag>.incomplete, which survives a break and is gone on with. Whoever opens it
// has the blob's lock. One thread.

#include <cstdint>
#include <filesystem>
#include <string>
#include <string_view>

#include "base/status.h"
#include "hub/blob_checksum.h"
#include "hub/file_descriptor.h"

namespace kvasir::hub {

class PartialBlob {
 public:
  // The beginning of the blob that is at `blob`.incomplete, or a new file; of the whole blob's size, for its
  // checksum, for which what is there is read. Errors: kIo.
  static Result<PartialBlob> open(const std::filesystem::path& blob, std::uint64_t num_bytes);

  std::uint64_t size() const { return size_; }

  // Errors: kIo, also for a full disk.
  Status append(std::string_view bytes);

  // Forgets all bytes. Errors: kIo.
  Status restart();

  // Whether all bytes are those that the blob's name says, as far as it does. Nothing is appended any more,
  // unless restart() comes first. Errors: kCorrupt with both checksums.
  Status check();

  // Makes the file the blob, in one step and on the disk. Errors: kIo.
  Status publish();

  // Removes the file.
  void discard();

 private:
  PartialBlob(std::filesystem::path blob, std::filesystem::path path, FileDescriptor file,
              std::uint64_t num_bytes)
      : blob_(std::move(blob)),
        path_(std::move(path)),
        file_(std::move(file)),
        checksum_(blob_.filename().string(), num_bytes) {}

  std::filesystem::path blob_, path_;
  FileDescriptor file_;
  BlobChecksum checksum_;
  std::uint64_t size_ = 0;
};

}  // namespace kvasir::hub
