#pragma once

// A bounded queue between threads: any number of senders, any number of receivers, first in first out.
// Stopping is closing: senders are refused from then on, receivers get what is left and then nullopt.

#include <chrono>
#include <condition_variable>
#include <cstddef>
#include <deque>
#include <mutex>
#include <optional>
#include <utility>

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
      if (closed_ || queue_.size() >= capacity_) return false;
      queue_.push_back(std::move(value));
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
    not_empty_.wait(lock, [this] { return closed_ || !queue_.empty(); });
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
    return queue_.size();
  }

 private:
  std::optional<T> pop() {
    if (queue_.empty()) return std::nullopt;
    std::optional<T> value(std::move(queue_.front()));
    queue_.pop_front();
    return value;
  }

  const std::size_t capacity_;
  mutable std::mutex mutex_;
  std::condition_variable not_empty_;
  std::deque<T> queue_;  // guarded by mutex_
  bool closed_ = false;  // guarded by mutex_
};

}  // namespace kvasir
