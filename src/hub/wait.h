#pragma once

#include <chrono>
#include <stop_token>

namespace kvasir::hub {

// Lets `duration` go by; false at once when it is stopped.
bool wait_for(std::chrono::milliseconds duration, const std::stop_token& stop);

}  // namespace kvasir::hub
