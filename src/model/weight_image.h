#pragma once

// The memory of all weights that are not used as they lie in their file: anonymous, or a file that an earlier
// run wrote. A cache: what it cannot read it does not use. It knows bytes, not matrices.
//
//   | magic | version | fingerprint | size | checksum of the weights | of this | .. 4096 | the weights |

#include <cstddef>
#include <optional>
#include <span>
#include <string>
#include <utility>

#include "base/status.h"
#include "base/thread_pool.h"
#include "format/file_map.h"

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

  // Empty by default; stays where it is when the image is moved.
  std::span<const std::byte> bytes() const {
    return file_ ? file_->bytes().subspan(kHeaderBytes) : std::span<const std::byte>(memory_);
  }

  // What allocate() gave, to be filled; empty after open().
  std::span<std::byte> memory() { return memory_; }

 private:
  static constexpr std::size_t kHeaderBytes = 4096;  // so that the weights begin with a page

  explicit WeightImage(std::span<std::byte> memory) : memory_(memory) {}
  explicit WeightImage(format::FileMap file) : file_(std::move(file)) {}

  std::optional<format::FileMap> file_;
  std::span<std::byte> memory_;  // owned mapping
};

}  // namespace kvasir::model
