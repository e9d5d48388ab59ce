#include "backend/cpu_backend.h"

#include <algorithm>
#include <cmath>
#include <cstdlib>

#include "backend/for_pieces.h"
#include "kernels/float_formats.h"
#include "kernels/kernels.h"

namespace kvasir::backend {
namespace {

constexpr int kLanes = 16;

// The mean of of(x[i]).
template <typename Function>
float mean(const float* x, int count, const Function& of) {
  float lanes[kLanes] = {};
  int i = 0;
  for (; i + kLanes <= count; i += kLanes) {
    for (int lane = 0; lane < kLanes; ++lane) lanes[lane] += of(x[i + lane]);
  }
  for (; i < count; ++i) lanes[i % kLanes] += of(x[i]);
  for (int step = kLanes / 2; step > 0; step /= 2) {
    for (int lane = 0; lane < step; ++lane) lanes[lane] += lanes[lane + step];
  }
  return lanes[0] / static_cast<float>(count);
}

}  // namespace

Result<std::unique_ptr<CpuBackend>> CpuBackend::create(ThreadPool& pool) {
  KVASIR_ASSIGN_OR_RETURN(const kernels::KernelTable* table,
                          kernels::select_kernels(std::getenv("KVASIR_ISA")));
  return std::unique_ptr<CpuBackend>(new CpuBackend(pool, *table));
}

CpuBackend::CpuBackend(ThreadPool& pool, const kernels::KernelTable& kernels)
    : pool_(pool), kernels_(kernels) {
  constexpr std::size_t kAlignment = 64 / sizeof(float);
  const std::size_t num_floats = pool.num_threads() * kernels::kGemmScratchFloats + kAlignment;
  scratch_memory_ = std::make_unique_for_overwrite<float[]>(num_floats);
  void* begin = scratch_memory_.get();
  std::size_t bytes = num_floats * sizeof(float);
  auto* aligned = static_cast<float*>(std::align(64, sizeof(float), begin, bytes));
  for (int i = 0; i < pool.num_threads(); ++i)
    gemm_scratch_.push_back(aligned + i * kernels::kGemmScratchFloats);
}

CpuBackend::~CpuBackend() = default;

const char* CpuBackend::isa() const {
  return kernels_.isa;
}

void CpuBackend::embed(const Matrix& table, std::span<const TokenId> tokens, float* out) {
  pool_.parallel_for(static_cast<int>(tokens.size()), kRowGrain, [&](int begin, int end, int) {
    for (int i = begin; i < end; ++i)
      read_row(table, tokens[i], out + static_cast<std::size_t>(i) * table.columns);
  });
}

void CpuBackend::rms_norm(const float* x, int rows, int columns, const float* weight, float eps, float* out) {
  pool_.parallel_for(rows, kRowGrain, [&](int begin, int end, int) {
    for (std::size_t row = begin; row < static_cast<std::size_t>(end); ++row) {
      const float* in = x + row * columns;
      const float mean_square = mean(in, columns, [](float value) { return value * value; });
      const float scale = 1.0f / std::sqrt(mean_square + eps);
      for (int c = 0; c < columns; ++c) out[row * columns + c] = in[c] * scale * weight[c];
    }
  });
}

void CpuBackend::layer_norm(const float* x, int rows, int columns, const float* weight, const float* bias,
                            float eps, float* out) {
  pool_.parallel_for(rows, kRowGrain, [&](int begin, int end, int) {
    for (std::size_t row = begin; row < static_cast<std::size_t>(end); ++row) {
      const float* in = x + row * columns;
      float* to = out + row * columns;
      const float middle = mean(in, columns, [](float value) { return value; });
      const float variance =
          mean(in, columns, [&](float value) { return (value - middle) * (value - middle); });
      const float scale = 1.0f / std::sqrt(variance + eps);
      for (int c = 0; c < columns; ++c) to[c] = (in[c] - middle) * scale * weight[c];
      if (bias == nullptr) continue;
      for (int c = 0; c < columns; ++c) to[c] += bias[c];
    }
  });
}

void CpuBackend::rope(float* x, int num_heads, int head_dim, std::span<const int> positions,
                      const RopeTable& table) {
  const std::size_t num_pairs = table.num_pairs;
  pool_.parallel_for(static_cast<int>(positions.size()), kRowGrain, [&](int begin, int end, int) {
    for (std::size_t row = begin; row < static_cast<std::size_t>(end); ++row) {
      const float* cos = table.cos.data() + positions[row] * num_pairs;
      const float* sin = table.sin.data() + positions[row] * num_pairs;
      float* head = x + row * num_heads * head_dim;
      for (int h = 0; h < num_heads; ++h, head += head_dim) {
        for (std::size_t i = 0; i < num_pairs; ++i) {
          const float a = head[i], b = head[i + num_pairs];
          head[i] = a * cos[i] - b * sin[i];
          head[i + num_pairs] = b * cos[i] + a * sin[i];
        }
      }
    }
  });
}

void CpuBackend::activate(Activation activation, const float* x, const float* up, std::size_t count,
                          float* out) {
  for_pieces(pool_, count, [&](std::size_t begin, std::size_t end) {
    kernels_.activate(activation, x + begin, up == nullptr ? nullptr : up + begin, out + begin, end - begin);
  });
}

void CpuBackend::add(float* x, const float* y, std::size_t count, float factor) {
  for_pieces(pool_, count, [&](std::size_t begin, std::size_t end) {
    for (std::size_t i = begin; i < end; ++i) x[i] += factor * y[i];
  });
}

void CpuBackend::scale(float* x, float factor, std::size_t count) {
  for_pieces(pool_, count, [&](std::size_t begin, std::size_t end) {
    for (std::size_t i = begin; i < end; ++i) x[i] *= factor;
  });
}

void CpuBackend::soft_cap(float* x, float cap, std::size_t count) {
  for_pieces(pool_, count,
             [&](std::size_t begin, std::size_t end) { kernels_.soft_cap(x + begin, cap, end - begin); });
}

}  // namespace kvasir::backend
