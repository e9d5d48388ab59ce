// `kvasir bench model`: prefill and decode, over the number of sequences and the length of their contexts,
// against the machine's limits.

#include <fmt/format.h>

#include <algorithm>
#include <memory>
#include <string>
#include <vector>

#include "apps/loaded_model.h"
#include "backend/cpu_backend.h"
#include "bench/bench.h"
#include "bench/chart.h"
#include "bench/machine.h"
#include "bench/model_runs.h"
#include "bench/report.h"

namespace kvasir::bench {
namespace {

struct Options {
  ModelOptions model;
  std::string shape = model_shapes().front().name;
  std::vector<int> prompts = {512}, batches = {1, 4, 16}, contexts = {128, 1024, 4096};
  int num_runs = 5;
  std::string json, chart;
};

constexpr int kBatchContext = 128;  // of each sequence, where their number changes

// A curve, and what the limit allows at each of its points.
struct Sweep {
  Series measured, limit{"limit", {}, true};

  void add(double x, const Measurement& m) {
    measured.points.emplace_back(x, m.median());
    limit.points.emplace_back(x, m.limit.rate / m.limit.per_event);
  }
};

Status run(const Options& options) {
  ThreadPool pool(options.model.threads > 0 ? options.model.threads : num_physical_cores());
  KVASIR_ASSIGN_OR_RETURN(const auto ops, backend::CpuBackend::create(pool));
  MachineLimits limits(pool);
  Report report(describe_machine(pool, ops->isa()));
  std::unique_ptr<RandomModelFiles> random;
  if (options.model.model.empty()) {
    KVASIR_ASSIGN_OR_RETURN(random, RandomModelFiles::create(model_shape(options.shape), pool));
  }
  KVASIR_ASSIGN_OR_RETURN(format::ModelFiles files,
                          random ? random->open() : open_model_files(options.model.model));
  KVASIR_ASSIGN_OR_RETURN(const model::WeightDtype dtype, options.model.weight_dtype());
  KVASIR_ASSIGN_OR_RETURN(const auto runs, ModelRuns::load(files, dtype, pool, limits));

  report.section(random ? options.shape : files.name());
  for (const int num_tokens : options.prompts) {
    KVASIR_ASSIGN_OR_RETURN(Measurement m, runs->prefill(num_tokens, options.num_runs));
    report.add(std::move(m));
  }
  Sweep batches, contexts;
  for (const int num_sequences : options.batches) {
    KVASIR_ASSIGN_OR_RETURN(Measurement m, runs->decode(num_sequences, kBatchContext, options.num_runs));
    batches.add(num_sequences, m);
    report.add(std::move(m));
  }
  for (const int context : options.contexts) {
    KVASIR_ASSIGN_OR_RETURN(Measurement m, runs->decode(1, context, options.num_runs));
    contexts.add(context, m);
    report.add(std::move(m));
  }
  fmt::print("\n{}\n", limits.describe());
  if (!options.json.empty()) KVASIR_RETURN_IF_ERROR(report.write_json(options.json));
  if (options.chart.empty()) return Status();
  batches.measured.name = contexts.measured.name = runs->dtype();
  batches.limit.name = contexts.limit.name = "read bandwidth";
  const Chart charts[] = {{fmt::format("Decode after {} tokens", kBatchContext),
                           "sequences",
                           "tokens per second",
                           {batches.measured, batches.limit}},
                          {"Decode of one sequence",
                           "tokens of context",
                           "tokens per second",
                           {contexts.measured, contexts.limit}}};
  return write_file(options.chart, to_svg(charts));
}

}  // namespace

Command add_model(CLI::App& bench) {
  CLI::App* command = bench.add_subcommand(
      "model", "Prefill and decode, with random weights or a model's, against the machine's limits");
  const auto options = std::make_shared<Options>();  // shared by the flags and the command
  add_model_options(*command, options->model);
  command->get_option("--model")->description("A model as for serve; without it random weights");
  add_shape_option(*command, options->shape);
  const auto add_list = [&](const char* flag, std::vector<int>& values, const char* help) {
    command->add_option(flag, values, help)
        ->delimiter(',')
        ->check(CLI::Range(1, 1 << 20))
        ->capture_default_str();
  };
  add_list("--prompts", options->prompts, "Lengths of the prompts to compute");
  add_list("--batches", options->batches, "Numbers of sequences to decode");
  add_list("--contexts", options->contexts, "Lengths of the context to decode after");
  command->add_option("--runs", options->num_runs, "Runs, of which the median counts")
      ->check(CLI::Range(5, 1000))
      ->capture_default_str();
  command->add_option("--json", options->json, "File for the results");
  command->add_option("--chart", options->chart, "SVG file for decode over batches and contexts");
  return {command, [options] { return run(*options); }};
}

}  // namespace kvasir::bench
