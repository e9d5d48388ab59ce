#include <algorithm>
#include <cstring>
#include <string>
#include <vector>

#include "kernels/cpu_features.h"
#include "kernels/kernels.h"
#include "kernels/quant_tables.h"
#include "kernels/simd.h"

namespace kvasir::kernels {
namespace {

// Fastest first.
constexpr const char* kKnownIsas[] = {"amx",  "avx512vnni", "avx512", "avxvnni",
                                      "avx2", "neondot",    "neon",   "scalar"};

// Instruction sets are pairs: one for floats, one for quantised weights.
std::vector<KernelTable> find_tables() {
  const CpuFeatures features = cpu_features();
  std::vector<KernelTable> tables;
  const auto add = [&](const char* isa, const KernelTable& floats, const QuantKernels* quant, bool has_cpu) {
    if (!has_cpu || quant == nullptr) return;
    tables.push_back(floats);
    tables.back().isa = isa;
    tables.back().quant = *quant;
  };
  for (const KernelTable* floats : float_kernels()) {
    const std::string_view isa = floats->isa;
    if (isa == "avx512") {
      add("amx", *floats, amx_quant_kernels(), features.amx_int8 && features.avx512_vnni);
      add("avx512vnni", *floats, avx512vnni_quant_kernels(), features.avx512_vnni);
      add("avx512", *floats, avx2_quant_kernels(), true);
    } else if (isa == "avx2") {
      add("avxvnni", *floats, avxvnni_quant_kernels(), features.avx_vnni);
      add("avx2", *floats, avx2_quant_kernels(), true);
    } else if (isa == "neon") {
      add("neondot", *floats, neondot_quant_kernels(), features.neon_dot);
      add("neon", *floats, &scalar_kernels().quant, true);
    }
  }
  return tables;
}

struct Available {
  Available() : tables(find_tables()) {
    for (const KernelTable& table : tables) pointers.push_back(&table);
  }
  const std::vector<KernelTable> tables;
  std::vector<const KernelTable*> pointers;
};

}  // namespace

std::span<const KernelTable* const> simd_kernels() {
  static const Available available;
  return available.pointers;
}

std::span<const char* const> known_isas() {
  return kKnownIsas;
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
  const bool is_known = std::any_of(std::begin(kKnownIsas), std::end(kKnownIsas),
                                    [&](const char* known) { return std::strcmp(known, isa) == 0; });
  if (is_known) {
    return error(StatusCode::kUnsupported, "KVASIR_ISA: this machine has no {}, only {}", isa, available);
  }
  return error(StatusCode::kInvalidArgument, "KVASIR_ISA: expected one of {}, got '{}'",
               fmt::join(kKnownIsas, ", "), isa);
}

}  // namespace kvasir::kernels
