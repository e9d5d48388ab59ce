#include "apps/stop_signals.h"

namespace kvasir {

StopSignals::StopSignals() {
  ::sigemptyset(&signals_);
  for (const int number : {SIGINT, SIGTERM}) {
    struct sigaction action {};
    if (::sigaction(number, nullptr, &action) == 0 && action.sa_handler != SIG_IGN) {
      ::sigaddset(&signals_, number);
    }
  }
  // What wakes the thread in the end; sent by ourselves only.
  ::sigaddset(&signals_, SIGUSR1);
  ::pthread_sigmask(SIG_BLOCK, &signals_, &mask_before_);
  thread_ = std::thread([this] { wait(); });
}

StopSignals::~StopSignals() {
  is_over_ = true;
  ::pthread_kill(thread_.native_handle(), SIGUSR1);
  thread_.join();
  ::pthread_sigmask(SIG_SETMASK, &mask_before_, nullptr);
  if (came_ != 0) ::raise(came_);
}

void StopSignals::wait() {
  while (!is_over_) {
    int number = 0;
    if (::sigwait(&signals_, &number) != 0 || number == SIGUSR1) continue;
    came_ = number;
    stopping_.request_stop();
  }
}

}  // namespace kvasir
