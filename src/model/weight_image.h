#pragma once

// The memory of all weights that are not used as they lie in their file: anonymous, or a file that an earlier
// run wrote. A cache: what it cannot read it does not use. It knows bytes, not matrices.
//
//   | magic | version | fingerprint | size | checksum of the weights | of this | .. 4096 | the weights |

#include <cstddef>
#include <span>
#include <string>

#include "base/status.h"
#include "base/thread_pool.h"

namespace kvasir::model {

class WeightImage {
 public:
  WeightImage() = default;
  // Memory of `size` bytes, zero, 64-byte aligned. Errors: kResourceExhausted with the size.
  static Result<WeightImage> allocate(std::size_t size);

  // Maps the file at `path` that save() wrote with this fingerprint and size, and reads it once for its
  // checksum. Errors: kNotFound; kIo; kCorrupt when it is another's, cut short, or changed.
  static Result<WeightImage> open(const std::string& path, const std::string& fingerprint, std::size_t size,
                                  ThreadPool& pool);

  WeightImage(WeightImage&&) noexcept;
  WeightImage& operator=(WeightImage&&) noexcept;
  ~WeightImage();

  // Writes a file, for its owner only, which is at `path` whole or not at all. Creates the folder. Requires:
  // fingerprint of at most 64 bytes. Errors: kIo with the reason.
  Status save(const std::string& path, const std::string& fingerprint, ThreadPool& pool) const;

  // Empty by default. Not to be written to after open().
  std::span<std::byte> bytes() { return bytes_; }

 private:
  WeightImage(std::byte* mapping, std::size_t mapped_bytes, std::span<std::byte> bytes)
      : mapping_(mapping), mapped_bytes_(mapped_bytes), bytes_(bytes) {}

  std::byte* mapping_ = nullptr;  // owned
  std::size_t mapped_bytes_ = 0;
  std::span<std::byte> bytes_;
};

}  // namespace kvasir::model
