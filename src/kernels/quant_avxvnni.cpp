// Products with quantised weights on AVX-VNNI: vpdpbusd on 8 columns at a time.

#include "kernels/quant_tables.h"

#if defined(__AVX2__) && defined(__FMA__) && defined(__F16C__) && defined(__AVXVNNI__)

#include "kernels/quant_x86-inl.h"

namespace kvasir::kernels {
namespace {

struct AvxVnni : Floats8 {
  static constexpr std::size_t kTileRows = 6;
  static constexpr std::size_t kStripPanels = 1;

  using Floats8::set1;
  static Int set1(std::int32_t value) { return _mm256_set1_epi32(value); }
  static Int bytes(const std::byte* from) {
    return _mm256_loadu_si256(reinterpret_cast<const __m256i*>(from));
  }
  static Int low_halves(Int bytes) { return _mm256_and_si256(bytes, _mm256_set1_epi8(15)); }
  static Int high_halves(Int bytes) { return low_halves(_mm256_srli_epi16(bytes, 4)); }
  static Int dot4(Int sum, Int w, Int x) { return _mm256_dpbusd_avx_epi32(sum, w, x); }

  template <QuantType kType>
  static void block(const Block& block) {
    add_tiles<AvxVnni, kTileRows, 2>(block, PanelWeights<AvxVnni, kType, 2>(block), block.sums);
  }
};

constexpr QuantKernels kKernels = {quantize_rows, gemm<AvxVnni>, pack_panel};

}  // namespace

const QuantKernels* avxvnni_quant_kernels() {
  return &kKernels;
}

}  // namespace kvasir::kernels

#else

namespace kvasir::kernels {
const QuantKernels* avxvnni_quant_kernels() {
  return nullptr;
}
}  // namespace kvasir::kernels

#endif
