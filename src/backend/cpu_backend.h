#pragma once

// The operations of a forward pass on the CPU: kernels over the threads of a pool. Each result is bitwise the
// same with any number of threads and any instruction set, and a row's result does not depend on the other
// rows. It knows arrays, shapes and KV blocks; the order of the operations is the model's. One thread calls
// it at a time.
//
// Activations are row-major float arrays, one row for each token of the step.

#include <cstdint>
#include <initializer_list>
#include <memory>
#include <span>
#include <vector>

#include "backend/activation.h"
#include "backend/aligned_bytes.h"
#include "backend/attention_plan.h"
#include "backend/expert_routing.h"
#include "backend/kv_pool.h"
#include "backend/matrix.h"
#include "base/ids.h"
#include "base/status.h"
#include "base/thread_pool.h"

namespace kvasir::kernels {
struct KernelTable;
}

namespace kvasir::backend {

// One of several products with the same x: y (num_rows, w.rows) = x w^T + bias, of the rows of x from
// first_row on.
struct Projection {
  const Matrix* w;
  const float* bias;  // (w.rows) or null
  float* y;
  int first_row = 0;
  int num_rows = -1;  // negative: all
};

// cos and sin of every rotation angle: (num_positions, num_pairs) each.
struct RopeTable {
  int num_pairs = 0;  // of dimensions (i, i + num_pairs) that are rotated in each head
  std::vector<float> cos, sin;
};

// How the scores of attention come about, and which keys a row sees.
struct AttentionOptions {
  float scale = 1;     // multiplies q k
  float soft_cap = 0;  // scores become soft_cap * tanh(score / soft_cap); 0: they stay
  int window = 0;      // a row sees that many keys, itself the last; 0: all
};

class CpuBackend {
 public:
  // Chooses the kernels: those of the environment variable KVASIR_ISA, else the fastest that this CPU runs.
  // `pool` must outlive the backend. Errors: kInvalidArgument, kUnsupported for KVASIR_ISA.
  static Result<std::unique_ptr<CpuBackend>> create(ThreadPool& pool);
  ~CpuBackend();

  const char* isa() const;
  ThreadPool& pool() { return pool_; }

  // out (tokens, table.columns) = the tokens' rows of the table.
  void embed(const Matrix& table, std::span<const TokenId> tokens, float* out);

  // out (rows, columns) = x / sqrt(mean(x^2) + eps) * weight (Zhang and Sennrich 2019). out may be x.
  void rms_norm(const float* x, int rows, int columns, const float* weight, float eps, float* out);

  // out (rows, columns) = (x - mean(x)) / sqrt(variance(x) + eps) * weight + bias (Ba et al. 2016). bias may
  // be null, out may be x.
  void layer_norm(const float* x, int rows, int columns, const float* weight, const float* bias, float eps,
                  float* out);

  // All projections of x (rows, columns). Requires: every w has that many columns.
  void linear(const float* x, int rows, std::span<const Projection> projections);
  void linear(const float* x, int rows, std::initializer_list<Projection> projections) {
    linear(x, rows, std::span(projections.begin(), projections.size()));
  }

  // Rotates each head's pairs by the angles of its row's position (Su et al. 2021), in place; what is in no
  // pair stays. x: (rows, num_heads, head_dim); positions: (rows), each in the table.
  void rope(float* x, int num_heads, int head_dim, std::span<const int> positions, const RopeTable& table);

  // Writes the rows' keys and values of one layer, (rows, num_kv_heads, head_dim) each, into the pool,
  // rounded to its dtype. slots: (rows), a token's block * block_size + its place in the block; a negative
  // one is left out.
  void store_kv(const float* k, const float* v, int layer, std::span<const std::int64_t> slots, KvPool& kv);

  // Causal attention of each row of the plan over its sequence's keys up to its own position, read from the
  // blocks of the pool for which the plan was built. Keys before the window are not read.
  // q, out: (rows, num_heads, head_dim).
  void attention(const float* q, const AttentionPlan& plan, int layer, const KvPool& kv,
                 const AttentionOptions& options, float* out);

  // out = activation(x) * up, or activation(x) where up is null; out may be x.
  void activate(Activation activation, const float* x, const float* up, std::size_t count, float* out);

  // Chooses experts for each row by its scores, (rows, num_experts): the num_chosen with the largest
  // softmax, of equals the first, by rank; their softmax is the weight, divided by their sum if `normalizes`.
  void route(const float* scores, int rows, int num_experts, int num_chosen, bool normalizes,
             ExpertRouting& routing);

  // out (copies, columns) = each copy's row of x (rows, columns).
  void copy_to_experts(const float* x, int columns, const ExpertRouting& routing, float* out);

  // out (rows, columns) = the sum of a row's copies in y (copies, columns) by their weights, in order of
  // rank.
  void add_experts(const float* y, int columns, const ExpertRouting& routing, float* out);

  // x += factor * y.
  void add(float* x, const float* y, std::size_t count, float factor = 1);

  // x *= factor.
  void scale(float* x, float factor, std::size_t count);

  // x = cap * tanh(x / cap).
  void soft_cap(float* x, float cap, std::size_t count);

 private:
  // Rows that a thread takes at a time where little is done with each.
  static constexpr int kRowGrain = 16;

  CpuBackend(ThreadPool& pool, const kernels::KernelTable& kernels);
  void multiply(const float* x, int rows, std::span<const Projection> projections);
  void multiply_columns(const float* x, const Projection& projection, int num_rows, int from, int to,
                        int worker);
  void quantize(const float* x, int rows, int k, WeightDtype w_dtype);

  ThreadPool& pool_;
  const kernels::KernelTable& kernels_;
  std::unique_ptr<float[]> scratch_memory_;
  std::vector<float*> gemm_scratch_;  // one for each worker, 64-byte aligned
  AlignedBytes quantized_x_;          // rows for the weights of the current product
  AlignedBytes attention_scratch_;    // of all workers
};

}  // namespace kvasir::backend
