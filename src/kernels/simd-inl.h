// What the files in Highway share. Each includes it after <hwy/highway.h>, once per instruction set.

// clang-format off
#if defined(KVASIR_KERNELS_SIMD_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef KVASIR_KERNELS_SIMD_INL_H_
#undef KVASIR_KERNELS_SIMD_INL_H_
#else
#define KVASIR_KERNELS_SIMD_INL_H_
#endif
// clang-format on

#include <hwy/highway.h>

#include "kernels/exp_constants.h"

// Whether we have a table for the instruction set that is being compiled.
#undef KVASIR_HAS_TABLE
#if HWY_TARGET == HWY_AVX2 || HWY_TARGET == HWY_AVX3 || HWY_ARCH_ARM_A64
#define KVASIR_HAS_TABLE 1
#else
#define KVASIR_HAS_TABLE 0
#endif

#if KVASIR_HAS_TABLE

HWY_BEFORE_NAMESPACE();
namespace kvasir::kernels::HWY_NAMESPACE {
namespace {

namespace hn = hwy::HWY_NAMESPACE;

constexpr std::size_t kLanes = 16;
using Tag = hn::CappedTag<float, kLanes>;
using Vector = hn::Vec<Tag>;
using Quad = hn::FixedTag<float, 4>;
constexpr Tag kTag;
constexpr std::size_t kWidth = HWY_TARGET == HWY_AVX3 ? 16
                               : HWY_TARGET == HWY_AVX2
                                   ? 8
                                   : 4;  // floats in a register; the 16 lanes take 16 / kWidth of them

// Stored elements, and how they are loaded as floats.
struct F32 {
  using Element = float;
  template <class D>
  static HWY_INLINE hn::Vec<D> load(D d, const float* from) {
    return hn::LoadU(d, from);
  }
};
struct F16 {
  using Element = hwy::float16_t;
  template <class D>
  static HWY_INLINE hn::Vec<D> load(D d, const hwy::float16_t* from) {
    return hn::PromoteTo(d, hn::LoadU(hn::Rebind<hwy::float16_t, D>(), from));
  }
};
struct I8 {
  using Element = std::int8_t;
  template <class D>
  static HWY_INLINE hn::Vec<D> load(D d, const std::int8_t* from) {
    const hn::RebindToSigned<D> wide;
    return hn::ConvertTo(d, hn::PromoteTo(wide, hn::LoadU(hn::Rebind<std::int8_t, D>(), from)));
  }
};
struct Bf16 {
  using Element = std::uint16_t;
  template <class D>
  static HWY_INLINE hn::Vec<D> load(D d, const std::uint16_t* from) {
    const hn::RebindToUnsigned<D> bits;
    const auto half = hn::LoadU(hn::Rebind<std::uint16_t, D>(), from);
    return hn::BitCast(d, hn::ShiftLeft<16>(hn::PromoteTo(bits, half)));
  }
};

// The four sums i, i + 4, i + 8, i + 12 of 16 lanes: the first two levels of the tree.
HWY_INLINE hn::Vec<Quad> sum_to_four(const float* lanes) {
  const Quad d;
  return hn::Add(hn::Add(hn::LoadU(d, lanes), hn::LoadU(d, lanes + 8)),
                 hn::Add(hn::LoadU(d, lanes + 4), hn::LoadU(d, lanes + 12)));
}

HWY_INLINE float sum_lanes(const float* lanes) {
  HWY_ALIGN float four[4];
  hn::Store(sum_to_four(lanes), Quad(), four);
  return (four[0] + four[2]) + (four[1] + four[3]);
}

template <class D, class V = hn::Vec<D>>
HWY_INLINE V exponential(D d, V x) {
  const hn::RebindToUnsigned<D> bits;
  const auto underflows = hn::Lt(x, hn::Set(d, kExpMin));
  const auto overflows = hn::Gt(x, hn::Set(d, kExpMax));
  const V t = hn::MulAdd(x, hn::Set(d, kLog2E), hn::Set(d, kExpRound));
  const V n = hn::Sub(t, hn::Set(d, kExpRound));
  const V r = hn::MulAdd(n, hn::Set(d, -kLn2Low), hn::MulAdd(n, hn::Set(d, -kLn2High), x));
  V p = hn::Set(d, kExpPolynomial[0]);
  for (std::size_t i = 1; i < sizeof(kExpPolynomial) / sizeof(float); ++i) {
    p = hn::MulAdd(p, r, hn::Set(d, kExpPolynomial[i]));
  }
  const auto power = hn::ShiftLeft<23>(hn::Add(hn::BitCast(bits, t), hn::Set(bits, 127u)));
  const V within = hn::IfThenZeroElse(underflows, hn::Mul(p, hn::BitCast(d, power)));
  return hn::IfThenElse(overflows, hn::Set(d, __builtin_inff()), within);
}

template <class D, class V = hn::Vec<D>>
HWY_INLINE V tanh_of(D d, V x) {
  const V one = hn::Set(d, 1.0f);
  return hn::Sub(one, hn::Div(hn::Set(d, 2.0f), hn::Add(exponential(d, hn::Add(x, x)), one)));
}

}  // namespace
}  // namespace kvasir::kernels::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#endif  // KVASIR_HAS_TABLE
#endif  // the include guard
