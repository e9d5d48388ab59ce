#pragma once

// What the x86 instruction sets share: 8 floats in a register, rounding of activations, and tiles for
// instructions that multiply 4 unsigned by 4 signed bytes and add the products to an int32 (vpdpbusd).

#include <immintrin.h>

#include "kernels/quant_gemm-inl.h"
#include "kernels/quant_pack-inl.h"
#include "kernels/quant_scalar.h"

namespace kvasir::kernels {
namespace {

// Registers of 8 columns.
struct Floats8 {
  using Float = __m256;
  using Int = __m256i;
  static constexpr std::size_t kLanes = 8;

  static Float load(const float* from) { return _mm256_loadu_ps(from); }
  static void store(Float value, float* to) { _mm256_storeu_ps(to, value); }
  static Float set1(float value) { return _mm256_set1_ps(value); }
  static Float mul(Float a, Float b) { return _mm256_mul_ps(a, b); }
  static Float fma(Float a, Float b, Float c) { return _mm256_fmadd_ps(a, b, c); }
  static Float to_float(Int value) { return _mm256_cvtepi32_ps(value); }
  static Float load_scales(const std::byte* from) {
    return _mm256_cvtph_ps(_mm_loadu_si128(reinterpret_cast<const __m128i*>(from)));
  }
};

// The groups of one row that are whole, 32 values in four registers; the reference does the last one.
inline void quantize_rows(const QuantizeRowsArgs& args) {
  const std::size_t groups = num_groups(args.k), whole_groups = args.k / kGroupSize;
  const __m256i magnitude_bits = _mm256_set1_epi32(0x7FFFFFFF);
  const int offset = weight_offset(args.w_type);
  for (std::size_t row = 0; row < args.m; ++row) {
    const float* x = args.x + row * args.x_stride;
    std::byte* out = args.out + row * quantized_row_bytes(args.k);
    auto* scales = reinterpret_cast<float*>(out + groups * kGroupSize);
    auto* corrections = reinterpret_cast<std::int32_t*>(scales + groups);
    for (std::size_t g = 0; g < whole_groups; ++g, x += kGroupSize) {
      __m256 value[4];
      // As integers, magnitudes have the order of the floats, with infinity and NaN at the top.
      __m256i largest = _mm256_setzero_si256();
      for (int i = 0; i < 4; ++i) {
        value[i] = _mm256_loadu_ps(x + 8 * i);
        largest = _mm256_max_epi32(largest, _mm256_and_si256(_mm256_castps_si256(value[i]), magnitude_bits));
      }
      __m128i top = _mm_max_epi32(_mm256_castsi256_si128(largest), _mm256_extracti128_si256(largest, 1));
      top = _mm_max_epi32(top, _mm_shuffle_epi32(top, 0x4E));
      top = _mm_max_epi32(top, _mm_shuffle_epi32(top, 0xB1));
      const float maximum = _mm_cvtss_f32(_mm_castsi128_ps(top));
      if (!(maximum >= kSmallestGroupMaximum && maximum < __builtin_inff())) {
        quantize_row(args.x + row * args.x_stride, args.k, g, g + 1, args.w_type, out);
        continue;
      }
      const __m256 inverse = _mm256_set1_ps(127.0f / maximum);
      __m256i q[4];
      __m256i sum = _mm256_setzero_si256();
      for (int i = 0; i < 4; ++i) {
        q[i] = _mm256_cvtps_epi32(_mm256_mul_ps(value[i], inverse));
        sum = _mm256_add_epi32(sum, q[i]);
      }
      // Packing works within the halves of a register: dwords come out as 0 2 4 6 1 3 5 7.
      const __m256i bytes =
          _mm256_packs_epi16(_mm256_packs_epi32(q[0], q[1]), _mm256_packs_epi32(q[2], q[3]));
      _mm256_store_si256(reinterpret_cast<__m256i*>(out + g * kGroupSize),
                         _mm256_permutevar8x32_epi32(bytes, _mm256_setr_epi32(0, 4, 1, 5, 2, 6, 3, 7)));
      __m128i half = _mm_add_epi32(_mm256_castsi256_si128(sum), _mm256_extracti128_si256(sum, 1));
      half = _mm_add_epi32(half, _mm_shuffle_epi32(half, 0x4E));
      half = _mm_add_epi32(half, _mm_shuffle_epi32(half, 0xB1));
      scales[g] = maximum / 127.0f;
      corrections[g] = -offset * _mm_cvtsi128_si32(half);
    }
    quantize_row(args.x + row * args.x_stride, args.k, whole_groups, groups, args.w_type, out);
  }
}

// Weights as they lie in their panels, for an Isa with bytes(from), mask_low(bytes), high_halves(bytes) and
// dot4(sum, unsigned weights, signed x).
template <class Isa, QuantType kType, std::size_t kVectors>
struct PanelWeights {
  using Int = typename Isa::Int;

  explicit PanelWeights(const Block& block)
      : quants(block.panel + block.first_group * group_bytes(kType)),
        scale(block.panel + block.scales_offset + block.first_group * kGroupScaleBytes),
        panel_stride(block.panel_stride),
        ahead(block.ahead),
        num_panels(block.num_panels) {}

  // Where register v of a line or of a group's scales begins.
  std::size_t vector_offset(std::size_t v, std::size_t column_bytes) const {
    const std::size_t column = v * Isa::kLanes;
    return column / kPanelColumns * panel_stride + column % kPanelColumns * column_bytes;
  }

  template <std::size_t kRows>
  void accumulate(std::size_t g, const std::byte* x, std::size_t x_stride, const std::int32_t* corrections,
                  Int (&dot)[kRows][kVectors]) const {
#pragma GCC unroll 16
    for (std::size_t i = 0; i < kRows; ++i) {
      const Int correction = Isa::set1(corrections[i * (x_stride / sizeof(std::int32_t))]);
#pragma GCC unroll 16
      for (std::size_t v = 0; v < kVectors; ++v) dot[i][v] = correction;
    }
    constexpr std::size_t kLines = group_bytes(kType) / kLineBytes;
    const std::byte* group = quants + g * group_bytes(kType);
#pragma GCC unroll 16
    for (std::size_t line = 0; line < kLines; ++line) {
      typename Isa::Int w[kVectors];
#pragma GCC unroll 16
      for (std::size_t v = 0; v < kVectors; ++v)
        w[v] = Isa::bytes(group + line * kLineBytes + vector_offset(v, 4));
      if constexpr (kType == QuantType::kQ8_0) {
        add_quad<kRows>(w, x + line * 4, x_stride, dot);
      } else {
        typename Isa::Int half[kVectors];
#pragma GCC unroll 16
        for (std::size_t v = 0; v < kVectors; ++v) half[v] = Isa::low_halves(w[v]);
        add_quad<kRows>(half, x + line * 4, x_stride, dot);
#pragma GCC unroll 16
        for (std::size_t v = 0; v < kVectors; ++v) half[v] = Isa::high_halves(w[v]);
        add_quad<kRows>(half, x + (line + kLines) * 4, x_stride, dot);
      }
    }
  }

  template <std::size_t kRows>
  static void add_quad(const Int (&w)[kVectors], const std::byte* x, std::size_t x_stride,
                       Int (&dot)[kRows][kVectors]) {
#pragma GCC unroll 16
    for (std::size_t i = 0; i < kRows; ++i) {
      const Int x_i = Isa::set1(load_quad(x + i * x_stride));
#pragma GCC unroll 16
      for (std::size_t v = 0; v < kVectors; ++v) dot[i][v] = Isa::dot4(dot[i][v], w[v], x_i);
    }
  }

  typename Isa::Float scales(std::size_t g, std::size_t v) const {
    return Isa::load_scales(scale + g * kGroupScaleBytes + vector_offset(v, 2));
  }

  void prefetch(std::size_t g) const {
    for (std::size_t p = 0; p < num_panels; ++p) {
      prefetch_lines(quants + ahead + p * panel_stride + g * group_bytes(kType), group_bytes(kType));
      prefetch_scales(scale + p * panel_stride, g);
    }
  }

  const std::byte* quants;
  const std::byte* scale;
  std::size_t panel_stride, ahead, num_panels;
};

}  // namespace
}  // namespace kvasir::kernels
