// Products with quantised weights on NEON with dot products: sdot takes four signed bytes of a column, and
// the four of x from any lane of a register that holds sixteen.

#include "kernels/quant_tables.h"

#if defined(__ARM_FEATURE_DOTPROD)

#include <arm_neon.h>

#include "kernels/quant_gemm-inl.h"
#include "kernels/quant_pack-inl.h"
#include "kernels/quant_scalar.h"

namespace kvasir::kernels {
namespace {

struct NeonDot {
  using Float = float32x4_t;
  using Int = int32x4_t;
  using Bytes = uint8x16_t;
  static constexpr std::size_t kLanes = 4;
  static constexpr std::size_t kTileRows = 4;
  static constexpr std::size_t kStripPanels = 1;

  static Float load(const float* from) { return vld1q_f32(from); }
  static void store(Float value, float* to) { vst1q_f32(to, value); }
  static Float set1(float value) { return vdupq_n_f32(value); }
  static Float mul(Float a, Float b) { return vmulq_f32(a, b); }
  static Float fma(Float a, Float b, Float c) { return vfmaq_f32(c, a, b); }
  static Float to_float(Int value) { return vcvtq_f32_s32(value); }

  static Float load_f16(const std::byte* from) {
    return vcvt_f32_f16(vreinterpret_f16_u16(vld1_u16(reinterpret_cast<const std::uint16_t*>(from))));
  }
  static Float load_u8(const std::byte* from) {
    return vcvtq_f32_u32(vmovl_u16(vget_low_u16(vmovl_u8(vcreate_u8(load_four(from))))));
  }
  static Float load_i8(const std::byte* from) {
    return vcvtq_f32_s32(vmovl_s16(vget_low_s16(vmovl_s8(vcreate_s8(load_four(from))))));
  }
  static std::uint32_t load_four(const std::byte* from) {
    std::uint32_t four;
    std::memcpy(&four, from, sizeof four);
    return four;
  }

  static Bytes bytes(const std::byte* from) { return vld1q_u8(reinterpret_cast<const std::uint8_t*>(from)); }
  static Bytes low_halves(Bytes b) { return vandq_u8(b, vdupq_n_u8(15)); }
  static Bytes high_halves(Bytes b) { return vshrq_n_u8(b, 4); }
  static Bytes shifted_bits(Bytes b, int left, std::uint8_t mask) {
    return vandq_u8(vshlq_u8(b, vdupq_n_s8(static_cast<std::int8_t>(left))), vdupq_n_u8(mask));
  }

  template <QuantType kType>
  static void block(const Block& block);
};

// Weights of 8 and of 6 bits become signed and need no correction; those of q4_0 keep their offset.
template <QuantType kType>
inline int8x16_t load_weights(const std::byte* group, std::size_t quad) {
  const uint8x16_t w = unpack_quad<NeonDot, kType>(group, quad);
  constexpr bool kIsSigned = kType == QuantType::kQ8_0 || kType == QuantType::kQ6_K;
  return vreinterpretq_s8_u8(kIsSigned ? vsubq_u8(w, vdupq_n_u8(weight_offset(kType))) : w);
}

template <QuantType kWeights>
struct NeonWeights {
  static constexpr QuantType kType = kWeights;
  static constexpr std::size_t kVectors = kPanelColumns / NeonDot::kLanes;
  static constexpr std::size_t kLines = quads_per_scale(kType) / 4;  // registers of x

  explicit NeonWeights(const Block& block)
      : quants(block.quants<kType>()), scale(block.scales<kType>()), ahead(block.ahead) {}

  template <std::size_t kRows>
  void accumulate(std::size_t g, std::size_t n, const std::byte* x, std::size_t x_stride,
                  const std::byte* corrections, int32x4_t (&dot)[kRows][kVectors]) const {
    const std::size_t first_quad = n * quads_per_scale(kType);
    int8x16_t x_quads[kRows][kLines];
#pragma GCC unroll 16
    for (std::size_t i = 0; i < kRows; ++i) {
#pragma GCC unroll 16
      for (std::size_t l = 0; l < kLines; ++l) {
        const std::byte* from = x + i * x_stride + (first_quad + l * 4) * 4;
        x_quads[i][l] = vld1q_s8(reinterpret_cast<const std::int8_t*>(from));
      }
      const std::int32_t correction =
          kType == QuantType::kQ4_0 ? load_correction<kType>(corrections + i * x_stride) : 0;
#pragma GCC unroll 16
      for (std::size_t v = 0; v < kVectors; ++v) dot[i][v] = vdupq_n_s32(correction);
    }
    const std::byte* group = quants + g * group_bytes(kType);
    add_quads<0>(group, first_quad, x_quads, dot);
    add_quads<1>(group, first_quad, x_quads, dot);
    add_quads<2>(group, first_quad, x_quads, dot);
    add_quads<3>(group, first_quad, x_quads, dot);
  }

  // Quads that are lane kLane of a register of x.
  template <int kLane, std::size_t kRows>
  static void add_quads(const std::byte* group, std::size_t first_quad,
                        const int8x16_t (&x_quads)[kRows][kLines], int32x4_t (&dot)[kRows][kVectors]) {
#pragma GCC unroll 16
    for (std::size_t v = 0; v < kVectors; ++v) {
#pragma GCC unroll 16
      for (std::size_t l = 0; l < kLines; ++l) {
        const int8x16_t w = load_weights<kType>(group + v * 16, first_quad + l * 4 + kLane);
#pragma GCC unroll 16
        for (std::size_t i = 0; i < kRows; ++i)
          dot[i][v] = vdotq_laneq_s32(dot[i][v], w, x_quads[i][l], kLane);
      }
    }
  }

  float32x4_t scales(std::size_t g, std::size_t n, std::size_t v) const {
    return load_scales<NeonDot, kType>(scale, g, n, v * NeonDot::kLanes);
  }
  float32x4_t minimums(std::size_t g, std::size_t v) const {
    return load_minimums<NeonDot, kType>(scale, g, v * NeonDot::kLanes);
  }
  void prefetch(std::size_t g) const {
    prefetch_lines(quants + ahead + g * group_bytes(kType), group_bytes(kType));
    prefetch_scales<kType>(scale, g);
  }

  const std::byte* quants;
  const std::byte* scale;
  std::size_t ahead;
};

template <QuantType kType>
void NeonDot::block(const Block& block) {
  add_tiles<NeonDot, kTileRows, NeonWeights<kType>::kVectors>(block, NeonWeights<kType>(block), block.sums);
}

// The groups of a row that are whole; the reference does the last one.
void quantize_rows(const QuantizeRowsArgs& args) {
  const std::size_t groups = num_groups(args.k), whole_groups = args.k / kGroupSize;
  const std::size_t correction_bytes = scales_per_group(args.w_type) * sizeof(std::int32_t);
  for (std::size_t row = 0; row < args.m; ++row) {
    const float* x = args.x + row * args.x_stride;
    std::byte* out = args.out + row * quantized_row_bytes(args.w_type, args.k);
    auto* values = reinterpret_cast<std::int8_t*>(out);
    auto* scales = reinterpret_cast<float*>(out + groups * kGroupSize);
    auto* corrections = reinterpret_cast<std::byte*>(scales + groups);
    for (std::size_t g = 0; g < whole_groups; ++g, x += kGroupSize) {
      // As integers, magnitudes have the order of the floats, with infinity and NaN at the top.
      uint32x4_t largest = vdupq_n_u32(0);
      for (std::size_t i = 0; i < kGroupSize; i += 4) {
        largest = vmaxq_u32(largest, vreinterpretq_u32_f32(vabsq_f32(vld1q_f32(x + i))));
      }
      const std::uint32_t top = vmaxvq_u32(largest);
      float maximum;
      std::memcpy(&maximum, &top, sizeof maximum);
      if (!(maximum >= kSmallestGroupMaximum && maximum < __builtin_inff())) {
        quantize_row(args.x + row * args.x_stride, args.k, g, g + 1, args.w_type, out);
        continue;
      }
      const float32x4_t inverse = vdupq_n_f32(127.0f / maximum);
      std::int32_t halves[2][2];
      for (std::size_t half = 0; half < 2; ++half) {
        int32x4_t sum = vdupq_n_s32(0);
        for (std::size_t i = half * 16; i < half * 16 + 16; i += 8) {
          const int32x4_t low = vcvtnq_s32_f32(vmulq_f32(vld1q_f32(x + i), inverse));
          const int32x4_t high = vcvtnq_s32_f32(vmulq_f32(vld1q_f32(x + i + 4), inverse));
          sum = vaddq_s32(sum, vaddq_s32(low, high));
          vst1_s8(values + g * kGroupSize + i, vmovn_s16(vcombine_s16(vmovn_s32(low), vmovn_s32(high))));
        }
        vst1_s32(halves[half], vpadd_s32(vget_low_s32(sum), vget_high_s32(sum)));
      }
      scales[g] = maximum / 127.0f;
      store_corrections(args.w_type, scales[g], halves, corrections + g * correction_bytes);
    }
    quantize_row(args.x + row * args.x_stride, args.k, whole_groups, groups, args.w_type, out);
  }
}

constexpr QuantKernels kKernels = {quantize_rows, gemm<NeonDot>, pack_panel};

}  // namespace

const QuantKernels* neondot_quant_kernels() {
  return &kKernels;
}

}  // namespace kvasir::kernels

#else

namespace kvasir::kernels {
const QuantKernels* neondot_quant_kernels() {
  return nullptr;
}
}  // namespace kvasir::kernels

#endif
