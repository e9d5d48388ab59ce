#include "apps/hub_source.h"

#include <fmt/core.h>
#include <spdlog/spdlog.h>
#include <unistd.h>

#include <chrono>
#include <cstdlib>
#include <memory>

namespace kvasir {
namespace {

class ProgressLine {
 public:
  void show(const hub::Progress& progress) {
    const std::string text = hub::format_progress(progress);
    if (isatty(STDERR_FILENO) != 0) {
      constexpr const char* kToEndOfLine = "\x1b[K";
      fmt::print(stderr, "\rdownloading: {}{}{}", text, kToEndOfLine, progress.is_last ? "\n" : "");
      std::fflush(stderr);
      return;
    }
    const auto now = std::chrono::steady_clock::now();
    if (!progress.is_last && now - last_shown_ < kInterval) return;
    last_shown_ = now;
    fmt::print(stderr, "downloading: {}\n", text);
  }

 private:
  static constexpr auto kInterval = std::chrono::seconds(10);
  std::chrono::steady_clock::time_point last_shown_ = std::chrono::steady_clock::now();
};

}  // namespace

Result<hub::ModelSource> open_hub() {
  KVASIR_ASSIGN_OR_RETURN(hub::HubSettings settings,
                          hub::read_hub_settings([](const char* name) { return std::getenv(name); }));
  hub::SourceEvents events;
  // Shared by the copies of the callback.
  events.on_progress = [line = std::make_shared<ProgressLine>()](const hub::Progress& progress) {
    line->show(progress);
  };
  events.on_notice = [](const std::string& notice) { spdlog::warn("{}", notice); };
  return hub::ModelSource(std::move(settings), std::move(events));
}

}  // namespace kvasir
