// The operations of CpuBackend around a mixture of experts.

#include <algorithm>
#include <cstddef>
#include <numeric>

#include "backend/cpu_backend.h"
#include "base/check.h"
#include "kernels/kernels.h"

namespace kvasir::backend {
namespace {

// Rows that a thread takes at a time: each is as much work as some rows of the other layers.
constexpr int kExpertRowGrain = 4;

// The experts of one row and their weights, by rank.
void choose(const float* scores, int num_experts, int num_chosen, bool normalizes, int* experts,
            float* weights) {
  for (int rank = 0; rank < num_chosen; ++rank) {
    int best = -1;
    for (int e = 0; e < num_experts; ++e) {
      const bool is_better = best < 0 || scores[e] > scores[best];
      if (is_better && std::find(experts, experts + rank, e) == experts + rank) best = e;
    }
    experts[rank] = best;
  }
  const float max = scores[experts[0]];
  float sum = 0;
  for (int rank = 0; rank < num_chosen; ++rank) {
    weights[rank] = kernels::exponential(scores[experts[rank]] - max);
    if (normalizes) sum += weights[rank];
  }
  if (!normalizes) {
    for (int e = 0; e < num_experts; ++e) sum += kernels::exponential(scores[e] - max);
  }
  for (int rank = 0; rank < num_chosen; ++rank) weights[rank] /= sum;
}

}  // namespace

void CpuBackend::route(const float* scores, int rows, int num_experts, int num_chosen, bool normalizes,
                       ExpertRouting& routing) {
  KVASIR_CHECK(0 < num_chosen && num_chosen <= num_experts);
  routing.num_rows = rows;
  routing.num_chosen = num_chosen;
  routing.experts.resize(routing.num_copies());
  routing.weights.resize(routing.num_copies());
  routing.copies.resize(routing.num_copies());
  pool_.parallel_for(rows, kExpertRowGrain, [&](int begin, int end, int) {
    for (std::ptrdiff_t row = begin; row < end; ++row) {
      choose(scores + row * num_experts, num_experts, num_chosen, normalizes,
             routing.experts.data() + row * num_chosen, routing.weights.data() + row * num_chosen);
    }
  });
  // A counting sort: where each expert's copies end, from where they are placed backwards.
  std::vector<int>& place = routing.first_copy;
  place.assign(num_experts + 1, 0);
  for (const int expert : routing.experts) ++place[expert];
  std::partial_sum(place.begin(), place.end(), place.begin());
  for (std::size_t i = routing.experts.size(); i-- > 0;) routing.copies[i] = --place[routing.experts[i]];
}

void CpuBackend::copy_to_experts(const float* x, int columns, const ExpertRouting& routing, float* out) {
  pool_.parallel_for(routing.num_rows, kExpertRowGrain, [&](int begin, int end, int) {
    for (std::ptrdiff_t i = std::ptrdiff_t{begin} * routing.num_chosen; i < end * routing.num_chosen; ++i) {
      std::copy_n(x + i / routing.num_chosen * columns, columns,
                  out + std::ptrdiff_t{routing.copies[i]} * columns);
    }
  });
}

void CpuBackend::add_experts(const float* y, int columns, const ExpertRouting& routing, float* out) {
  pool_.parallel_for(routing.num_rows, kExpertRowGrain, [&](int begin, int end, int) {
    for (std::ptrdiff_t row = begin; row < end; ++row) {
      float* sum = out + row * columns;
      std::fill_n(sum, columns, 0.0f);
      for (int rank = 0; rank < routing.num_chosen; ++rank) {
        const std::ptrdiff_t i = row * routing.num_chosen + rank;
        const float* copy = y + std::ptrdiff_t{routing.copies[i]} * columns;
        for (int c = 0; c < columns; ++c) sum[c] += routing.weights[i] * copy[c];
      }
    }
  });
}

}  // namespace kvasir::backend
