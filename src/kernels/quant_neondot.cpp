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
  static constexpr std::size_t kLanes = 4;
  static constexpr std::size_t kTileRows = 4;
  static constexpr std::size_t kStripPanels = 1;

  static Float load(const float* from) { return vld1q_f32(from); }
  static void store(Float value, float* to) { vst1q_f32(to, value); }
  static Float set1(float value) { return vdupq_n_f32(value); }
  static Float mul(Float a, Float b) { return vmulq_f32(a, b); }
  static Float fma(Float a, Float b, Float c) { return vfmaq_f32(c, a, b); }
  static Float to_float(Int value) { return vcvtq_f32_s32(value); }

  template <QuantType kType>
  static void block(const Block& block);
};

inline int8x16_t load_bytes(const std::byte* from) {
  return vld1q_s8(reinterpret_cast<const std::int8_t*>(from));
}

template <QuantType kType>
struct NeonWeights {
  static constexpr std::size_t kVectors = kPanelColumns / NeonDot::kLanes;

  explicit NeonWeights(const Block& block)
      : quants(block.panel + block.first_group * group_bytes(kType)),
        scale(block.panel + block.scales_offset + block.first_group * kGroupScaleBytes),
        ahead(block.ahead) {}

  template <std::size_t kRows>
  void accumulate(std::size_t g, const std::byte* x, std::size_t x_stride, const std::int32_t* corrections,
                  int32x4_t (&dot)[kRows][kVectors]) const {
    int8x16_t x_low[kRows], x_high[kRows];
#pragma GCC unroll 16
    for (std::size_t i = 0; i < kRows; ++i) {
      x_low[i] = load_bytes(x + i * x_stride);
      x_high[i] = load_bytes(x + i * x_stride + 16);
      // Weights of 8 bits become signed and need no correction; those of 4 keep their offset.
      const std::int32_t correction =
          kType == QuantType::kQ8_0 ? 0 : corrections[i * (x_stride / sizeof(std::int32_t))];
#pragma GCC unroll 16
      for (std::size_t v = 0; v < kVectors; ++v) dot[i][v] = vdupq_n_s32(correction);
    }
    const std::byte* group = quants + g * group_bytes(kType);
    add_line<0>(group, x_low, x_high, dot);
    add_line<1>(group, x_low, x_high, dot);
    add_line<2>(group, x_low, x_high, dot);
    add_line<3>(group, x_low, x_high, dot);
  }

  // Quads kLane and kLane + 4 of a group.
  template <int kLane, std::size_t kRows>
  static void add_line(const std::byte* group, const int8x16_t (&x_low)[kRows],
                       const int8x16_t (&x_high)[kRows], int32x4_t (&dot)[kRows][kVectors]) {
#pragma GCC unroll 16
    for (std::size_t v = 0; v < kVectors; ++v) {
      const std::byte* line = group + kLane * kLineBytes + v * 16;
      int8x16_t low, high;
      if constexpr (kType == QuantType::kQ8_0) {
        const int8x16_t offset = vdupq_n_s8(-128);
        low = veorq_s8(load_bytes(line), offset);
        high = veorq_s8(load_bytes(line + 4 * kLineBytes), offset);
      } else {
        const uint8x16_t both = vreinterpretq_u8_s8(load_bytes(line));
        low = vreinterpretq_s8_u8(vandq_u8(both, vdupq_n_u8(15)));
        high = vreinterpretq_s8_u8(vshrq_n_u8(both, 4));
      }
#pragma GCC unroll 16
      for (std::size_t i = 0; i < kRows; ++i) {
        dot[i][v] = vdotq_laneq_s32(dot[i][v], low, x_low[i], kLane);
        dot[i][v] = vdotq_laneq_s32(dot[i][v], high, x_high[i], kLane);
      }
    }
  }

  float32x4_t scales(std::size_t g, std::size_t v) const {
    const auto* from = reinterpret_cast<const std::uint16_t*>(scale + g * kGroupScaleBytes);
    return vcvt_f32_f16(vreinterpret_f16_u16(vld1_u16(from + v * NeonDot::kLanes)));
  }
  void prefetch(std::size_t g) const {
    prefetch_lines(quants + ahead + g * group_bytes(kType), group_bytes(kType));
    prefetch_scales(scale, g);
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
  const int offset = weight_offset(args.w_type);
  for (std::size_t row = 0; row < args.m; ++row) {
    const float* x = args.x + row * args.x_stride;
    std::byte* out = args.out + row * quantized_row_bytes(args.k);
    auto* values = reinterpret_cast<std::int8_t*>(out);
    auto* scales = reinterpret_cast<float*>(out + groups * kGroupSize);
    auto* corrections = reinterpret_cast<std::int32_t*>(scales + groups);
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
      int32x4_t sum = vdupq_n_s32(0);
      for (std::size_t i = 0; i < kGroupSize; i += 8) {
        const int32x4_t low = vcvtnq_s32_f32(vmulq_f32(vld1q_f32(x + i), inverse));
        const int32x4_t high = vcvtnq_s32_f32(vmulq_f32(vld1q_f32(x + i + 4), inverse));
        sum = vaddq_s32(sum, vaddq_s32(low, high));
        vst1_s8(values + g * kGroupSize + i, vmovn_s16(vcombine_s16(vmovn_s32(low), vmovn_s32(high))));
      }
      scales[g] = maximum / 127.0f;
      corrections[g] = -offset * vaddvq_s32(sum);
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
