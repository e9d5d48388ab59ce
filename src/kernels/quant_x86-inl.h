#pragma once

// What the x86 instruction sets share: registers of 8 columns, rounding of activations, and tiles for
// instructions that multiply 4 unsigned by 4 signed bytes and add the products to an int32 (vpdpbusd).

#include <immintrin.h>

#include "kernels/quant_gemm-inl.h"
#include "kernels/quant_pack-inl.h"
#include "kernels/quant_scalar.h"

namespace kvasir::kernels {
namespace {

// Registers of 8 columns.
struct Columns8 {
  using Float = __m256;
  using Int = __m256i;
  using Bytes = __m256i;
  static constexpr std::size_t kLanes = 8;

  static Float load(const float* from) { return _mm256_loadu_ps(from); }
  static void store(Float value, float* to) { _mm256_storeu_ps(to, value); }
  static Float set1(float value) { return _mm256_set1_ps(value); }
  static Float mul(Float a, Float b) { return _mm256_mul_ps(a, b); }
  static Float fma(Float a, Float b, Float c) { return _mm256_fmadd_ps(a, b, c); }
  static Float to_float(Int value) { return _mm256_cvtepi32_ps(value); }
  static Float load_f16(const std::byte* from) {
    return _mm256_cvtph_ps(_mm_loadu_si128(reinterpret_cast<const __m128i*>(from)));
  }
  static Float load_u8(const std::byte* from) { return to_float(_mm256_cvtepu8_epi32(_mm_loadu_si64(from))); }
  static Float load_i8(const std::byte* from) { return to_float(_mm256_cvtepi8_epi32(_mm_loadu_si64(from))); }

  static Int set1(std::int32_t value) { return _mm256_set1_epi32(value); }
  static Bytes bytes(const std::byte* from) {
    return _mm256_loadu_si256(reinterpret_cast<const __m256i*>(from));
  }
  static Bytes low_halves(Bytes b) { return _mm256_and_si256(b, _mm256_set1_epi8(15)); }
  static Bytes high_halves(Bytes b) { return low_halves(_mm256_srli_epi16(b, 4)); }
  static Bytes shifted_bits(Bytes b, int left, char mask) {
    const Bytes shifted = left < 0 ? _mm256_srli_epi16(b, -left) : _mm256_slli_epi16(b, left);
    return _mm256_and_si256(shifted, _mm256_set1_epi8(mask));
  }
};

// The groups of one row that are whole, 32 values in four registers; the reference does the last one.
inline void quantize_rows(const QuantizeRowsArgs& args) {
  const std::size_t groups = num_groups(args.k), whole_groups = args.k / kGroupSize;
  const __m256i magnitude_bits = _mm256_set1_epi32(0x7FFFFFFF);
  const std::size_t correction_bytes = scales_per_group(args.w_type) * sizeof(std::int32_t);
  for (std::size_t row = 0; row < args.m; ++row) {
    const float* x = args.x + row * args.x_stride;
    std::byte* out = args.out + row * quantized_row_bytes(args.w_type, args.k);
    auto* scales = reinterpret_cast<float*>(out + groups * kGroupSize);
    auto* corrections = reinterpret_cast<std::byte*>(scales + groups);
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
      for (int i = 0; i < 4; ++i) q[i] = _mm256_cvtps_epi32(_mm256_mul_ps(value[i], inverse));
      // Packing works within the halves of a register: dwords come out as 0 2 4 6 1 3 5 7.
      const __m256i bytes =
          _mm256_packs_epi16(_mm256_packs_epi32(q[0], q[1]), _mm256_packs_epi32(q[2], q[3]));
      _mm256_store_si256(reinterpret_cast<__m256i*>(out + g * kGroupSize),
                         _mm256_permutevar8x32_epi32(bytes, _mm256_setr_epi32(0, 4, 1, 5, 2, 6, 3, 7)));
      const __m256i sums = _mm256_hadd_epi32(_mm256_add_epi32(q[0], q[1]), _mm256_add_epi32(q[2], q[3]));
      std::int32_t halves[2][2];
      _mm_storeu_si128(reinterpret_cast<__m128i*>(halves),
                       _mm_add_epi32(_mm256_castsi256_si128(sums), _mm256_extracti128_si256(sums, 1)));
      scales[g] = maximum / 127.0f;
      store_corrections(args.w_type, scales[g], halves, corrections + g * correction_bytes);
    }
    quantize_row(args.x + row * args.x_stride, args.k, whole_groups, groups, args.w_type, out);
  }
}

// Weights as they lie in their panels, for an Isa with dot4(sum, unsigned weights, signed x).
template <class Isa, QuantType kWeights, std::size_t kVectors>
struct PanelWeights {
  using Int = typename Isa::Int;
  using Float = typename Isa::Float;
  static constexpr QuantType kType = kWeights;
  static constexpr std::size_t kScaleQuads = quads_per_scale(kType);

  explicit PanelWeights(const Block& block)
      : quants(block.quants<kType>()),
        scale(block.scales<kType>()),
        panel_stride(block.panel_stride),
        ahead(block.ahead),
        num_panels(block.num_panels) {}

  // Register v has columns of which panel, and from which of its columns on.
  std::size_t panel_offset(std::size_t v) const { return v * Isa::kLanes / kPanelColumns * panel_stride; }
  static constexpr std::size_t column(std::size_t v) { return v * Isa::kLanes % kPanelColumns; }

  template <std::size_t kRows>
  void accumulate(std::size_t g, std::size_t n, const std::byte* x, std::size_t x_stride,
                  const std::byte* corrections, Int (&dot)[kRows][kVectors]) const {
#pragma GCC unroll 16
    for (std::size_t i = 0; i < kRows; ++i) {
      const Int correction = Isa::set1(load_correction<kType>(corrections + i * x_stride));
#pragma GCC unroll 16
      for (std::size_t v = 0; v < kVectors; ++v) dot[i][v] = correction;
    }
    const std::byte* group = quants + g * group_bytes(kType);
#pragma GCC unroll 16
    for (std::size_t i = 0; i < kScaleQuads; ++i) {
      const std::size_t quad = n * kScaleQuads + i;
      Int w[kVectors];
#pragma GCC unroll 16
      for (std::size_t v = 0; v < kVectors; ++v) {
        w[v] = unpack_quad<Isa, kType>(group + panel_offset(v) + column(v) * 4, quad);
      }
      add_quad<kRows>(w, x + quad * 4, x_stride, dot);
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

  Float scales(std::size_t g, std::size_t n, std::size_t v) const {
    return load_scales<Isa, kType>(scale + panel_offset(v), g, n, column(v));
  }
  Float minimums(std::size_t g, std::size_t v) const {
    return load_minimums<Isa, kType>(scale + panel_offset(v), g, column(v));
  }

  void prefetch(std::size_t g) const {
    for (std::size_t p = 0; p < num_panels; ++p) {
      prefetch_lines(quants + ahead + p * panel_stride + g * group_bytes(kType), group_bytes(kType));
      prefetch_scales<kType>(scale + p * panel_stride, g);
    }
  }

  const std::byte* quants;
  const std::byte* scale;
  std::size_t panel_stride, ahead, num_panels;
};

}  // namespace
}  // namespace kvasir::kernels
