#pragma once

// Ctrl-C and `kill` as a stop token, for commands that have to tidy up before the process ends.

#include <signal.h>

#include <atomic>
#include <stop_token>
#include <thread>

namespace kvasir {

// While it lives SIGINT and SIGTERM request a stop and nothing else, unless they are ignored anyway. Made
// before there are other threads.
class StopSignals {
 public:
  StopSignals();
  StopSignals(const StopSignals&) = delete;
  StopSignals& operator=(const StopSignals&) = delete;
  // A signal that came now has the effect that it has without this object: the process ends by it.
  ~StopSignals();

  std::stop_token token() const { return stopping_.get_token(); }

 private:
  void wait();

  sigset_t signals_, mask_before_;
  std::stop_source stopping_;
  std::atomic<bool> is_over_ = false;
  int came_ = 0;  // of thread_, until it has ended
  std::thread thread_;
};

}  // namespace kvasir
