// Products with quantised weights on AVX2, which has no instruction that adds four products of bytes to an
// int32. vpmaddubsw adds two to an int16, and saturates; so a weight of 8 bits is taken as 16 * high + low,
// of 4 bits each. Sums of 16 bits take as many quads as fit, and then are widened: 8 (a group) times two
// products of at most 15 * 127, or 4 times two of 31 * 127. Of 6 bits, which are up to 63, 4 would not fit:
// but with the correction they are at most 32 * 127 each in the end, and on the way sums may wrap.

#include "kernels/quant_tables.h"

#if defined(__AVX2__) && defined(__FMA__) && defined(__F16C__)

#include "kernels/quant_x86-inl.h"

namespace kvasir::kernels {
namespace {

struct Avx2 : Columns8 {
  static constexpr std::size_t kTileRows = 4;
  static constexpr std::size_t kStripPanels = 1;

  template <QuantType kType>
  static void block(const Block& block);
};

constexpr std::size_t kHalfColumns = Avx2::kLanes;

// A quad in the bytes that are multiplied: the weights, or the low and the high half of each.
constexpr std::size_t num_planes(QuantType type) {
  return type == QuantType::kQ8_0 ? 2 : 1;
}
template <QuantType kType>
inline void unpack_planes(const std::byte* group, std::size_t quad, __m256i (&w)[num_planes(kType)]) {
  w[0] = unpack_quad<Avx2, kType>(group, quad);
  if constexpr (kType == QuantType::kQ8_0) {
    w[1] = Avx2::high_halves(w[0]);
    w[0] = Avx2::low_halves(w[0]);
  }
}

// Quads that sums of 16 bits take.
constexpr std::size_t num_summed_quads(QuantType type) {
  return type == QuantType::kQ5_K ? kQuads / 2 : quads_per_scale(type);
}
constexpr bool begins_with_correction(QuantType type) {
  return type == QuantType::kQ6_K;
}

// dot (+)= correction + the planes' sums, low + 16 * high.
template <QuantType kType, std::size_t kRows, std::size_t kVectors>
inline void widen(const __m256i (&sums)[kRows][kVectors][num_planes(kType)], const std::byte* corrections,
                  std::size_t x_stride, bool is_first, __m256i (&dot)[kRows][kVectors]) {
  constexpr bool kHasCorrection = weight_offset(kType) != 0 && !begins_with_correction(kType);
#pragma GCC unroll 16
  for (std::size_t i = 0; i < kRows; ++i) {
    const __m256i correction =
        kHasCorrection ? Avx2::set1(load_correction<kType>(corrections + i * x_stride)) : __m256i{};
#pragma GCC unroll 16
    for (std::size_t v = 0; v < kVectors; ++v) {
      __m256i sum = _mm256_madd_epi16(sums[i][v][0], _mm256_set1_epi16(1));
      if constexpr (kHasCorrection) sum = _mm256_add_epi32(correction, sum);
      if constexpr (kType == QuantType::kQ8_0) {
        sum = _mm256_add_epi32(sum, _mm256_madd_epi16(sums[i][v][1], _mm256_set1_epi16(16)));
      }
      dot[i][v] = is_first ? sum : _mm256_add_epi32(dot[i][v], sum);
    }
  }
}

// sums[plane] += the products with one quad of x, in int16.
template <std::size_t kRows, std::size_t kVectors, std::size_t kPlanes>
inline void add_quad(const __m256i (&w)[kVectors][kPlanes], const std::byte* x, std::size_t x_stride,
                     bool is_first, __m256i (&sums)[kRows][kVectors][kPlanes]) {
#pragma GCC unroll 16
  for (std::size_t i = 0; i < kRows; ++i) {
    const __m256i x_i = Avx2::set1(load_quad(x + i * x_stride));
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

// The dot products of the n-th scale of group g.
template <std::size_t kRows, class Weights>
inline void multiply(const Weights& w, std::size_t g, std::size_t n, const std::byte* x, std::size_t x_stride,
                     const std::byte* corrections, __m256i (&dot)[kRows][Weights::kVectors]) {
  constexpr QuantType kType = Weights::kType;
  constexpr std::size_t kVectors = Weights::kVectors, kPlanes = num_planes(kType);
  constexpr std::size_t kScaleQuads = quads_per_scale(kType), kSummedQuads = num_summed_quads(kType);
#pragma GCC unroll 2
  for (std::size_t first = 0; first < kScaleQuads; first += kSummedQuads) {
    __m256i sums[kRows][kVectors][kPlanes];
    if constexpr (begins_with_correction(kType)) {
#pragma GCC unroll 16
      for (std::size_t i = 0; i < kRows; ++i) {
#pragma GCC unroll 16
        for (std::size_t v = 0; v < kVectors; ++v)
          sums[i][v][0] = Avx2::set1(load_quad(corrections + i * x_stride));
      }
    }
#pragma GCC unroll 16
    for (std::size_t i = 0; i < kSummedQuads; ++i) {
      const std::size_t quad = n * kScaleQuads + first + i;
      __m256i planes[kVectors][kPlanes];
#pragma GCC unroll 16
      for (std::size_t v = 0; v < kVectors; ++v) w.load(g, quad, v, planes[v]);
      add_quad(planes, x + quad * 4, x_stride, i == 0 && !begins_with_correction(kType), sums);
    }
    widen<kType>(sums, corrections, x_stride, first == 0, dot);
  }
}

// A panel's 16 columns as they lie in memory, for rows so few that nothing is gained by writing planes.
template <QuantType kWeights>
struct DirectWeights {
  static constexpr QuantType kType = kWeights;
  static constexpr std::size_t kVectors = 2;

  explicit DirectWeights(const Block& block)
      : quants(block.quants<kType>()), scale(block.scales<kType>()), ahead(block.ahead) {}

  void load(std::size_t g, std::size_t quad, std::size_t v, __m256i (&w)[num_planes(kType)]) const {
    unpack_planes<kType>(quants + g * group_bytes(kType) + v * kLineBytes / 2, quad, w);
  }
  template <std::size_t kRows>
  void accumulate(std::size_t g, std::size_t n, const std::byte* x, std::size_t x_stride,
                  const std::byte* corrections, __m256i (&dot)[kRows][kVectors]) const {
    multiply<kRows>(*this, g, n, x, x_stride, corrections, dot);
  }
  __m256 scales(std::size_t g, std::size_t n, std::size_t v) const {
    return load_scales<Avx2, kType>(scale, g, n, v * kHalfColumns);
  }
  __m256 minimums(std::size_t g, std::size_t v) const {
    return load_minimums<Avx2, kType>(scale, g, v * kHalfColumns);
  }
  void prefetch(std::size_t g) const {
    prefetch_lines(quants + ahead + g * group_bytes(kType), group_bytes(kType));
    prefetch_scales<kType>(scale, g);
  }

  const std::byte* quants;
  const std::byte* scale;
  std::size_t ahead;
};

// A block of a panel as planes, and its scales and minimums as floats:
//   for each half of the columns, group, quad: the planes' registers; then a group's scales and minimums, 16
//   floats each.
template <QuantType kType>
struct Expanded {
  static constexpr std::size_t kPlanes = num_planes(kType);
  static constexpr std::size_t kScales = scales_per_group(kType);
  static constexpr std::size_t kGroupFloats = (kScales + has_minimums(kType)) * kPanelColumns;
  static constexpr std::size_t kGroupBytes = kQuads * kPlanes * sizeof(__m256i);
  static constexpr std::size_t kHalfBytes = kBlockGroups * kGroupBytes;
  static constexpr std::size_t kBytes = 2 * kHalfBytes + kBlockGroups * kGroupFloats * sizeof(float);

  static __m256i* planes(std::byte* memory, std::size_t half, std::size_t g) {
    return reinterpret_cast<__m256i*>(memory + half * kHalfBytes + g * kGroupBytes);
  }
  static float* scales(std::byte* memory, std::size_t half, std::size_t g) {
    return reinterpret_cast<float*>(memory + 2 * kHalfBytes) + g * kGroupFloats + half * kHalfColumns;
  }

  static void fill(const Block& block) {
    const DirectWeights<kType> w(block);
    for (std::size_t g = 0; g < block.num_groups; ++g) {
      for (std::size_t half = 0; half < 2; ++half) {
        __m256i* to = planes(block.expanded, half, g);
#pragma GCC unroll 16
        for (std::size_t quad = 0; quad < kQuads; ++quad) {
          __m256i quad_planes[kPlanes];
          w.load(g, quad, half, quad_planes);
          for (std::size_t plane = 0; plane < kPlanes; ++plane)
            to[quad * kPlanes + plane] = quad_planes[plane];
        }
        float* scale = scales(block.expanded, half, g);
        for (std::size_t n = 0; n < kScales; ++n, scale += kPanelColumns) {
          Avx2::store(w.scales(g, n, half), scale);
        }
        if constexpr (has_minimums(kType)) Avx2::store(w.minimums(g, half), scale);
      }
    }
  }
};

// One half of an expanded panel.
template <QuantType kWeights>
struct ExpandedWeights {
  static constexpr QuantType kType = kWeights;
  static constexpr std::size_t kVectors = 1, kPlanes = num_planes(kType);

  ExpandedWeights(const Block& block, std::size_t half)
      : planes(Expanded<kType>::planes(block.expanded, half, 0)),
        scale(Expanded<kType>::scales(block.expanded, half, 0)),
        next(block.quants<kType>() + block.ahead + half * kHalfGroupBytes),
        panel_scales(block.scales<kType>()) {}

  void load(std::size_t g, std::size_t quad, std::size_t, __m256i (&w)[kPlanes]) const {
    for (std::size_t plane = 0; plane < kPlanes; ++plane)
      w[plane] = planes[(g * kQuads + quad) * kPlanes + plane];
  }
  template <std::size_t kRows>
  void accumulate(std::size_t g, std::size_t n, const std::byte* x, std::size_t x_stride,
                  const std::byte* corrections, __m256i (&dot)[kRows][kVectors]) const {
    multiply<kRows>(*this, g, n, x, x_stride, corrections, dot);
  }
  __m256 scales(std::size_t g, std::size_t n, std::size_t) const {
    return _mm256_load_ps(scale + g * Expanded<kType>::kGroupFloats + n * kPanelColumns);
  }
  __m256 minimums(std::size_t g, std::size_t v) const { return scales(g, Expanded<kType>::kScales, v); }
  // Each half asks for half of a group's lines, while it multiplies: Expanded::fill would only wait for them.
  void prefetch(std::size_t g) const {
    prefetch_lines(next + g * group_bytes(kType), kHalfGroupBytes);
    prefetch_scales<kType>(panel_scales, g);
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
