#pragma once

// Time as something that is passed in, so that tests decide when a second has gone by.

#include <chrono>

namespace kvasir {

using TimePoint = std::chrono::steady_clock::time_point;

// A monotonic clock. Thread-safe.
class Clock {
 public:
  virtual ~Clock() = default;
  virtual TimePoint now() const = 0;
};

// The machine's monotonic clock.
class SteadyClock final : public Clock {
 public:
  TimePoint now() const override { return std::chrono::steady_clock::now(); }
};

// A clock that stands still until a test moves it. One thread only.
class ManualClock final : public Clock {
 public:
  TimePoint now() const override { return now_; }
  void advance(std::chrono::steady_clock::duration by) { now_ += by; }

 private:
  TimePoint now_{};
};

// Milliseconds from `start` to `end`.
inline double elapsed_ms(TimePoint start, TimePoint end) {
  return std::chrono::duration<double, std::milli>(end - start).count();
}

}  // namespace kvasir
