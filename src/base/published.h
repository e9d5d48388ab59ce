#pragma once

// The latest value that one thread shows to others: a copy in, a copy out, never half of one.

#include <mutex>

namespace kvasir {

template <typename T>
class Published {
 public:
  void store(const T& value) {
    const std::lock_guard lock(mutex_);
    value_ = value;
  }

  T load() const {
    const std::lock_guard lock(mutex_);
    return value_;
  }

 private:
  mutable std::mutex mutex_;
  T value_{};  // guarded by mutex_
};

}  // namespace kvasir
