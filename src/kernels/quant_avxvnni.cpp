// Products with quantised weights on AVX-VNNI: vpdpbusd on 8 columns at a time.

#include "kernels/quant_tables.h"

#if defined(__AVX2__) && defined(__FMA__) && defined(__F16C__) && defined(__AVXVNNI__)

#include "kernels/quant_x86-inl.h"

namespace kvasir::kernels {
namespace {

struct AvxVnni : Columns8 {
  static constexpr std::size_t kTileRows = 6;
  static constexpr std::size_t kStripPanels = 1;

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
