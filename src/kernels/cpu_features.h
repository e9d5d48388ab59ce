#pragma once

// What this CPU and its operating system have beyond what Highway asks for.

namespace kvasir::kernels {

struct CpuFeatures {
  bool avx_vnni = false;
  bool avx512_vnni = false;  // without the registers' being usable: that is Highway's to say
  bool amx_int8 = false;     // and the system lets this process use it
  bool neon_dot = false;
};

// Asks the operating system for the use of AMX where there is one; no other side effects.
CpuFeatures cpu_features();

}  // namespace kvasir::kernels
