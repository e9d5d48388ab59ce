#pragma once

// What tests of the kernels share.

#include <bit>
#include <cmath>
#include <cstdint>
#include <cstring>
#include <limits>
#include <memory>
#include <random>
#include <vector>

namespace kvasir::kernels {

inline constexpr float kInfinity = std::numeric_limits<float>::infinity();

class Random {
 public:
  explicit Random(unsigned seed) : engine_(seed) {}
  int below(int limit) { return static_cast<int>(engine_() % static_cast<unsigned>(limit)); }
  // Of either sign, over many orders of magnitude; now and then zero or denormal.
  float wide() {
    if (below(50) == 0) return 0.0f;
    if (below(50) == 0) return std::bit_cast<float>(static_cast<std::uint32_t>(below(1 << 23)));
    return near() * std::exp2(static_cast<float>(below(20) - 10));
  }
  // In [-1, 1).
  float near() { return static_cast<float>(engine_()) / 2147483648.0f - 1.0f; }

 private:
  std::mt19937 engine_;
};

inline float* aligned(std::vector<float>& memory) {
  void* begin = memory.data();
  std::size_t bytes = memory.size() * sizeof(float);
  return static_cast<float*>(std::align(64, sizeof(float), begin, bytes));
}

inline bool same_bits(const std::vector<float>& a, const std::vector<float>& b) {
  return a.size() == b.size() && std::memcmp(a.data(), b.data(), a.size() * sizeof(float)) == 0;
}

}  // namespace kvasir::kernels
