// `kvasir bench model`: a model of random weights, made in memory: prefill of 512 tokens against the
// machine's f32 multiply-add peak, decode of one token against its read bandwidth.

#include <fmt/format.h>

#include <chrono>
#include <cstdlib>
#include <memory>
#include <string>
#include <vector>

#include "bench/bench.h"
#include "bench/machine.h"
#include "bench/random_model.h"
#include "kernels/kernels.h"
#include "model/model.h"

namespace kvasir::bench {
namespace {

struct Options {
  std::string shape = model_shapes().front().name, dtype = "bf16";
  int num_tokens = 512, num_threads = num_physical_cores(), num_runs = 5;
};

// Weights that a token is multiplied with in the layers, and in the output matrix.
std::pair<double, double> num_multiplied(const model::ModelConfig& config) {
  const double q = 1.0 * config.num_heads * config.head_dim, kv = 1.0 * config.num_kv_heads * config.head_dim;
  const double layer = config.hidden_size * (2 * q + 2 * kv + 3.0 * config.intermediate_size);
  return {layer * config.num_layers, 1.0 * config.vocab_size * config.hidden_size};
}

Status run(const Options& options) {
  ThreadPool pool(options.num_threads);
  KVASIR_ASSIGN_OR_RETURN(const auto kernels, kernels::select_kernels(std::getenv("KVASIR_ISA")));
  fmt::print("{}\n", describe_machine(pool, kernels->isa));
  const RandomModel random(model_shape(options.shape),
                           options.dtype == "f32"   ? backend::WeightDtype::kF32
                           : options.dtype == "f16" ? backend::WeightDtype::kF16
                                                    : backend::WeightDtype::kBf16,
                           1);
  const std::string config = random.config();
  std::vector<std::byte> weights;
  weights.reserve(random.weights_bytes());
  KVASIR_RETURN_IF_ERROR(random.write_weights(pool, [&](std::span<const std::byte> bytes) {
    weights.insert(weights.end(), bytes.begin(), bytes.end());
    return Status();
  }));
  const format::ModelFiles::MemoryFile files_in_memory[] = {{"config.json", std::as_bytes(std::span(config))},
                                                            {"model.safetensors", weights}};
  format::ModelFiles files = format::ModelFiles::from_memory("random", files_in_memory);
  KVASIR_ASSIGN_OR_RETURN(const auto loaded, model::Model::load(files, {model::WeightDtype::kAuto}, pool));
  model::Model& model = *loaded;
  const auto [layer_weights, output_weights] = num_multiplied(model.config());
  fmt::print("{}: {:.0f}M weights in {}, {} MB\n", options.shape,
             static_cast<double>(random.num_weights()) / 1e6, options.dtype, weights.size() >> 20);

  constexpr int kNumDecoded = 16;
  const int n = options.num_tokens;
  KVASIR_ASSIGN_OR_RETURN(
      backend::KvPool kv,
      backend::KvPool::create(model.kv_layout(16, backend::KvDtype::kF16), (n + kNumDecoded) / 16 + 1));
  std::vector<BlockId> blocks;
  for (int i = 0; i < kv.num_blocks(); ++i) blocks.push_back(BlockId{i});
  std::vector<TokenId> tokens;
  for (int i = 0; i < n + kNumDecoded; ++i) tokens.push_back(i * 7919 % model.config().vocab_size);
  const auto seconds_of = [&](int from, int count) {
    const model::SequenceSlice slice = {std::span<const TokenId>(tokens).subspan(from, count), from, blocks,
                                        true};
    const auto start = std::chrono::steady_clock::now();
    model.forward({&slice, 1}, kv);
    return std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
  };
  std::vector<double> prefill, decode;
  seconds_of(0, n);  // grows the buffers
  MachineLimits limits(pool);
  for (int i = 0; i < options.num_runs; ++i) {
    limits.sample();
    prefill.push_back(seconds_of(0, n));
    for (int j = 0; j < kNumDecoded; ++j) decode.push_back(seconds_of(n + j, 1));
  }

  // Attention: q k and p v over the keys before each query, in every head.
  const double prefill_gflop = 2e-9 * (layer_weights * n + output_weights +
                                       1.0 * n * n * model.config().hidden_size * model.config().num_layers);
  const double element_bytes = options.dtype == "f32" ? 4 : 2;
  const double decode_gb = 1e-9 * ((layer_weights + output_weights) * element_bytes +
                                   1.0 * n / 16 * static_cast<double>(kv.layout().block_bytes()));
  fmt::print("limits: {:.1f} GFLOP/s f32, {:.1f} GB/s read\n", limits.fma_gflops(), limits.read_gbs());
  const auto report = [](std::string_view what, int num_tokens, const Times& times, double work,
                         std::string_view unit, double limit) {
    fmt::print(
        "{}: min {:.2f} ms, median {:.2f} ms; at the minimum {:.1f} tokens/s, {:.1f} {}, {:.1f}% of the "
        "limit\n",
        what, times.minimum * 1e3, times.median * 1e3, num_tokens / times.minimum, work / times.minimum, unit,
        100 * work / times.minimum / limit);
  };
  report(fmt::format("prefill of {} tokens", n), n, summarize(prefill), prefill_gflop, "GFLOP/s",
         limits.fma_gflops());
  report(fmt::format("decode of 1 token after {}", n), 1, summarize(decode), decode_gb, "GB/s",
         limits.read_gbs());
  return Status();
}

}  // namespace

Command add_model(CLI::App& bench) {
  CLI::App* command =
      bench.add_subcommand("model", "Prefill and decode with random weights against the machine's limits");
  const auto options = std::make_shared<Options>();  // shared by the flags and the command
  add_shape_option(*command, options->shape);
  command->add_option("--dtype", options->dtype, "Type of the weights")
      ->capture_default_str()
      ->check(CLI::IsMember({"f32", "f16", "bf16"}));
  command->add_option("--tokens", options->num_tokens, "Length of the prefill")
      ->capture_default_str()
      ->check(CLI::Range(1, 8000));
  command->add_option("--threads", options->num_threads, "Threads")
      ->capture_default_str()
      ->check(CLI::Range(1, 1024));
  command->add_option("--runs", options->num_runs, "Runs, of which the median counts")
      ->capture_default_str()
      ->check(CLI::PositiveNumber);
  return {command, [options] { return run(*options); }};
}

}  // namespace kvasir::bench
