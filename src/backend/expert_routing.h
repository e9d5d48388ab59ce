#pragma once

// Which experts a step's rows go to, in a layer with a mixture of experts. Each row has one copy for each of
// its experts, and the copies of one expert lie side by side, so that it multiplies them in one go:
//
//   rows     a b c, experts by rank:  a: 2 0   b: 2 1   c: 0 2
//   copies   | expert 0: a c | expert 1: b | expert 2: a b c |
//
// What a row becomes does not depend on the others: its copies are added by rank. Plain data of one step,
// written by CpuBackend::route(); allocates nothing once a step of its size has been seen.

#include <vector>

namespace kvasir::backend {

struct ExpertRouting {
  int num_rows = 0;
  int num_chosen = 0;          // experts of a row
  std::vector<int> experts;    // (num_rows, num_chosen), by rank
  std::vector<float> weights;  // (num_rows, num_chosen)
  std::vector<int> copies;     // (num_rows, num_chosen): where the row's copy for that expert lies
  std::vector<int>
      first_copy;  // (num_experts + 1): an expert's copies are [first_copy[e], first_copy[e + 1])

  int num_copies() const { return num_rows * num_chosen; }
};

}  // namespace kvasir::backend
