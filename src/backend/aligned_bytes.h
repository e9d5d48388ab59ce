#pragma once

// Memory that kernels read and write: 64-byte aligned, reused from call to call.

#include <cstddef>
#include <cstdlib>
#include <memory>
#include <new>

namespace kvasir::backend {

class AlignedBytes {
 public:
  // Room for `size` bytes; what was in it is lost where it grows, and allocates then only.
  void resize(std::size_t size) {
    if (size <= size_) return;
    memory_.reset();
    memory_.reset(static_cast<std::byte*>(::operator new(size, kAlignment)));
    size_ = size;
  }
  std::byte* data() { return memory_.get(); }

 private:
  static constexpr std::align_val_t kAlignment{64};
  struct Free {
    void operator()(std::byte* memory) const { ::operator delete(memory, kAlignment); }
  };

  std::unique_ptr<std::byte, Free> memory_;
  std::size_t size_ = 0;
};

}  // namespace kvasir::backend
