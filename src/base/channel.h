#pragma once

// A bounded queue between threads: any number of senders, any number of receivers, first in first out.
// Stopping is closing: senders are refused from then on, receivers get what is left and then nullopt.

#include <algorithm>
#include <condition_variable>
#include <cstddef>
#include <mutex>
#include <optional>
#include <utility>
#include <vector>

namespace kvasir {

template <typename T>
class Channel {
 public:
  // Requires: capacity > 0.
  explicit Channel(std::size_t capacity) : capacity_(capacity) {}
  Channel(const Channel&) = delete;
  Channel& operator=(const Channel&) = delete;

  // Adds `value` unless the channel is full or closed; false then, and `value` is untouched. Never blocks.
  bool try_send(T& value) {
    {
      const std::lock_guard lock(mutex_);
      if (closed_ || size_ >= capacity_) return false;
      push(std::move(value));
    }
    not_empty_.notify_one();
    return true;
  }

  // The oldest value, or nullopt when there is none right now. Never blocks.
  std::optional<T> try_receive() {
    const std::lock_guard lock(mutex_);
    return pop();
  }

  // Waits for a value; nullopt once the channel is closed and empty.
  std::optional<T> receive() {
    std::unique_lock lock(mutex_);
    not_empty_.wait(lock, [this] { return closed_ || size_ > 0; });
    return pop();
  }

  // Refuses senders from now on and wakes all receivers.
  void close() {
    {
      const std::lock_guard lock(mutex_);
      closed_ = true;
    }
    not_empty_.notify_all();
  }

  bool closed() const {
    const std::lock_guard lock(mutex_);
    return closed_;
  }

  std::size_t size() const {
    const std::lock_guard lock(mutex_);
    return size_;
  }

 private:
  // A ring that doubles when it is full: one whose receivers keep up allocates nothing.
  void push(T value) {
    if (size_ == ring_.size()) {
      std::vector<std::optional<T>> larger(std::max<std::size_t>(4, 2 * ring_.size()));
      for (std::size_t i = 0; i < size_; ++i) larger[i] = std::move(ring_[(first_ + i) % ring_.size()]);
      ring_ = std::move(larger);
      first_ = 0;
    }
    ring_[(first_ + size_++) % ring_.size()] = std::move(value);
  }

  std::optional<T> pop() {
    if (size_ == 0) return std::nullopt;
    std::optional<T> value = std::exchange(ring_[first_], std::nullopt);
    first_ = (first_ + 1) % ring_.size();
    --size_;
    return value;
  }

  const std::size_t capacity_;
  mutable std::mutex mutex_;
  std::condition_variable not_empty_;
  std::vector<std::optional<T>> ring_;  // these three guarded by mutex_: values at first_, first_ + 1, ...
  std::size_t first_ = 0, size_ = 0;
  bool closed_ = false;  // guarded by mutex_
};

}  // namespace kvasir
