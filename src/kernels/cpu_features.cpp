#include "kernels/cpu_features.h"

#include <cstdint>

#if defined(__x86_64__)
#include <cpuid.h>
#include <sys/syscall.h>
#include <unistd.h>
#elif defined(__aarch64__)
#include <asm/hwcap.h>
#include <sys/auxv.h>
#endif

namespace kvasir::kernels {

#if defined(__x86_64__)
namespace {

constexpr long kRequestPermission = 0x1023;  // ARCH_REQ_XCOMP_PERM
constexpr long kTileData = 18;               // the state component

bool has_bit(unsigned value, int bit) {
  return (value >> bit & 1) != 0;
}

// Linux keeps the tiles' 8 KB from processes that have not asked for them.
bool may_use_tiles() {
  return syscall(SYS_arch_prctl, kRequestPermission, kTileData) == 0;
}

}  // namespace

CpuFeatures cpu_features() {
  CpuFeatures features;
  unsigned eax = 0, ebx = 0, ecx = 0, edx = 0;
  if (__get_cpuid_count(7, 0, &eax, &ebx, &ecx, &edx) == 0) return features;
  const unsigned num_subleaves = eax;
  features.avx512_vnni = has_bit(ecx, 11);
  features.amx_int8 = has_bit(edx, 24) && has_bit(edx, 25) && may_use_tiles();
  if (num_subleaves >= 1 && __get_cpuid_count(7, 1, &eax, &ebx, &ecx, &edx) != 0) {
    features.avx_vnni = has_bit(eax, 4);
  }
  return features;
}
#elif defined(__aarch64__)
CpuFeatures cpu_features() {
  CpuFeatures features;
  features.neon_dot = (getauxval(AT_HWCAP) & HWCAP_ASIMDDP) != 0;
  return features;
}
#else
CpuFeatures cpu_features() {
  return {};
}
#endif

}  // namespace kvasir::kernels
