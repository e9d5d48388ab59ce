#include "bench/machine_int8.h"

// Each loop is compiled for its instruction set, by an attribute or (on ARM) with the file, so nothing here
// may come from a header that has code.
#include "kernels/cpu_features.h"

#if defined(__x86_64__)
#include <immintrin.h>
#elif defined(__aarch64__)
#include <arm_neon.h>
#endif

namespace kvasir::bench {
namespace {

// As many chains of dependent instructions as latency times throughput asks for, and as registers hold.

#if defined(__x86_64__)

__attribute__((target("avx512f,avx512vnni"))) double dpbusd_512(std::size_t num_iterations) {
  const __m512i a = _mm512_set1_epi8(1), b = _mm512_set1_epi8(2);
  __m512i s0 = _mm512_setzero_si512(), s1 = s0, s2 = s0, s3 = s0, s4 = s0, s5 = s0, s6 = s0, s7 = s0, s8 = s0,
          s9 = s0, s10 = s0, s11 = s0;
  asm volatile(""
               : "+v"(s0), "+v"(s1), "+v"(s2), "+v"(s3), "+v"(s4), "+v"(s5), "+v"(s6), "+v"(s7), "+v"(s8),
                 "+v"(s9), "+v"(s10), "+v"(s11));  // else they are one
  for (std::size_t i = 0; i < num_iterations; ++i) {
    s0 = _mm512_dpbusd_epi32(s0, a, b);
    s1 = _mm512_dpbusd_epi32(s1, a, b);
    s2 = _mm512_dpbusd_epi32(s2, a, b);
    s3 = _mm512_dpbusd_epi32(s3, a, b);
    s4 = _mm512_dpbusd_epi32(s4, a, b);
    s5 = _mm512_dpbusd_epi32(s5, a, b);
    s6 = _mm512_dpbusd_epi32(s6, a, b);
    s7 = _mm512_dpbusd_epi32(s7, a, b);
    s8 = _mm512_dpbusd_epi32(s8, a, b);
    s9 = _mm512_dpbusd_epi32(s9, a, b);
    s10 = _mm512_dpbusd_epi32(s10, a, b);
    s11 = _mm512_dpbusd_epi32(s11, a, b);
  }
  asm volatile("" ::"v"(s0), "v"(s1), "v"(s2), "v"(s3), "v"(s4), "v"(s5), "v"(s6), "v"(s7), "v"(s8), "v"(s9),
               "v"(s10), "v"(s11));  // they are needed
  return 64.0 * 12 * static_cast<double>(num_iterations);
}

__attribute__((target("avx2,avxvnni"))) double dpbusd_256(std::size_t num_iterations) {
  const __m256i a = _mm256_set1_epi8(1), b = _mm256_set1_epi8(2);
  __m256i s0 = _mm256_setzero_si256(), s1 = s0, s2 = s0, s3 = s0, s4 = s0, s5 = s0, s6 = s0, s7 = s0, s8 = s0,
          s9 = s0, s10 = s0, s11 = s0;
  asm volatile(""
               : "+x"(s0), "+x"(s1), "+x"(s2), "+x"(s3), "+x"(s4), "+x"(s5), "+x"(s6), "+x"(s7), "+x"(s8),
                 "+x"(s9), "+x"(s10), "+x"(s11));  // else they are one
  for (std::size_t i = 0; i < num_iterations; ++i) {
    s0 = _mm256_dpbusd_avx_epi32(s0, a, b);
    s1 = _mm256_dpbusd_avx_epi32(s1, a, b);
    s2 = _mm256_dpbusd_avx_epi32(s2, a, b);
    s3 = _mm256_dpbusd_avx_epi32(s3, a, b);
    s4 = _mm256_dpbusd_avx_epi32(s4, a, b);
    s5 = _mm256_dpbusd_avx_epi32(s5, a, b);
    s6 = _mm256_dpbusd_avx_epi32(s6, a, b);
    s7 = _mm256_dpbusd_avx_epi32(s7, a, b);
    s8 = _mm256_dpbusd_avx_epi32(s8, a, b);
    s9 = _mm256_dpbusd_avx_epi32(s9, a, b);
    s10 = _mm256_dpbusd_avx_epi32(s10, a, b);
    s11 = _mm256_dpbusd_avx_epi32(s11, a, b);
  }
  asm volatile("" ::"x"(s0), "x"(s1), "x"(s2), "x"(s3), "x"(s4), "x"(s5), "x"(s6), "x"(s7), "x"(s8), "x"(s9),
               "x"(s10), "x"(s11));  // they are needed
  return 32.0 * 12 * static_cast<double>(num_iterations);
}

// A product and its sum. `a` passes through an empty instruction, for a product that is always the same would
// be computed once.
__attribute__((target("avx2"))) inline __m256i add_maddubs(__m256i sum, __m256i a, __m256i b, __m256i ones) {
  asm volatile("" : "+x"(a));
  return _mm256_add_epi32(sum, _mm256_madd_epi16(_mm256_maddubs_epi16(a, b), ones));
}

__attribute__((target("avx2"))) double maddubs_256(std::size_t num_iterations) {
  const __m256i a = _mm256_set1_epi8(1), b = _mm256_set1_epi8(2), ones = _mm256_set1_epi16(1);
  __m256i s0 = _mm256_setzero_si256(), s1 = s0, s2 = s0, s3 = s0, s4 = s0, s5 = s0, s6 = s0, s7 = s0;
  asm volatile(""
               : "+x"(s0), "+x"(s1), "+x"(s2), "+x"(s3), "+x"(s4), "+x"(s5), "+x"(s6),
                 "+x"(s7));  // else they are one
  for (std::size_t i = 0; i < num_iterations; ++i) {
    s0 = add_maddubs(s0, a, b, ones);
    s1 = add_maddubs(s1, a, b, ones);
    s2 = add_maddubs(s2, a, b, ones);
    s3 = add_maddubs(s3, a, b, ones);
    s4 = add_maddubs(s4, a, b, ones);
    s5 = add_maddubs(s5, a, b, ones);
    s6 = add_maddubs(s6, a, b, ones);
    s7 = add_maddubs(s7, a, b, ones);
  }
  asm volatile("" ::"x"(s0), "x"(s1), "x"(s2), "x"(s3), "x"(s4), "x"(s5), "x"(s6),
               "x"(s7));  // they are needed
  return 32.0 * 8 * static_cast<double>(num_iterations);
}

// Four tiles of sums, of 16 x 16; operands of 16 x 64 bytes.
__attribute__((target("amx-tile,amx-int8"))) double tile_dpbusd(std::size_t num_iterations) {
  struct alignas(64) {
    unsigned char palette = 1, start_row = 0, reserved[14] = {};
    unsigned short row_bytes[16] = {64, 64, 64, 64, 64, 64};
    unsigned char rows[16] = {16, 16, 16, 16, 16, 16};
  } config;
  _tile_loadconfig(&config);
  _tile_zero(0);
  _tile_zero(1);
  _tile_zero(2);
  _tile_zero(3);
  _tile_zero(4);
  _tile_zero(5);
  for (std::size_t i = 0; i < num_iterations; ++i) {
    _tile_dpbusd(0, 4, 5);
    _tile_dpbusd(1, 4, 5);
    _tile_dpbusd(2, 4, 5);
    _tile_dpbusd(3, 4, 5);
  }
  _tile_release();
  return 4.0 * 16 * 16 * 64 * static_cast<double>(num_iterations);
}

#elif defined(__aarch64__)

double sdot(std::size_t num_iterations) {
  const int8x16_t a = vdupq_n_s8(1), b = vdupq_n_s8(2);
  int32x4_t s0 = vdupq_n_s32(0), s1 = s0, s2 = s0, s3 = s0, s4 = s0, s5 = s0, s6 = s0, s7 = s0, s8 = s0,
            s9 = s0, s10 = s0, s11 = s0;
  asm volatile(""
               : "+w"(s0), "+w"(s1), "+w"(s2), "+w"(s3), "+w"(s4), "+w"(s5), "+w"(s6), "+w"(s7), "+w"(s8),
                 "+w"(s9), "+w"(s10), "+w"(s11));  // else they are one
  for (std::size_t i = 0; i < num_iterations; ++i) {
    s0 = vdotq_s32(s0, a, b);
    s1 = vdotq_s32(s1, a, b);
    s2 = vdotq_s32(s2, a, b);
    s3 = vdotq_s32(s3, a, b);
    s4 = vdotq_s32(s4, a, b);
    s5 = vdotq_s32(s5, a, b);
    s6 = vdotq_s32(s6, a, b);
    s7 = vdotq_s32(s7, a, b);
    s8 = vdotq_s32(s8, a, b);
    s9 = vdotq_s32(s9, a, b);
    s10 = vdotq_s32(s10, a, b);
    s11 = vdotq_s32(s11, a, b);
  }
  asm volatile("" ::"w"(s0), "w"(s1), "w"(s2), "w"(s3), "w"(s4), "w"(s5), "w"(s6), "w"(s7), "w"(s8), "w"(s9),
               "w"(s10), "w"(s11));  // they are needed
  return 16.0 * 12 * static_cast<double>(num_iterations);
}

#endif

}  // namespace

Int8Loop int8_vector_loop() {
  [[maybe_unused]] const kernels::CpuFeatures features = kernels::cpu_features();
#if defined(__x86_64__)
  if (features.avx512_vnni && __builtin_cpu_supports("avx512f")) return {"vpdpbusd zmm", dpbusd_512};
  if (features.avx_vnni && __builtin_cpu_supports("avx2")) return {"vpdpbusd ymm", dpbusd_256};
  if (__builtin_cpu_supports("avx2")) return {"vpmaddubsw ymm", maddubs_256};
#elif defined(__aarch64__)
  if (features.neon_dot) return {"sdot", sdot};
#endif
  return {nullptr, nullptr};
}

Int8Loop int8_tile_loop() {
#if defined(__x86_64__)
  if (kernels::cpu_features().amx_int8) return {"tdpbusd", tile_dpbusd};
#endif
  return {nullptr, nullptr};
}

}  // namespace kvasir::bench
