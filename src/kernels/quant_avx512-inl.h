#pragma once

// Registers of 16 columns, a panel each, and vpdpbusd on them.

#include "kernels/quant_x86-inl.h"

namespace kvasir::kernels {
namespace {

struct Avx512Vnni {
  using Float = __m512;
  using Int = __m512i;
  using Bytes = __m512i;
  static constexpr std::size_t kLanes = 16;
  static constexpr std::size_t kTileRows = 6;
  static constexpr std::size_t kStripPanels = 2;

  static Float load(const float* from) { return _mm512_loadu_ps(from); }
  static void store(Float value, float* to) { _mm512_storeu_ps(to, value); }
  static Float set1(float value) { return _mm512_set1_ps(value); }
  static Float mul(Float a, Float b) { return _mm512_mul_ps(a, b); }
  static Float fma(Float a, Float b, Float c) { return _mm512_fmadd_ps(a, b, c); }
  static Float to_float(Int value) { return _mm512_cvtepi32_ps(value); }
  static Float load_f16(const std::byte* from) {
    return _mm512_cvtph_ps(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(from)));
  }
  static Float load_u8(const std::byte* from) {
    return to_float(_mm512_cvtepu8_epi32(_mm_loadu_si128(reinterpret_cast<const __m128i*>(from))));
  }
  static Float load_i8(const std::byte* from) {
    return to_float(_mm512_cvtepi8_epi32(_mm_loadu_si128(reinterpret_cast<const __m128i*>(from))));
  }

  static Int set1(std::int32_t value) { return _mm512_set1_epi32(value); }
  static Bytes bytes(const std::byte* from) { return _mm512_loadu_si512(from); }
  static Bytes low_halves(Bytes b) { return _mm512_and_si512(b, _mm512_set1_epi8(15)); }
  static Bytes high_halves(Bytes b) { return low_halves(_mm512_srli_epi16(b, 4)); }
  static Bytes shifted_bits(Bytes b, int left, char mask) {
    const Bytes shifted = left < 0 ? _mm512_srli_epi16(b, -left) : _mm512_slli_epi16(b, left);
    return _mm512_and_si512(shifted, _mm512_set1_epi8(mask));
  }
  static Int dot4(Int sum, Int w, Int x) { return _mm512_dpbusd_epi32(sum, w, x); }

  template <QuantType kType>
  static void block(const Block& block) {
    if (block.num_panels == 2) {
      add_tiles<Avx512Vnni, kTileRows, 2>(block, PanelWeights<Avx512Vnni, kType, 2>(block), block.sums);
    } else {
      add_tiles<Avx512Vnni, kTileRows, 1>(block, PanelWeights<Avx512Vnni, kType, 1>(block), block.sums);
    }
  }
};

}  // namespace
}  // namespace kvasir::kernels
