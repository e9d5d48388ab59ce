#pragma once

// Loops over elements, in pieces for the threads of a pool.

#include <algorithm>
#include <cstddef>

#include "base/thread_pool.h"

namespace kvasir::backend {

// Calls task(begin, end) over [0, count), which may be more than an int holds.
template <typename Task>
void for_pieces(ThreadPool& pool, std::size_t count, const Task& task) {
  constexpr std::size_t kPieceElements = 4096;
  const std::size_t num_pieces = (count + kPieceElements - 1) / kPieceElements;
  pool.parallel_for(static_cast<int>(num_pieces), 1, [&](int begin, int end, int) {
    task(begin * kPieceElements, std::min(count, end * kPieceElements));
  });
}

}  // namespace kvasir::backend
