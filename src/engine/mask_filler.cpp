#include "engine/mask_filler.h"

#include <algorithm>
#include <exception>
#include <iterator>
#include <system_error>

namespace kvasir::engine {

MaskFiller::MaskFiller(int vocab_size) : vocab_size_(vocab_size) {}

MaskFiller::~MaskFiller() {
  to_do_.close();
  if (thread_.joinable()) thread_.join();
}

void MaskFiller::start(std::span<Sequence* const> sequences) {
  const auto is_job = [](const Sequence* s) { return s->constraint && !s->is_mask_filled; };
  if (std::none_of(sequences.begin(), sequences.end(), is_job)) return;
  if (!thread_.joinable()) {
    try {
      thread_ = std::thread([this] { run(); });
    } catch (const std::system_error&) {
      return;  // the machine has no thread for it
    }
  }
  std::copy_if(sequences.begin(), sequences.end(), std::back_inserter(jobs_), is_job);
  bool token = true;
  to_do_.try_send(token);
}

void MaskFiller::wait() {
  if (jobs_.empty()) return;
  done_.receive();
  jobs_.clear();
}

void MaskFiller::run() {
  while (to_do_.receive()) {
    try {
      for (Sequence* sequence : jobs_) fill_mask(*sequence, vocab_size_);
    } catch (const std::exception&) {
      // The engine's thread meets it again where it needs the mask, and reports it.
    }
    bool token = true;
    done_.try_send(token);
  }
}

}  // namespace kvasir::engine
