// `kvasir bench kernels`: the matrix products of a forward pass, at TinyLlama's shapes: 512 rows against the
// machine's f32 multiply-add peak, one row against its read bandwidth; and attention of decoding
// and of chunked prefill.

#include <fmt/format.h>

#include <chrono>
#include <memory>
#include <numeric>
#include <random>
#include <vector>

#include "backend/cpu_backend.h"
#include "bench/bench.h"
#include "bench/machine.h"

namespace kvasir::bench {
namespace {

using backend::Matrix;
using backend::WeightDtype;

template <typename Work>
Times measure(MachineLimits& limits, int num_runs, const Work& work) {
  std::vector<double> seconds;
  work();  // the first one touches the memory
  for (int i = 0; i < num_runs; ++i) {
    limits.sample();
    const auto begin = std::chrono::steady_clock::now();
    work();
    seconds.push_back(std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count());
  }
  return summarize(std::move(seconds));
}

struct Product {
  const char* name;
  int rows, columns;  // of w
};

constexpr Product kProducts[] = {
    {"q, o     2048 x 2048", 2048, 2048},
    {"gate, up 5632 x 2048", 5632, 2048},
    {"down     2048 x 5632", 2048, 5632},
    {"output  32000 x 2048", 32000, 2048},
};

// Several copies of the weight, used in turn, so that no run finds it in a cache.
void bench_linear(backend::CpuBackend& ops, MachineLimits& limits, const Product& product, WeightDtype dtype,
                  int num_rows, int num_runs) {
  const std::size_t count = static_cast<std::size_t>(product.rows) * product.columns;
  const std::size_t bytes = count * element_bytes(dtype);
  const std::size_t num_copies = num_rows == 1 ? (std::size_t{256} << 20) / bytes + 1 : 1;
  std::vector<std::unique_ptr<std::byte[]>> copies;
  std::mt19937 random(1);
  std::vector<float> values(count);
  for (float& value : values) value = static_cast<float>(random()) * 0x1p-32f - 0.5f;
  for (std::size_t i = 0; i < num_copies; ++i) {
    copies.push_back(std::make_unique_for_overwrite<std::byte[]>(bytes));
    backend::convert(values.data(), WeightDtype::kF32, copies.back().get(), dtype, count, ops.pool());
  }
  std::vector<float> x(static_cast<std::size_t>(num_rows) * product.columns, 0.5f);
  std::vector<float> y(static_cast<std::size_t>(num_rows) * product.rows);
  std::size_t next = 0;
  const Times times = measure(limits, num_runs, [&] {
    const Matrix w = {copies[next++ % num_copies].get(), dtype, product.rows, product.columns};
    ops.linear(x.data(), num_rows, {{&w, nullptr, y.data()}});
  });
  const bool reads = num_rows == 1;
  const double amount = reads ? static_cast<double>(bytes) : 2.0 * static_cast<double>(count) * num_rows;
  const double rate = amount / times.median / 1e9;
  const double limit = reads ? limits.read_gbs() : limits.fma_gflops();
  fmt::print("{:<22}{:>5}{:>6}{:>12.3f}{:>12.3f}{:>10.1f} {:<8}{:>6.0f}%\n", product.name,
             dtype == WeightDtype::kF32 ? "f32" : "bf16", num_rows, times.minimum * 1e3, times.median * 1e3,
             rate, reads ? "GB/s" : "GFLOP/s", 100 * rate / limit);
}

// Sequences of a step, at TinyLlama's shape: the last `num_rows` tokens of `num_keys` of each, of which the
// first `num_shared` are in blocks that all of them have.
struct AttentionCase {
  const char* name;
  int num_sequences, num_rows, num_keys, num_shared;
};

constexpr AttentionCase kAttentionCases[] = {
    {"1 x 2,048 keys", 1, 1, 2048, 0},         {"1 x 4,096 keys", 1, 1, 4096, 0},
    {"16 x 2,064, shared", 16, 1, 2064, 2048}, {"16 x 2,064, apart", 16, 1, 2064, 0},
    {"512 of 2,048 keys", 1, 512, 2048, 0},    {"512 of 4,096 keys", 1, 512, 4096, 0},
};

// 32 heads of 64 over 4 KV heads in f16. Several layers are used in turn, so that no run finds its keys in a
// cache.
void bench_attention(backend::CpuBackend& ops, MachineLimits& limits, const AttentionCase& work,
                     int num_runs) {
  constexpr int kHeads = 32, kKvHeads = 4, kHeadDim = 64, kBlockSize = 16;
  constexpr std::size_t kTokenBytes = 2 * kKvHeads * kHeadDim * 2, kAllBytes = std::size_t{128} << 20;
  const int shared_blocks = work.num_shared / kBlockSize;
  const int own_blocks = work.num_keys / kBlockSize - shared_blocks;
  const int num_blocks = shared_blocks + work.num_sequences * own_blocks;
  const int num_layers = static_cast<int>(kAllBytes / (kTokenBytes * kBlockSize * num_blocks)) + 1;
  auto kv = backend::KvPool::create({num_layers, kKvHeads, kHeadDim, kBlockSize, backend::KvDtype::kF16},
                                    num_blocks);
  if (!kv.ok()) return;
  std::vector<float> keys(static_cast<std::size_t>(num_blocks) * kBlockSize * kKvHeads * kHeadDim);
  std::mt19937 random(1);
  for (float& value : keys) value = static_cast<float>(random()) * 0x1p-31f - 1.0f;
  std::vector<std::int64_t> slots(num_blocks * kBlockSize);
  std::iota(slots.begin(), slots.end(), 0);
  for (int layer = 0; layer < num_layers; ++layer) ops.store_kv(keys.data(), keys.data(), layer, slots, *kv);

  std::vector<std::vector<BlockId>> tables(work.num_sequences);
  std::vector<backend::RowRun> runs;
  int next_block = shared_blocks;
  for (std::vector<BlockId>& table : tables) {
    for (int i = 0; i < shared_blocks; ++i) table.push_back(BlockId{i});
    for (int i = 0; i < own_blocks; ++i) table.push_back(BlockId{next_block++});
    runs.push_back(
        {static_cast<int>(runs.size()) * work.num_rows, work.num_rows, work.num_keys - work.num_rows, table});
  }
  std::vector<float> q(static_cast<std::size_t>(work.num_sequences) * work.num_rows * kHeads * kHeadDim,
                       0.5f);
  std::vector<float> out(q.size());
  backend::AttentionPlan plan;
  plan.build(runs, *kv, kHeads, ops.pool().num_threads());
  int layer = 0;
  const Times times = measure(limits, num_runs,
                              [&] { ops.attention(q.data(), plan, layer++ % num_layers, *kv, out.data()); });
  const double keys_seen = work.num_sequences * work.num_rows * (work.num_keys - 0.5 * (work.num_rows - 1));
  const double gflops = 4 * keys_seen * kHeads * kHeadDim / times.median / 1e9;
  const double read_mb = static_cast<double>(plan.num_keys_read()) * (kTokenBytes / kKvHeads) / 1e6;
  fmt::print("{:<22}{:>5}{:>6}{:>12.3f}{:>12.3f}{:>10.1f} {:<8}{:>6.0f}%{:>10.1f} MB read\n", work.name,
             "f16", work.num_sequences * work.num_rows, times.minimum * 1e3, times.median * 1e3, gflops,
             "GFLOP/s", 100 * gflops / limits.fma_gflops(), read_mb);
}

Status run(int num_threads) {
  ThreadPool pool(num_threads);
  KVASIR_ASSIGN_OR_RETURN(const auto ops, backend::CpuBackend::create(pool));
  MachineLimits limits(pool);
  fmt::print("{}\n\n{:<22}{:>5}{:>6}{:>12}{:>12}{:>10} {:<8}{:>7}\n", describe_machine(pool, ops->isa()), "",
             "type", "rows", "min ms", "median ms", "rate", "", "limit");
  for (const int num_rows : {512, 1}) {
    for (const Product& product : kProducts) {
      for (const WeightDtype dtype : {WeightDtype::kF32, WeightDtype::kBf16}) {
        bench_linear(*ops, limits, product, dtype, num_rows, num_rows == 1 ? 15 : 5);
      }
    }
  }
  fmt::print("attention\n");
  for (const AttentionCase& work : kAttentionCases) bench_attention(*ops, limits, work, 9);
  fmt::print("\nlimits: {:.0f} GFLOP/s of f32 multiply-adds, {:.1f} GB/s of reads\n", limits.fma_gflops(),
             limits.read_gbs());
  return Status();
}

}  // namespace

Command add_kernels(CLI::App& bench) {
  CLI::App* command =
      bench.add_subcommand("kernels", "Matrix products and attention against the machine's limits");
  const auto num_threads = std::make_shared<int>(num_physical_cores());  // shared by the flag and the command
  command->add_option("--threads", *num_threads, "Threads")
      ->check(CLI::Range(1, 1024))
      ->capture_default_str();
  return {command, [num_threads] { return run(*num_threads); }};
}

}  // namespace kvasir::bench
