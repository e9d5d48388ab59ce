#include "api/stop_text.h"

#include <algorithm>
#include <string_view>
#include <utility>

namespace kvasir::api {

std::string StopText::push(std::string_view piece) {
  if (stopped()) return "";
  held_ += piece;
  // The stop string that is complete first counts: that does not depend on the pieces.
  std::size_t begin = std::string::npos, end = std::string::npos;
  for (const std::string& stop : stops_) {
    const std::size_t found = held_.find(stop);
    if (found == std::string::npos) continue;
    if (std::pair(found + stop.size(), found) < std::pair(end, begin)) {
      begin = found;
      end = found + stop.size();
    }
  }
  if (begin != std::string::npos) {
    matched_ = held_.substr(begin, end - begin);
    held_.resize(begin);
    return std::exchange(held_, "");
  }
  std::size_t num_held = 0;
  for (const std::string& stop : stops_) {
    for (std::size_t n = std::min(stop.size() - 1, held_.size()); n > num_held; --n) {
      if (held_.ends_with(std::string_view(stop).substr(0, n))) num_held = n;
    }
  }
  std::string shown = held_.substr(0, held_.size() - num_held);
  held_.erase(0, shown.size());
  return shown;
}

std::string StopText::finish() {
  return stopped() ? "" : std::exchange(held_, "");
}

}  // namespace kvasir::api
