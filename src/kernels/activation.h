#pragma once

namespace kvasir::kernels {

// gelu(x) = x / 2 (1 + erf(x / sqrt(2))); kGeluTanh is its approximation by tanh (Hendrycks and Gimpel 2016).
enum class Activation { kSilu, kGelu, kGeluTanh };

}  // namespace kvasir::kernels
