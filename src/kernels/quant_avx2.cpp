// Products with quantised weights on AVX2, which has no instruction that adds four products of bytes to an
// int32. vpmaddubsw adds two to an int16, and saturates; so a weight of 8 bits is taken as 16 * high + low,
// of 4 bits each: eight times two products of at most 15 * 127 fit an int16, and a group is widened once, at
// its end.

#include "kernels/quant_tables.h"

#if defined(__AVX2__) && defined(__FMA__) && defined(__F16C__)

#include "kernels/quant_x86-inl.h"

namespace kvasir::kernels {
namespace {

struct Avx2 : Floats8 {
  static constexpr std::size_t kTileRows = 4;
  static constexpr std::size_t kStripPanels = 1;

  using Floats8::set1;
  static Int set1(std::int32_t value) { return _mm256_set1_epi32(value); }
  static Int bytes(const std::byte* from) {
    return _mm256_loadu_si256(reinterpret_cast<const __m256i*>(from));
  }
  static Int low_halves(Int bytes) { return _mm256_and_si256(bytes, _mm256_set1_epi8(15)); }
  static Int high_halves(Int bytes) { return low_halves(_mm256_srli_epi16(bytes, 4)); }

  template <QuantType kType>
  static void block(const Block& block);
};

constexpr std::size_t kHalfColumns = 8;  // a register
// Half-byte weights of a register's columns: one plane, or the low and the high one.
constexpr std::size_t num_planes(QuantType type) {
  return type == QuantType::kQ8_0 ? 2 : 1;
}

// dot = correction + the planes' sums, low + 16 * high.
template <QuantType kType, std::size_t kRows, std::size_t kVectors>
inline void widen(const __m256i (&sums)[kRows][kVectors][num_planes(kType)], const std::int32_t* corrections,
                  std::size_t x_stride, __m256i (&dot)[kRows][kVectors]) {
#pragma GCC unroll 16
  for (std::size_t i = 0; i < kRows; ++i) {
    const __m256i correction = _mm256_set1_epi32(corrections[i * (x_stride / sizeof(std::int32_t))]);
#pragma GCC unroll 16
    for (std::size_t v = 0; v < kVectors; ++v) {
      dot[i][v] = _mm256_add_epi32(correction, _mm256_madd_epi16(sums[i][v][0], _mm256_set1_epi16(1)));
      if constexpr (kType == QuantType::kQ8_0) {
        dot[i][v] = _mm256_add_epi32(dot[i][v], _mm256_madd_epi16(sums[i][v][1], _mm256_set1_epi16(16)));
      }
    }
  }
}

// sums[plane] += the products with one quad of x, in int16.
template <std::size_t kRows, std::size_t kVectors, std::size_t kPlanes>
inline void add_quad(const __m256i (&w)[kVectors][kPlanes], const std::byte* x, std::size_t x_stride,
                     bool is_first, __m256i (&sums)[kRows][kVectors][kPlanes]) {
#pragma GCC unroll 16
  for (std::size_t i = 0; i < kRows; ++i) {
    const __m256i x_i = _mm256_set1_epi32(load_quad(x + i * x_stride));
#pragma GCC unroll 16
    for (std::size_t v = 0; v < kVectors; ++v) {
#pragma GCC unroll 16
      for (std::size_t plane = 0; plane < kPlanes; ++plane) {
        const __m256i products = _mm256_maddubs_epi16(w[v][plane], x_i);
        sums[i][v][plane] = is_first ? products : _mm256_add_epi16(sums[i][v][plane], products);
        // Compilers would add in another order, which needs more registers than there are.
        asm("" : "+x"(sums[i][v][plane]));
      }
    }
  }
}

// A panel's 16 columns as they lie in memory, for rows so few that nothing is gained by writing planes.
template <QuantType kType>
struct DirectWeights {
  static constexpr std::size_t kVectors = 2, kPlanes = num_planes(kType);

  explicit DirectWeights(const Block& block)
      : quants(block.panel + block.first_group * group_bytes(kType)),
        scale(block.panel + block.scales_offset + block.first_group * kGroupScaleBytes),
        ahead(block.ahead) {}

  template <std::size_t kRows>
  void accumulate(std::size_t g, const std::byte* x, std::size_t x_stride, const std::int32_t* corrections,
                  __m256i (&dot)[kRows][kVectors]) const {
    __m256i sums[kRows][kVectors][kPlanes];
    constexpr std::size_t kLines = group_bytes(kType) / kLineBytes;
    const std::byte* line = quants + g * group_bytes(kType);
#pragma GCC unroll 16
    for (std::size_t l = 0; l < kLines; ++l, line += kLineBytes) {
      __m256i w[kVectors][kPlanes], high[kVectors][kPlanes];
#pragma GCC unroll 16
      for (std::size_t v = 0; v < kVectors; ++v) {
        const __m256i both = Avx2::bytes(line + v * kLineBytes / 2);
        w[v][0] = Avx2::low_halves(both);
        (kType == QuantType::kQ8_0 ? w[v][kPlanes - 1] : high[v][0]) = Avx2::high_halves(both);
      }
      add_quad(w, x + l * 4, x_stride, l == 0, sums);
      if constexpr (kType == QuantType::kQ4_0) add_quad(high, x + (l + kLines) * 4, x_stride, false, sums);
    }
    widen<kType>(sums, corrections, x_stride, dot);
  }

  __m256 scales(std::size_t g, std::size_t v) const {
    return Avx2::load_scales(scale + g * kGroupScaleBytes + v * kHalfColumns * 2);
  }
  void prefetch(std::size_t g) const {
    prefetch_lines(quants + ahead + g * group_bytes(kType), group_bytes(kType));
    prefetch_scales(scale, g);
  }

  const std::byte* quants;
  const std::byte* scale;
  std::size_t ahead;
};

// A block of a panel as planes of half bytes, and its scales as floats:
//   for each half of the columns, group, quad: the planes' registers; then (group, 16) floats.
template <QuantType kType>
struct Expanded {
  static constexpr std::size_t kPlanes = num_planes(kType);
  static constexpr std::size_t kGroupBytes = kQuads * kPlanes * sizeof(__m256i);
  static constexpr std::size_t kHalfBytes = kBlockGroups * kGroupBytes;
  static constexpr std::size_t kBytes = 2 * kHalfBytes + kBlockGroups * kPanelColumns * sizeof(float);

  static __m256i* planes(std::byte* memory, std::size_t half, std::size_t g) {
    return reinterpret_cast<__m256i*>(memory + half * kHalfBytes + g * kGroupBytes);
  }
  static float* scales(std::byte* memory, std::size_t g) {
    return reinterpret_cast<float*>(memory + 2 * kHalfBytes) + g * kPanelColumns;
  }

  static void fill(const Block& block) {
    const std::byte* quants = block.panel + block.first_group * group_bytes(kType);
    const std::byte* scale = block.panel + block.scales_offset + block.first_group * kGroupScaleBytes;
    for (std::size_t g = 0; g < block.num_groups;
         ++g, quants += group_bytes(kType), scale += kGroupScaleBytes) {
      for (std::size_t half = 0; half < 2; ++half) {
        __m256i* to = planes(block.expanded, half, g);
        constexpr std::size_t kLines = group_bytes(kType) / kLineBytes;
        for (std::size_t l = 0; l < kLines; ++l) {
          const __m256i both = Avx2::bytes(quants + l * kLineBytes + half * kLineBytes / 2);
          // q8_0: the two planes of this quad; q4_0: this quad, and the one four further on.
          to[l * kPlanes] = Avx2::low_halves(both);
          to[kPlanes == 2 ? l * 2 + 1 : l + kLines] = Avx2::high_halves(both);
        }
        Avx2::store(Avx2::load_scales(scale + half * kHalfColumns * 2),
                    scales(block.expanded, g) + half * kHalfColumns);
      }
    }
  }
};

// One half of an expanded panel.
template <QuantType kType>
struct ExpandedWeights {
  static constexpr std::size_t kVectors = 1, kPlanes = num_planes(kType);

  ExpandedWeights(const Block& block, std::size_t half)
      : planes(Expanded<kType>::planes(block.expanded, half, 0)),
        scale(Expanded<kType>::scales(block.expanded, 0) + half * kHalfColumns),
        next(block.panel + block.first_group * group_bytes(kType) + block.ahead + half * kHalfGroupBytes),
        panel_scales(block.panel + block.scales_offset + block.first_group * kGroupScaleBytes) {}

  template <std::size_t kRows>
  void accumulate(std::size_t g, const std::byte* x, std::size_t x_stride, const std::int32_t* corrections,
                  __m256i (&dot)[kRows][kVectors]) const {
    __m256i sums[kRows][kVectors][kPlanes];
    const __m256i* group = planes + g * kQuads * kPlanes;
#pragma GCC unroll 16
    for (std::size_t quad = 0; quad < kQuads; ++quad) {
      __m256i w[kVectors][kPlanes];
      for (std::size_t plane = 0; plane < kPlanes; ++plane) w[0][plane] = group[quad * kPlanes + plane];
      add_quad(w, x + quad * 4, x_stride, quad == 0, sums);
    }
    widen<kType>(sums, corrections, x_stride, dot);
  }

  __m256 scales(std::size_t g, std::size_t) const {
    return _mm256_load_ps(scale + g * kPanelColumns);
  }
  // Each half asks for half of a group's lines, while it multiplies: Expanded::fill would only wait for them.
  void prefetch(std::size_t g) const {
    prefetch_lines(next + g * group_bytes(kType), kHalfGroupBytes);
    prefetch_scales(panel_scales, g);
  }

  static constexpr std::size_t kHalfGroupBytes = group_bytes(kType) / 2;
  const __m256i* planes;
  const float* scale;
  const std::byte* next;  // the weights after this block
  const std::byte* panel_scales;
};

template <QuantType kType>
void Avx2::block(const Block& block) {
  constexpr std::size_t kMaxDirectRows = 2;
  if (block.num_rows <= kMaxDirectRows) {
    return add_tiles<Avx2, kMaxDirectRows, 2>(block, DirectWeights<kType>(block), block.sums);
  }
  static_assert(Expanded<kType>::kBytes + kBlockRows * kPanelColumns * sizeof(float) <=
                kGemmScratchFloats * sizeof(float));
  Expanded<kType>::fill(block);
  for (std::size_t half = 0; half < 2; ++half) {
    add_tiles<Avx2, kTileRows, 1>(block, ExpandedWeights<kType>(block, half),
                                  block.sums + half * kHalfColumns);
  }
}

constexpr QuantKernels kKernels = {quantize_rows, gemm<Avx2>, pack_panel};

}  // namespace

const QuantKernels* avx2_quant_kernels() {
  return &kKernels;
}

}  // namespace kvasir::kernels

#else

namespace kvasir::kernels {
const QuantKernels* avx2_quant_kernels() {
  return nullptr;
}
}  // namespace kvasir::kernels

#endif
