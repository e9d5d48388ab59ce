// `kvasir bench kernels`: the matrix products of a forward pass and its attention, at TinyLlama's shapes:
// many rows against the machine's multiply-add peak, one row against its read bandwidth.

#include <fmt/format.h>

#include <algorithm>
#include <memory>
#include <string>
#include <vector>

#include "bench/bench.h"
#include "bench/kernel_runs.h"

namespace kvasir::bench {
namespace {

using backend::WeightDtype;

constexpr Product kProducts[] = {
    {"q, o 2048 x 2048", 2048, 2048},
    {"gate, up 5632 x 2048", 5632, 2048},
    {"down 2048 x 5632", 2048, 5632},
    {"output 32000 x 2048", 32000, 2048},
};

constexpr WeightDtype kDtypes[] = {WeightDtype::kF32,  WeightDtype::kBf16, WeightDtype::kQ8_0,
                                   WeightDtype::kQ4_0, WeightDtype::kQ4_K, WeightDtype::kQ5_K,
                                   WeightDtype::kQ6_K};

constexpr AttentionCase kAttentionCases[] = {
    {"attention, 1 x 2,048 keys", 1, 1, 2048, 0},
    {"attention, 1 x 4,096 keys", 1, 1, 4096, 0},
    kSharedPrefix,
    kCopiedPrefix,
    {"attention, 512 of 2,048 keys", 1, 512, 2048, 0},
    {"attention, 512 of 4,096 keys", 1, 512, 4096, 0},
};

std::vector<std::string> all_weights() {
  std::vector<std::string> names;
  for (const WeightDtype dtype : kDtypes) names.emplace_back(weights_name(dtype));
  return names;
}

struct Options {
  std::vector<std::string> weights = all_weights();
  int num_threads = num_physical_cores();
  bool only_attention = false;
  std::string json;
};

Status run(const Options& options) {
  ThreadPool pool(options.num_threads);
  KVASIR_ASSIGN_OR_RETURN(const auto ops, backend::CpuBackend::create(pool));
  MachineLimits limits(pool);
  Report report(describe_machine(pool, ops->isa()));
  for (const int num_rows : {512, 1}) {
    if (options.only_attention) break;
    report.section(num_rows == 1 ? "one row, against reading" : "many rows, against multiply-adds");
    for (const Product& product : kProducts) {
      for (const WeightDtype dtype : kDtypes) {
        if (std::count(options.weights.begin(), options.weights.end(), weights_name(dtype)) == 0) continue;
        const int num_runs = num_rows == 1 ? 15 : 5;
        KVASIR_ASSIGN_OR_RETURN(Measurement m, product_run(*ops, limits, product, dtype, num_rows, num_runs));
        report.add(std::move(m));
      }
    }
  }
  report.section("attention (bytes read)");
  for (const AttentionCase& work : kAttentionCases) {
    KVASIR_ASSIGN_OR_RETURN(Measurement m, attention_run(*ops, limits, work, 9));
    report.add(std::move(m));
  }
  fmt::print("\n{}\n", limits.describe());
  return options.json.empty() ? Status() : report.write_json(options.json);
}

}  // namespace

Command add_kernels(CLI::App& bench) {
  CLI::App* command =
      bench.add_subcommand("kernels", "Matrix products and attention against the machine's limits");
  const auto options = std::make_shared<Options>();  // shared by the flags and the command
  command->add_option("--threads", options->num_threads, "Threads")
      ->check(CLI::Range(1, 1024))
      ->capture_default_str();
  command->add_option("--weights", options->weights, "Types of the products' weights")
      ->delimiter(',')
      ->check(CLI::IsMember(all_weights()))
      ->capture_default_str();
  command->add_flag("--attention", options->only_attention, "Only attention");
  command->add_option("--json", options->json, "File for the results");
  return {command, [options] { return run(*options); }};
}

}  // namespace kvasir::bench
