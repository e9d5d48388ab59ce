// `kvasir bench serve`: load over HTTP on a server, or on one that it starts itself.

#include <fmt/core.h>

#include <cstdlib>
#include <fstream>
#include <memory>

#include "base/json.h"
#include "bench/bench.h"
#include "bench/local_server.h"
#include "bench/machine.h"
#include "bench/probe.h"
#include "bench/serve_report.h"
#include "bench/workloads.h"
#include "kernels/kernels.h"

namespace kvasir::bench {
namespace {

struct Options {
  std::string url;  // empty: a server of its own
  std::vector<std::string> workloads = {"all"};
  std::string api = "auto";
  std::string request_fields;  // a JSON object
  int num_runs = 5;
  int context = 0;  // 0: that of the model, when it is at hand
  std::uint64_t seed = 1;
  int timeout_seconds = 600;
  bool is_quick = false;
  std::string json_path;  // empty: none
  ModelOptions model;
  EngineOptions engine;
};

Result<std::vector<Workload>> find_workloads(const std::vector<std::string>& names) {
  std::vector<Workload> workloads;
  for (const std::string& name : names) {
    if (name == "all") return std::vector(std::begin(kAllWorkloads), std::end(kAllWorkloads));
    const auto workload = find_workload(name);
    if (!workload) {
      std::string known;
      for (const Workload each : kAllWorkloads) known += fmt::format("{}, ", name_of(each));
      return error(StatusCode::kInvalidArgument, "workload '{}': expected {}or all", name, known);
    }
    workloads.push_back(*workload);
  }
  return workloads;
}

CountTokens counting(const tokenizer::Tokenizer& tokenizer) {
  return [&tokenizer](const std::string& text) -> Result<int> {
    KVASIR_ASSIGN_OR_RETURN(const auto ids, tokenizer.encode(text));
    return static_cast<int>(ids.size());
  };
}

// What the load goes to.
struct Target {
  std::unique_ptr<LocalServer> local;               // null: the server is elsewhere
  std::unique_ptr<tokenizer::Tokenizer> tokenizer;  // of a server elsewhere, where its model is at hand
  LoadConfig config;
  Prompts prompts = Prompts::estimated(0, 1);
};

Result<Target> find_target(const Options& options) {
  Target target;
  LoadConfig& config = target.config;
  config.context = options.context;
  config.is_quick = options.is_quick;
  config.timeout = std::chrono::seconds(options.timeout_seconds);
  config.seed = options.seed;
  std::string url = options.url;
  if (url.empty()) {
    KVASIR_ASSIGN_OR_RETURN(target.local, LocalServer::start(options.model, options.engine));
    url = target.local->url();
    target.prompts = Prompts::counted(counting(target.local->tokenizer()));
    if (config.context == 0) config.context = target.local->context();
  } else if (!options.model.model.empty()) {
    KVASIR_ASSIGN_OR_RETURN(format::ModelFiles files, open_model_files(options.model.model));
    KVASIR_ASSIGN_OR_RETURN(target.tokenizer, load_tokenizer(files));
    target.prompts = Prompts::counted(counting(*target.tokenizer));
  }
  const bool is_counted = target.local || target.tokenizer;
  KVASIR_ASSIGN_OR_RETURN(config.url, parse_url(url));
  KVASIR_ASSIGN_OR_RETURN(config.dialect, probe_dialect(config.url, options.api, config.timeout));
  if (!options.request_fields.empty()) {
    KVASIR_ASSIGN_OR_RETURN(config.dialect.request_fields,
                            parse_json("--request-fields", options.request_fields));
    if (!config.dialect.request_fields.is_object()) {
      return error(StatusCode::kInvalidArgument, "--request-fields: expected a JSON object");
    }
  }
  if (!is_counted) {
    KVASIR_ASSIGN_OR_RETURN(target.prompts, calibrate(config.url, config.dialect, config.timeout));
  }
  return target;
}

Status write_json(const std::string& path, const nlohmann::ordered_json& json) {
  std::ofstream file(path);
  file << json.dump(2) << '\n';
  file.close();
  if (!file) return error(StatusCode::kIo, "{}: cannot be written", path);
  return Status();
}

Status run(const Options& options) {
  KVASIR_ASSIGN_OR_RETURN(const auto workloads, find_workloads(options.workloads));
  KVASIR_ASSIGN_OR_RETURN(Target target, find_target(options));
  LoadGenerator generator(target.config, std::move(target.prompts));
  ServeReport report;
  report.server = target.config.url.text() + target.config.dialect.route();
  if (target.local) {
    KVASIR_ASSIGN_OR_RETURN(const auto kernels, kernels::select_kernels(std::getenv("KVASIR_ISA")));
    report.machine = describe_machine(target.local->pool(), kernels->isa);
  }
  report.num_runs = options.num_runs;
  report.seed = options.seed;
  report.is_quick = options.is_quick;
  for (const Workload workload : workloads) {
    for (int run = 0; run < options.num_runs; ++run) {
      KVASIR_ASSIGN_OR_RETURN(const WorkloadRun result, generator.run(workload, run));
      report.add(workload, result);
      if (!target.local || workload != Workload::kStreams) continue;
      // The engine alone: prompts that it has not seen, in the same minute.
      KVASIR_ASSIGN_OR_RETURN(const auto prompts, generator.stream_prompts(-1 - run));
      KVASIR_ASSIGN_OR_RETURN(const double rate,
                              target.local->engine_tokens_per_s(prompts, generator.num_stream_tokens()));
      report.add_streams(result, rate);
    }
  }
  fmt::print("{}", report.table());
  if (options.json_path.empty()) return Status();
  return write_json(options.json_path, report.json());
}

}  // namespace

Command add_serve(CLI::App& bench) {
  CLI::App* command = bench.add_subcommand(
      "serve", "Load over HTTP on a server, this one or another: latencies, throughput, use of the cache");
  const auto options = std::make_shared<Options>();  // shared by the flags and the command
  command->add_option("--url", options->url, "The server, http://HOST:PORT; without it one is started");
  command->add_option("--workload", options->workloads, "What to run, separated by commas, or all")
      ->delimiter(',')
      ->capture_default_str();
  command->add_option("--api", options->api, "What the server understands: generate, openai, or auto")
      ->check(CLI::IsMember({"auto", "generate", "openai"}))
      ->capture_default_str();
  command->add_option("--request-fields", options->request_fields,
                      "JSON object of further fields of each request; null takes one out");
  command->add_option("--runs", options->num_runs, "Runs of each workload; medians are reported")
      ->check(CLI::Range(1, 1000))
      ->capture_default_str();
  command
      ->add_option("--context", options->context,
                   "Tokens of prompt and reply at most; default: what the model has, where it is at hand")
      ->check(CLI::NonNegativeNumber);
  command
      ->add_option("--seed", options->seed,
                   "Of the prompts; a server that has seen a seed has its prompts in its cache")
      ->capture_default_str();
  command->add_option("--timeout", options->timeout_seconds, "Seconds until a request has failed")
      ->check(CLI::PositiveNumber)
      ->capture_default_str();
  command->add_flag("--quick", options->is_quick, "A quarter of each workload: to see that it works");
  command->add_option("--json", options->json_path, "File for the results as JSON");
  add_model_options(*command, options->model);
  add_engine_options(*command, options->engine);
  return {command, [options] { return run(*options); }};
}

}  // namespace kvasir::bench
