#pragma once

// Counts what is allocated with new, aligned or not, for tests that nothing is. Defines the global operators:
// included by one file of a test. Files named *_allocation_test.cpp are not built with a sanitizer, which
// brings operators of its own.

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <new>

namespace kvasir::testing {

inline std::atomic<std::int64_t> num_allocations = 0;  // of all threads
inline thread_local std::int64_t num_allocations_of_this_thread = 0;

inline void* count_allocation(void* memory) {
  if (memory == nullptr) std::abort();
  ++num_allocations;
  ++num_allocations_of_this_thread;
  return memory;
}

}  // namespace kvasir::testing

void* operator new(std::size_t size) {
  return kvasir::testing::count_allocation(std::malloc(size));
}
void* operator new(std::size_t size, std::align_val_t alignment) {
  const auto bytes = static_cast<std::size_t>(alignment);
  return kvasir::testing::count_allocation(std::aligned_alloc(bytes, (size + bytes - 1) / bytes * bytes));
}
void operator delete(void* memory) noexcept {
  std::free(memory);
}
void operator delete(void* memory, std::size_t) noexcept {
  std::free(memory);
}
void operator delete(void* memory, std::align_val_t) noexcept {
  std::free(memory);
}
void operator delete(void* memory, std::size_t, std::align_val_t) noexcept {
  std::free(memory);
}
