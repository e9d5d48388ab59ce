#pragma once

// A thread that fills the masks of constraints while the model runs, so that a grammar is not in the way of
// the next token. It only saves time: a mask that it has not filled is filled where it is needed.
//
// Between start() and wait() the constraint and the mask of the given sequences are this thread's, all else
// stays the engine's.

#include <span>
#include <thread>
#include <vector>

#include "base/channel.h"
#include "engine/sequence.h"

namespace kvasir::engine {

class MaskFiller {
 public:
  explicit MaskFiller(int vocab_size);
  ~MaskFiller();
  MaskFiller(const MaskFiller&) = delete;
  MaskFiller& operator=(const MaskFiller&) = delete;

  // Begins to fill the masks of those of the sequences that have a constraint. Requires: wait() after the
  // last start(); the sequences live until then.
  void start(std::span<Sequence* const> sequences);
  // Returns when all are filled.
  void wait();

 private:
  void run();

  const int vocab_size_;
  std::vector<Sequence*> jobs_;  // of the start() in progress
  Channel<bool> to_do_{1}, done_{1};
  std::thread thread_;  // last: it uses all of the above; none until the first constraint comes
};

}  // namespace kvasir::engine
