#pragma once

// The functions between the matrices of an MLP, as the model names them.

#include "kernels/activation.h"

namespace kvasir::backend {

using Activation = kernels::Activation;

}  // namespace kvasir::backend
