#include <cstring>
#include <string>

#include "kernels/kernels.h"
#include "kernels/simd.h"

namespace kvasir::kernels {
namespace {

constexpr const char* kKnownIsas[] = {"scalar", "avx2", "avx512", "neon"};

}  // namespace

bool is_known_isa(const char* isa) {
  for (const char* known : kKnownIsas) {
    if (std::strcmp(isa, known) == 0) return true;
  }
  return false;
}

Result<const KernelTable*> select_kernels(const char* isa) {
  if (isa == nullptr || *isa == '\0') {
    return simd_kernels().empty() ? &scalar_kernels() : simd_kernels().front();
  }
  std::string available = scalar_kernels().isa;
  if (available == isa) return &scalar_kernels();
  for (const KernelTable* table : simd_kernels()) {
    if (std::strcmp(table->isa, isa) == 0) return table;
    available += std::string(", ") + table->isa;
  }
  if (!is_known_isa(isa)) {
    return error(StatusCode::kInvalidArgument, "KVASIR_ISA: expected scalar, avx2, avx512 or neon, got '{}'",
                 isa);
  }
  return error(StatusCode::kUnsupported, "KVASIR_ISA: this machine has no {}, only {}", isa, available);
}

}  // namespace kvasir::kernels
