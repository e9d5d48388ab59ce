#pragma once

// flock() on a file of the cache's .locks, as huggingface_hub takes it: whoever has the lock of a blob may
// write that blob. Move-only; the file stays, for others may be waiting at it.

#include <filesystem>
#include <functional>
#include <stop_token>

#include "base/status.h"
#include "hub/file_descriptor.h"

namespace kvasir::hub {

class FileLock {
 public:
  // Waits until the lock is free; `on_wait` is called once when it is not. Errors: kIo; kCancelled.
  static Result<FileLock> acquire(const std::filesystem::path& path, const std::function<void()>& on_wait,
                                  const std::stop_token& stop);

 private:
  explicit FileLock(FileDescriptor file) : file_(std::move(file)) {}

  FileDescriptor file_;  // closing it gives the lock back
};

}  // namespace kvasir::hub
