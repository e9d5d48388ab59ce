#include "bench/kernel_runs.h"

#include <fmt/format.h>

#include <chrono>
#include <memory>
#include <numeric>
#include <random>
#include <vector>

namespace kvasir::bench {
namespace {

using backend::Matrix;
using backend::WeightDtype;

constexpr std::size_t kBeyondCaches = std::size_t{256} << 20;

// How much of `amount` (1e9 times) each run does in a second.
template <typename Work>
std::vector<double> rates(MachineLimits& limits, int num_runs, double amount, const Work& work) {
  std::vector<double> result;
  work();  // the first one touches the memory
  for (int i = 0; i < num_runs; ++i) {
    limits.sample();
    const auto begin = std::chrono::steady_clock::now();
    work();
    const std::chrono::duration<double> elapsed = std::chrono::steady_clock::now() - begin;
    result.push_back(amount / elapsed.count() / 1e9);
  }
  return result;
}

struct Free {
  void operator()(std::byte* memory) const { std::free(memory); }
};
using Bytes = std::unique_ptr<std::byte[], Free>;

// Random bytes, of which all that may be an f16 is one of at most 2: rows of blocks of any type.
std::vector<std::byte> random_blocks(std::size_t num_bytes) {
  std::vector<std::byte> blocks(num_bytes);
  std::mt19937 random(1);
  for (std::byte& byte : blocks) byte = static_cast<std::byte>(random() & 0x3F);
  return blocks;
}

// A random matrix of this type.
Bytes make_matrix(const Product& product, WeightDtype dtype, ThreadPool& pool) {
  const std::size_t num_weights = static_cast<std::size_t>(product.rows) * product.columns;
  const bool has_blocks = dtype >= WeightDtype::kQ4_K;
  std::vector<float> values(has_blocks ? 0 : num_weights);
  std::mt19937 random(1);
  for (float& value : values) value = static_cast<float>(random()) * 0x1p-32f - 0.5f;
  const std::vector<std::byte> blocks = random_blocks(has_blocks ? num_weights : 0);
  const std::size_t bytes = backend::matrix_bytes(dtype, product.rows, product.columns);
  Bytes matrix(static_cast<std::byte*>(std::aligned_alloc(64, (bytes + 63) / 64 * 64)));
  pool.parallel_for(product.rows, backend::kRowsPerPanel, [&](int begin, int end, int) {
    if (has_blocks) {
      backend::pack_block_rows(blocks.data(), dtype, matrix.get(), product.rows, product.columns, begin, end);
    } else {
      backend::convert_rows(values.data(), WeightDtype::kF32, matrix.get(), dtype, product.rows,
                            product.columns, begin, end);
    }
  });
  return matrix;
}

}  // namespace

const char* weights_name(WeightDtype dtype) {
  switch (dtype) {
    case WeightDtype::kF32:
      return "f32";
    case WeightDtype::kF16:
      return "f16";
    case WeightDtype::kBf16:
      return "bf16";
    case WeightDtype::kQ8_0:
      return "q8_0";
    case WeightDtype::kQ4_0:
      return "q4_0";
    case WeightDtype::kQ4_K:
      return "q4_k";
    case WeightDtype::kQ5_K:
      return "q5_k";
    case WeightDtype::kQ6_K:
      return "q6_k";
  }
  return "";
}

Result<Measurement> product_run(backend::CpuBackend& ops, MachineLimits& limits, const Product& product,
                                WeightDtype dtype, int num_rows, int num_runs) {
  const std::size_t bytes = backend::matrix_bytes(dtype, product.rows, product.columns);
  std::vector<Bytes> copies;  // used in turn
  do {
    copies.push_back(make_matrix(product, dtype, ops.pool()));
    if (copies.back() == nullptr) {
      return error(StatusCode::kResourceExhausted, "{}: no memory for {} bytes", product.name, bytes);
    }
  } while (copies.size() * bytes < kBeyondCaches && num_rows == 1);
  std::vector<float> x(static_cast<std::size_t>(num_rows) * product.columns, 0.5f);
  std::vector<float> y(static_cast<std::size_t>(num_rows) * product.rows);
  const bool reads = num_rows == 1;
  const double amount = reads ? static_cast<double>(bytes) : 2.0 * num_rows * product.rows * product.columns;
  std::size_t next = 0;
  Measurement result = {fmt::format("{} {}, {} rows", weights_name(dtype), product.name, num_rows),
                        reads ? "GB/s" : "Gop/s",
                        {},
                        {}};
  result.runs = rates(limits, num_runs, amount, [&] {
    const Matrix w = {copies[next++ % copies.size()].get(), dtype, product.rows, product.columns};
    ops.linear(x.data(), num_rows, {{&w, nullptr, y.data()}});
  });
  const double peak = backend::is_quantized(dtype) ? limits.int8_gops() : limits.fma_gflops();
  result.limit = {result.unit, reads ? limits.read_gbs() : peak, 1};
  return result;
}

Result<Measurement> attention_run(backend::CpuBackend& ops, MachineLimits& limits, const AttentionCase& work,
                                  int num_runs) {
  constexpr int kHeads = 32, kKvHeads = 4, kHeadDim = 64, kBlockSize = 16;
  constexpr std::size_t kTokenBytes = 2 * kKvHeads * kHeadDim * 2;
  const int shared_blocks = work.num_shared / kBlockSize;
  const int own_blocks = work.num_keys / kBlockSize - shared_blocks;
  const int num_blocks = shared_blocks + work.num_sequences * own_blocks;
  const int num_layers = static_cast<int>(kBeyondCaches / (kTokenBytes * kBlockSize * num_blocks)) + 1;
  KVASIR_ASSIGN_OR_RETURN(backend::KvPool kv, backend::KvPool::create({num_layers, kKvHeads, kHeadDim,
                                                                       kBlockSize, backend::KvDtype::kF16},
                                                                      num_blocks));
  std::vector<float> keys(static_cast<std::size_t>(num_blocks) * kBlockSize * kKvHeads * kHeadDim);
  std::mt19937 random(1);
  for (float& value : keys) value = static_cast<float>(random()) * 0x1p-31f - 1.0f;
  std::vector<std::int64_t> slots(num_blocks * kBlockSize);
  std::iota(slots.begin(), slots.end(), 0);
  for (int layer = 0; layer < num_layers; ++layer) ops.store_kv(keys.data(), keys.data(), layer, slots, kv);

  std::vector<std::vector<BlockId>> tables(work.num_sequences);
  std::vector<backend::RowRun> runs;
  int next_block = shared_blocks;
  for (std::vector<BlockId>& table : tables) {
    for (int i = 0; i < shared_blocks; ++i) table.push_back(BlockId{i});
    for (int i = 0; i < own_blocks; ++i) table.push_back(BlockId{next_block++});
    const int first_row = static_cast<int>(runs.size()) * work.num_rows;
    runs.push_back({first_row, work.num_rows, work.num_keys - work.num_rows, table});
  }
  std::vector<float> q(static_cast<std::size_t>(work.num_sequences) * work.num_rows * kHeads * kHeadDim,
                       0.5f);
  std::vector<float> out(q.size());
  backend::AttentionPlan plan;
  plan.build(runs, kv, kHeads, ops.pool().num_threads());
  const double keys_seen = work.num_sequences * work.num_rows * (work.num_keys - 0.5 * (work.num_rows - 1));
  const double read_mb = static_cast<double>(plan.num_keys_read()) * (kTokenBytes / kKvHeads) / 1e6;
  Measurement result = {fmt::format("{} ({:.1f} MB)", work.name, read_mb), "Gop/s", {}, {}};
  const backend::AttentionOptions options = {.scale = 0.125f};
  int layer = 0;
  result.runs = rates(limits, num_runs, 4 * keys_seen * kHeads * kHeadDim,
                      [&] { ops.attention(q.data(), plan, layer++ % num_layers, kv, options, out.data()); });
  result.limit = {"Gop/s", limits.fma_gflops(), 1};
  return result;
}

}  // namespace kvasir::bench
