#pragma once

// The instruction sets that the files in Highway are compiled for. They include this before Highway.

// Sets without a table of ours: those above AVX3 (lower bits), those without FMA, and vectors of unknown
// length.
#define HWY_DISABLED_TARGETS \
  ((HWY_AVX3 - 1) | HWY_SSE4 | HWY_SSSE3 | HWY_SVE | HWY_SVE2 | HWY_SVE_256 | HWY_SVE2_128)
