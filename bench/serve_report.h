#pragma once

// What the runs of the workloads come to: for each phase of a workload the medians of its runs, as a table
// and as JSON.

#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <vector>

#include "bench/workloads.h"

namespace kvasir::bench {

// One phase in one run. Latencies are those that the client saw; what the server did not say is missing.
struct PhaseMetrics {
  std::optional<double> requests, seconds;
  std::optional<double> ttft_p50_ms, ttft_p95_ms, ttft_p99_ms;
  // Between two tokens of a reply: tokens that come together have 0 between them.
  std::optional<double> inter_token_mean_ms, inter_token_p50_ms, inter_token_p95_ms, inter_token_p99_ms,
      inter_token_max_ms;
  std::optional<double> requests_per_s, output_tokens_per_s;
  std::optional<double> output_tokens, prompt_tokens, cached_tokens, computed_tokens;
};

// Requires: at least one completion.
PhaseMetrics measure(const Phase& phase);

// Each metric's median, and how far the runs lie apart.
struct PhaseReport {
  Workload workload;
  std::string phase;
  std::vector<PhaseMetrics> runs;

  PhaseMetrics median() const;
  // (largest - smallest) / median of the runs: of the time to the first token (p50) or of the output tokens
  // per second, whichever is larger.
  double spread() const;
};

struct ServeReport {
  std::string server;   // address and dialect
  std::string machine;  // of the client
  int num_runs = 0;
  std::uint64_t seed = 0;
  bool is_quick = false;
  std::vector<PhaseReport> phases;
  // Output tokens per second of the `streams` workload: over HTTP, and of the engine alone.
  std::vector<double> http_tokens_per_s, engine_tokens_per_s;

  void add(Workload workload, const WorkloadRun& run);
  // A run of `streams`, and the engine's own rate beside it.
  void add_streams(const WorkloadRun& run, double engine_rate);

  std::string table() const;
  nlohmann::ordered_json json() const;
};

}  // namespace kvasir::bench
