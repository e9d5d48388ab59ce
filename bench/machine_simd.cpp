#include "bench/machine_simd.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "bench/machine_simd.cpp"
#include <hwy/foreach_target.h>
// foreach_target must come first.
#include <hwy/highway.h>

HWY_BEFORE_NAMESPACE();
namespace kvasir::bench::HWY_NAMESPACE {
namespace {

namespace hn = hwy::HWY_NAMESPACE;
constexpr hn::CappedTag<float, 16> kTag;

}  // namespace

double multiply_add(std::size_t num_iterations) {
  // 12 chains: more than latency times throughput asks for, and they fit AVX2's 16 registers.
  const auto a = hn::Set(kTag, 0.999f);
  const auto b = hn::Set(kTag, 0.001f);
  auto s0 = hn::Set(kTag, 0.0f), s1 = hn::Set(kTag, 0.1f), s2 = hn::Set(kTag, 0.2f), s3 = hn::Set(kTag, 0.3f);
  auto s4 = hn::Set(kTag, 0.4f), s5 = hn::Set(kTag, 0.5f), s6 = hn::Set(kTag, 0.6f), s7 = hn::Set(kTag, 0.7f);
  auto s8 = hn::Set(kTag, 0.8f), s9 = hn::Set(kTag, 0.9f), s10 = hn::Set(kTag, 1.1f),
       s11 = hn::Set(kTag, 1.2f);
  for (std::size_t i = 0; i < num_iterations; ++i) {
    s0 = hn::MulAdd(s0, a, b);
    s1 = hn::MulAdd(s1, a, b);
    s2 = hn::MulAdd(s2, a, b);
    s3 = hn::MulAdd(s3, a, b);
    s4 = hn::MulAdd(s4, a, b);
    s5 = hn::MulAdd(s5, a, b);
    s6 = hn::MulAdd(s6, a, b);
    s7 = hn::MulAdd(s7, a, b);
    s8 = hn::MulAdd(s8, a, b);
    s9 = hn::MulAdd(s9, a, b);
    s10 = hn::MulAdd(s10, a, b);
    s11 = hn::MulAdd(s11, a, b);
  }
  const auto sum =
      hn::Add(hn::Add(hn::Add(hn::Add(s0, s1), hn::Add(s2, s3)), hn::Add(hn::Add(s4, s5), hn::Add(s6, s7))),
              hn::Add(hn::Add(s8, s9), hn::Add(s10, s11)));
  volatile float needed = hn::GetLane(sum);
  (void)needed;
  return 12.0 * static_cast<double>(hn::Lanes(kTag)) * static_cast<double>(num_iterations);
}

float read_all(const float* data, std::size_t count) {
  const std::size_t lanes = hn::Lanes(kTag);
  auto s0 = hn::Zero(kTag), s1 = s0, s2 = s0, s3 = s0;
  for (std::size_t i = 0; i < count; i += 4 * lanes) {
    s0 = hn::Add(s0, hn::LoadU(kTag, data + i));
    s1 = hn::Add(s1, hn::LoadU(kTag, data + i + lanes));
    s2 = hn::Add(s2, hn::LoadU(kTag, data + i + 2 * lanes));
    s3 = hn::Add(s3, hn::LoadU(kTag, data + i + 3 * lanes));
  }
  return hn::GetLane(hn::SumOfLanes(kTag, hn::Add(hn::Add(s0, s1), hn::Add(s2, s3))));
}

}  // namespace kvasir::bench::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace kvasir::bench {

HWY_EXPORT(multiply_add);
HWY_EXPORT(read_all);

double multiply_add(std::size_t num_iterations) {
  return HWY_DYNAMIC_DISPATCH(multiply_add)(num_iterations);
}

float read_all(const float* data, std::size_t count) {
  return HWY_DYNAMIC_DISPATCH(read_all)(data, count);
}

}  // namespace kvasir::bench
#endif  // HWY_ONCE
