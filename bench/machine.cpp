#include "bench/machine.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <chrono>
#include <cstdio>
#include <fstream>

#include "base/check.h"
#include "bench/machine_int8.h"
#include "bench/machine_simd.h"

namespace kvasir::bench {
namespace {

using Clock = std::chrono::steady_clock;

std::string cpu_name() {
  std::ifstream info("/proc/cpuinfo");
  for (std::string line; std::getline(info, line);) {
    if (line.starts_with("model name")) return line.substr(line.find(':') + 2);
  }
  return "unknown CPU";
}

std::string commit() {
  std::string text;
  if (FILE* git = popen("git -C " KVASIR_SOURCE_DIR " describe --always --dirty 2>/dev/null", "r")) {
    std::array<char, 100> line{};
    if (std::fgets(line.data(), line.size(), git) != nullptr) text = line.data();
    pclose(git);
  }
  if (!text.empty() && text.back() == '\n') text.pop_back();
  return text.empty() ? "unknown" : text;
}

template <typename Run>
double seconds_of(const Run& run) {
  const Clock::time_point start = Clock::now();
  run();
  return std::chrono::duration<double>(Clock::now() - start).count();
}

// Of a loop that returns how many products it has added, on all threads.
template <typename Loop>
double gops_of(ThreadPool& pool, const Loop& loop, std::size_t num_iterations) {
  const int num_pieces = 64 * pool.num_threads();
  const double multiply_adds = loop(num_iterations) * num_pieces;
  const double seconds = seconds_of([&] {
    pool.parallel_for(num_pieces, 1, [&](int begin, int end, int) {
      for (int i = begin; i < end; ++i) loop(num_iterations);
    });
  });
  return 2 * multiply_adds / seconds / 1e9;
}

constexpr std::size_t kPieceFloats = std::size_t{1} << 18;
constexpr int kNumPieces = 512;

}  // namespace

std::string describe_machine(const ThreadPool& pool, const char* isa) {
  return fmt::format("{}, {} threads, {}, commit {}", cpu_name(), pool.num_threads(), isa, commit());
}

MachineLimits::MachineLimits(ThreadPool& pool) : pool_(pool), buffer_(kPieceFloats * kNumPieces, 1.0f) {
  sample();
}

void MachineLimits::sample() {
  const Int8Loop vector = int8_vector_loop(), tile = int8_tile_loop();
  fma_gflops_ = std::max(fma_gflops_, gops_of(pool_, multiply_add, 20000));
  if (vector.instruction != nullptr) {
    int8_gops_ = std::max(int8_gops_, gops_of(pool_, vector.multiply_add, 20000));
  }
  if (tile.instruction != nullptr) {
    int8_tile_gops_ = std::max(int8_tile_gops_, gops_of(pool_, tile.multiply_add, 4000));
  }
  const double read_seconds = seconds_of([&] {
    pool_.parallel_for(kNumPieces, 1, [&](int begin, int end, int) {
      for (int i = begin; i < end; ++i) {
        KVASIR_CHECK(read_all(buffer_.data() + kPieceFloats * i, kPieceFloats) > 0);
      }
    });
  });
  read_gbs_ = std::max(read_gbs_, static_cast<double>(buffer_.size() * sizeof(float)) / read_seconds / 1e9);
}

const char* MachineLimits::int8_instruction() const {
  const char* name = int8_vector_loop().instruction;
  return name == nullptr ? "none" : name;
}

std::string MachineLimits::describe() const {
  std::string text = fmt::format("limits: {:.0f} Gop/s of f32 multiply-adds, {:.0f} of int8 ({})",
                                 fma_gflops_, int8_gops_, int8_instruction());
  if (int8_tile_gops_ > 0) text += fmt::format(", {:.0f} of int8 in AMX tiles", int8_tile_gops_);
  return text + fmt::format(", {:.1f} GB/s of reads", read_gbs_);
}

Times summarize(std::vector<double> seconds) {
  KVASIR_CHECK(!seconds.empty());
  std::sort(seconds.begin(), seconds.end());
  return {seconds.front(), seconds[seconds.size() / 2]};
}

}  // namespace kvasir::bench
