#pragma once

// How far a download is.

#include <cstdint>
#include <functional>
#include <mutex>
#include <string>

#include "base/clock.h"

namespace kvasir::hub {

struct Progress {
  std::uint64_t num_bytes = 0;    // that are there, those of earlier attempts included
  std::uint64_t total_bytes = 0;  // of all files that were not there
  double bytes_per_second = 0;    // of the last seconds
  bool is_last = false;           // no more will be said
};

// "2.20 GB", "340 kB", "17 B": in powers of 1000, as file managers and the hub's pages show sizes.
std::string format_bytes(std::uint64_t num_bytes);

// "1.10 of 2.20 GB (50%), 35 MB/s, 31 s left".
std::string format_progress(const Progress& progress);

// Counts the bytes of several downloads and says now and then how far they are. Any thread; the callback runs
// on one of them at a time.
class ProgressMeter {
 public:
  using OnProgress = std::function<void(const Progress&)>;

  // `on_progress` may be null.
  ProgressMeter(std::uint64_t total_bytes, OnProgress on_progress, const Clock& clock);

  // Bytes that came; with `is_new` false those that were there before, which say nothing of the speed.
  void add(std::uint64_t num_bytes, bool is_new = true);

  // Bytes that were counted and have to come again.
  void take_back(std::uint64_t num_bytes);

  // Nothing came, but time went by.
  void tick() { add(0); }

  void finish();

 private:
  void report(bool is_last);  // under mutex_

  const OnProgress on_progress_;
  const Clock& clock_;
  std::mutex mutex_;
  // Under mutex_:
  Progress progress_;
  std::uint64_t num_new_bytes_ = 0;  // since last_report_
  TimePoint last_report_;
};

}  // namespace kvasir::hub
