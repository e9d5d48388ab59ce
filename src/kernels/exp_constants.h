#pragma once

// exp(x) as every table computes it, for x in [kExpMin, kExpMax]:
//   t = fma(x, log2(e), kExpRound), n = t - kExpRound: n is x log2(e) rounded to an integer, and the low bits
//   of t are n in two's complement, so that 2^n is (bits(t) + 127) << 23; r = fma(n, -ln2_low, fma(n,
//   -ln2_high, x)), |r| <= ln(2) / 2; exp(x) = 2^n p(r), p the Taylor polynomial of degree 7 by Horner (its
//   remainder is below 6e-9).
// Below kExpMin the result is 0, above kExpMax it is infinity, and NaN stays NaN.

namespace kvasir::kernels {

constexpr float kExpMin = -87.0f;
constexpr float kExpMax = 88.0f;
constexpr float kExpRound = 12582912.0f;  // 1.5 * 2^23
constexpr float kLog2E = 1.44269504f;
constexpr float kLn2High = 0.693359375f;  // 9 bits: n * kLn2High is exact
constexpr float kLn2Low = -2.12194440e-4f;
constexpr float kExpPolynomial[] = {1.0f / 5040, 1.0f / 720, 1.0f / 120, 1.0f / 24,
                                    1.0f / 6,    0.5f,       1.0f,       1.0f};

}  // namespace kvasir::kernels
