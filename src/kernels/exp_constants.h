#pragma once

// exp(x) as every table computes it, for x in [kExpMin, kExpMax]:
//   t = fma(x, log2(e), kExpRound), n = t - kExpRound: n is x log2(e) rounded to an integer, and the low bits
//   of t are n in two's complement, so that 2^n is (bits(t) + 127) << 23; r = fma(n, -ln2_low, fma(n,
//   -ln2_high, x)), |r| <= ln(2) / 2; exp(x) = 2^n p(r), p the Taylor polynomial of degree 7 by Horner (its
//   remainder is below 6e-9).
// Below kExpMin the result is 0, above kExpMax it is infinity, and NaN stays NaN.
//
// 2^x, the weights of attention, for x <= 0: n is x rounded to an integer in the same way, r = x - n (exact),
// and 2^x = 2^n p(r), with n added to the exponent: bits(p) + (bits(t) << 23). p is the polynomial of degree
// 6 with p(0) = 1 whose relative error on [-0.5, 0.5] is smallest (2e-9). Below kExp2Min the result is 0:
// such a weight changes no sum, and its product with an f16 is not denormal.

namespace kvasir::kernels {

constexpr float kExpMin = -87.0f;
constexpr float kExpMax = 88.0f;
constexpr float kExpRound = 12582912.0f;  // 1.5 * 2^23
constexpr float kLog2E = 1.44269504f;
constexpr float kLn2High = 0.693359375f;  // 9 bits: n * kLn2High is exact
constexpr float kLn2Low = -2.12194440e-4f;
constexpr float kExpPolynomial[] = {1.0f / 5040, 1.0f / 720, 1.0f / 120, 1.0f / 24,
                                    1.0f / 6,    0.5f,       1.0f,       1.0f};

// gelu(x) = x P(X <= x) for a normal X, where P(X <= -|x|) = erfc(|x| / sqrt(2)) / 2 = exp(-x^2 / 2) t p(t) /
// 2 with t = 1 / (1 + kErfcSlope |x| / sqrt(2)). p is the polynomial of degree 7 by Horner whose relative
// error is smallest for |x| / sqrt(2) <= 9.5 (3e-7; beyond, exp is 0). The approximation by tanh is x / (1 +
// exp(-x (kGeluTanhLinear + kGeluTanhCubic x^2))).
constexpr float kErfcSlope = 0.45f;
constexpr float kErfcPolynomial[] = {0.06631981581449509f, -0.2378900945186615f, 0.20455552637577057f,
                                     0.04440932720899582f, 0.18637962639331818f, 0.2287907600402832f,
                                     0.2535185217857361f,  0.25391680002212524f};
constexpr float kHalfSqrt2 = 0.70710678f;
constexpr float kGeluTanhLinear = 1.5957691216f;  // 2 sqrt(2 / pi)
constexpr float kGeluTanhCubic = 0.07135481283f;  // 0.044715 of it

constexpr float kExp2Min = -100.0f;
constexpr float kExp2Polynomial[] = {
    0x1.41fbbcp-13f, 0x1.5f3e54p-10f, 0x1.3b2d4cp-7f, 0x1.c6aee8p-5f, 0x1.ebfbdcp-3f, 0x1.62e430p-1f, 1.0f};

}  // namespace kvasir::kernels
