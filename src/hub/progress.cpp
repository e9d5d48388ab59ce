#include "hub/progress.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <utility>

namespace kvasir::hub {
namespace {

constexpr std::array<const char*, 6> kUnits = {"B", "kB", "MB", "GB", "TB", "PB"};

struct Scaled {
  double value;
  const char* unit;
};

Scaled scale(double num_bytes) {
  std::size_t unit = 0;
  // 999.6 would be shown as 1000.
  while (num_bytes >= 999.5 && unit + 1 < kUnits.size()) {
    num_bytes /= 1000;
    ++unit;
  }
  return {num_bytes, kUnits[unit]};
}

std::string format_value(double value, const char* unit) {
  const bool is_whole = unit == kUnits[0] || value >= 99.95;
  return fmt::format("{:.{}f}", value, is_whole ? 0 : value >= 9.995 ? 1 : 2);
}

std::string format_duration(double seconds) {
  if (seconds < 100) return fmt::format("{:.0f} s", seconds);
  if (seconds < 100 * 60) return fmt::format("{:.0f} min", seconds / 60);
  return fmt::format("{:.0f} h", seconds / 3600);
}

}  // namespace

std::string format_bytes(std::uint64_t num_bytes) {
  const auto [value, unit] = scale(static_cast<double>(num_bytes));
  return fmt::format("{} {}", format_value(value, unit), unit);
}

std::string format_progress(const Progress& progress) {
  const double done = static_cast<double>(progress.num_bytes);
  const double total = static_cast<double>(progress.total_bytes);
  const int percent = total > 0 ? static_cast<int>(100 * std::min(1.0, done / total)) : 100;
  std::string text = fmt::format("{} of {} ({}%)", format_bytes(progress.num_bytes),
                                 format_bytes(progress.total_bytes), percent);
  if (progress.is_last) return text;
  text += fmt::format(", {}/s", format_bytes(static_cast<std::uint64_t>(progress.bytes_per_second)));
  if (progress.bytes_per_second >= 1 && total > done) {
    text += fmt::format(", {} left", format_duration((total - done) / progress.bytes_per_second));
  }
  return text;
}

ProgressMeter::ProgressMeter(std::uint64_t total_bytes, OnProgress on_progress, const Clock& clock)
    : on_progress_(std::move(on_progress)), clock_(clock), last_report_(clock.now()) {
  progress_.total_bytes = total_bytes;
}

void ProgressMeter::add(std::uint64_t num_bytes, bool is_new) {
  constexpr double kReportEverySeconds = 0.2;
  const std::lock_guard lock(mutex_);
  progress_.num_bytes += num_bytes;
  if (is_new) num_new_bytes_ += num_bytes;
  if (elapsed_ms(last_report_, clock_.now()) >= 1000 * kReportEverySeconds) report(false);
}

void ProgressMeter::take_back(std::uint64_t num_bytes) {
  const std::lock_guard lock(mutex_);
  progress_.num_bytes -= std::min(num_bytes, progress_.num_bytes);
}

void ProgressMeter::finish() {
  const std::lock_guard lock(mutex_);
  report(true);
}

void ProgressMeter::report(bool is_last) {
  constexpr double kMemorySeconds = 5;
  const TimePoint now = clock_.now();
  const double seconds = elapsed_ms(last_report_, now) / 1000;
  if (seconds > 0) {
    const double speed = static_cast<double>(num_new_bytes_) / seconds;
    // The first measurement counts alone; then each by its share of the last seconds.
    const double weight = progress_.bytes_per_second == 0 ? 1 : 1 - std::exp(-seconds / kMemorySeconds);
    progress_.bytes_per_second += weight * (speed - progress_.bytes_per_second);
  }
  num_new_bytes_ = 0;
  last_report_ = now;
  progress_.is_last = is_last;
  if (on_progress_) on_progress_(progress_);
}

}  // namespace kvasir::hub
