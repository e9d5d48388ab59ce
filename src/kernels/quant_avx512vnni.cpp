// Products with quantised weights on AVX512-VNNI.

#include "kernels/quant_tables.h"

#if defined(__AVX512F__) && defined(__AVX512BW__) && defined(__AVX512VNNI__)

#include "kernels/quant_avx512-inl.h"

namespace kvasir::kernels {
namespace {

constexpr QuantKernels kKernels = {quantize_rows, gemm<Avx512Vnni>, pack_panel};

}  // namespace

const QuantKernels* avx512vnni_quant_kernels() {
  return &kKernels;
}

}  // namespace kvasir::kernels

#else

namespace kvasir::kernels {
const QuantKernels* avx512vnni_quant_kernels() {
  return nullptr;
}
}  // namespace kvasir::kernels

#endif
