#pragma once

// What a benchmark says about the machine: its name, and the limits that results are held against.

#include <string>
#include <vector>

#include "base/thread_pool.h"

namespace kvasir::bench {

// One line: CPU, threads, instruction set of the kernels, commit of the source.
std::string describe_machine(const ThreadPool& pool, const char* isa);

// What the pool's threads can do at most. A virtual machine's speed changes from second to second: sample()
// is called beside every run, and the highest sample counts.
class MachineLimits {
 public:
  // `pool` must outlive it. Takes 512 MiB, to be beyond any cache.
  explicit MachineLimits(ThreadPool& pool);

  // Measures all limits once more, in some 60 ms.
  void sample();

  // f32 multiply-adds on registers, in 1e9 operations per second (a fused multiply-add is two).
  double fma_gflops() const { return fma_gflops_; }
  // 8-bit multiply-adds on registers (a product and its sum are two), with the CPU's fastest vector
  // instruction for it, and with AMX's tiles. 0 where there is none.
  double int8_gops() const { return int8_gops_; }
  double int8_tile_gops() const { return int8_tile_gops_; }
  // That instruction's name; "none".
  const char* int8_instruction() const;
  // Reading memory, in 1e9 bytes per second.
  double read_gbs() const { return read_gbs_; }

  // One line with all of them.
  std::string describe() const;

 private:
  ThreadPool& pool_;
  std::vector<float> buffer_;
  double fma_gflops_ = 0;
  double int8_gops_ = 0, int8_tile_gops_ = 0;
  double read_gbs_ = 0;
};

// Of the seconds of several runs.
struct Times {
  double minimum = 0;
  double median = 0;
};

// Requires: at least one run.
Times summarize(std::vector<double> seconds);

}  // namespace kvasir::bench
