#include "bench/machine.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <chrono>
#include <cstdio>
#include <fstream>

#include "base/check.h"
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
  constexpr std::size_t kIterations = 20000;
  const int num_pieces = 64 * pool_.num_threads();
  const double multiply_adds = multiply_add(kIterations) * num_pieces;
  const double fma_seconds = seconds_of([&] {
    pool_.parallel_for(num_pieces, 1, [](int begin, int end, int) {
      for (int i = begin; i < end; ++i) multiply_add(kIterations);
    });
  });
  const double read_seconds = seconds_of([&] {
    pool_.parallel_for(kNumPieces, 1, [&](int begin, int end, int) {
      for (int i = begin; i < end; ++i) {
        KVASIR_CHECK(read_all(buffer_.data() + kPieceFloats * i, kPieceFloats) > 0);
      }
    });
  });
  fma_gflops_ = std::max(fma_gflops_, 2 * multiply_adds / fma_seconds / 1e9);
  read_gbs_ = std::max(read_gbs_, static_cast<double>(buffer_.size() * sizeof(float)) / read_seconds / 1e9);
}

Times summarize(std::vector<double> seconds) {
  KVASIR_CHECK(!seconds.empty());
  std::sort(seconds.begin(), seconds.end());
  return {seconds.front(), seconds[seconds.size() / 2]};
}

}  // namespace kvasir::bench
