#pragma once

// The kernels of a forward pass through CpuBackend, at TinyLlama's shapes, timed alone.

#include "backend/cpu_backend.h"
#include "base/status.h"
#include "bench/machine.h"
#include "bench/report.h"

namespace kvasir::bench {

struct Product {
  const char* name;
  int rows, columns;  // of w
};

// As in results and flags: q8_0.
const char* weights_name(backend::WeightDtype dtype);

// One matrix product for `num_rows` tokens: against the peak of the multiply-adds that the weights' type
// uses, or, of a single row, against the read bandwidth. No run finds the weights in a cache.
Result<Measurement> product_run(backend::CpuBackend& ops, MachineLimits& limits, const Product& product,
                                backend::WeightDtype dtype, int num_rows, int num_runs);

// Sequences of a step: the last `num_rows` tokens of `num_keys` of each, of which the first `num_shared` are
// in blocks that all of them have.
struct AttentionCase {
  const char* name;
  int num_sequences, num_rows, num_keys, num_shared;
};

// The decode of 16 sequences, whose prefix of 2,048 tokens is one, and has been copied for each.
inline constexpr AttentionCase kSharedPrefix = {"attention, 16 x 2,064 keys, shared", 16, 1, 2064, 2048};
inline constexpr AttentionCase kCopiedPrefix = {"attention, 16 x 2,064 keys, apart", 16, 1, 2064, 0};

// Attention of 32 heads of 64 over 4 KV heads in f16, in one layer, against the peak of f32 multiply-adds. No
// run finds its keys in a cache.
Result<Measurement> attention_run(backend::CpuBackend& ops, MachineLimits& limits, const AttentionCase& work,
                                  int num_runs);

}  // namespace kvasir::bench
