// `kvasir bench`: the numbers that Kvasir means to reach, each beside the machine's limit.

#include <fmt/format.h>

#include <algorithm>
#include <cstdio>
#include <string>
#include <utility>

#include "apps/loaded_model.h"
#include "backend/cpu_backend.h"
#include "bench/bench.h"
#include "bench/engine_runs.h"
#include "bench/kernel_runs.h"
#include "bench/local_server.h"
#include "bench/machine.h"
#include "bench/model_runs.h"
#include "bench/report.h"
#include "bench/workloads.h"

namespace kvasir::bench {
namespace {

constexpr int kNumRuns = 5;

// The table, a line as soon as it is measured.
class Targets {
 public:
  void print_head() const {
    fmt::print("\n{:<44}{:<28}{:>18}{:>26}\n", "work", "target", "measured", "limit");
  }
  // At least this share of the machine's limit.
  void share(const char* work, const Measurement& m, double least) {
    line(work, fmt::format("at least {:.0f}% of the limit", 100 * least),
         fmt::format("{:.0f}%", 100 * m.share()),
         fmt::format("{:.4g} of {:.4g} {}", m.median() * m.limit.per_event, m.limit.rate, m.limit.unit),
         m.share() >= least, m.spread());
  }
  // At least this multiple of another one's rate.
  void ratio(const char* work, const char* target, const Measurement& m, const Measurement& to,
             double least) {
    const double ratio = m.median() / to.median();
    line(work, target, fmt::format("{:.2f}x", ratio),
         fmt::format("{:.4g} against {:.4g} {}", m.median(), to.median(), m.unit), ratio >= least,
         std::max(m.spread(), to.spread()));
  }
  // Below a bound.
  void below(const char* work, const Measurement& m, double bound) {
    line(work, fmt::format("below {:g} {}", bound, m.unit), fmt::format("{:.1f} {}", m.median(), m.unit), "",
         m.median() < bound, m.spread());
  }
  int num_missed() const { return num_missed_; }

 private:
  void line(const char* work, const std::string& target, const std::string& measured,
            const std::string& limit, bool is_reached, double spread) {
    num_missed_ += is_reached ? 0 : 1;
    fmt::print("{:<44}{:<28}{:>18}{:>26}  {}", work, target, measured, limit,
               is_reached ? "reached" : "MISSED");
    if (spread > kLargeSpread) fmt::print("  spread {:.0f}%", 100 * spread);
    fmt::print("\n");
    std::fflush(stdout);
  }

  int num_missed_ = 0;
};

Status measure_model(const RandomModelFiles& random, ThreadPool& pool, MachineLimits& limits,
                     Targets& targets) {
  {
    format::ModelFiles files = random.open();
    KVASIR_ASSIGN_OR_RETURN(const auto q8, ModelRuns::load(files, model::WeightDtype::kQ8_0, pool, limits));
    KVASIR_ASSIGN_OR_RETURN(const Measurement prefill, q8->prefill(512, kNumRuns));
    targets.share("q8_0 prefill, 512 tokens", prefill, 0.50);
    KVASIR_ASSIGN_OR_RETURN(const Measurement one, q8->decode(1, 128, 2 * kNumRuns + 1));
    targets.share("q8_0 decode, one sequence", one, 0.85);
    KVASIR_ASSIGN_OR_RETURN(const Measurement sixteen, q8->decode(16, 128, kNumRuns));
    targets.ratio("q8_0 decode, 16 sequences", "at least 8x of one", sixteen, one, 8);
    KVASIR_ASSIGN_OR_RETURN(const Measurement late, q8->decode(1, 4096, 2 * kNumRuns + 1));
    targets.ratio("q8_0 decode after 4,096 tokens", "at least 75% of after 128", late, one, 0.75);
  }
  format::ModelFiles files = random.open();
  KVASIR_ASSIGN_OR_RETURN(const auto q4, ModelRuns::load(files, model::WeightDtype::kQ4_0, pool, limits));
  KVASIR_ASSIGN_OR_RETURN(const Measurement prefill, q4->prefill(512, kNumRuns));
  targets.share("q4_0 prefill, 512 tokens", prefill, 0.45);
  KVASIR_ASSIGN_OR_RETURN(const Measurement one, q4->decode(1, 128, 2 * kNumRuns + 1));
  targets.share("q4_0 decode, one sequence", one, 0.70);
  return Status();
}

Status measure_attention(backend::CpuBackend& ops, MachineLimits& limits, Targets& targets) {
  KVASIR_ASSIGN_OR_RETURN(const Measurement shared,
                          attention_run(ops, limits, kSharedPrefix, 4 * kNumRuns - 1));
  targets.share("attention, 16 over a prefix of 2,048", shared, 0.50);
  KVASIR_ASSIGN_OR_RETURN(const Measurement apart,
                          attention_run(ops, limits, kCopiedPrefix, 4 * kNumRuns - 1));
  targets.ratio("  the same against 16 copies of it", "at least 1x", shared, apart, 1);
  return Status();
}

// HTTP and the engine alone in turn, so that both see the same machine.
Status measure_http(Targets& targets) {
  KVASIR_ASSIGN_OR_RETURN(const auto server, LocalServer::start({}, {}));
  LoadConfig config;
  config.context = server->context();
  KVASIR_ASSIGN_OR_RETURN(config.url, parse_url(server->url()));
  LoadGenerator generator(config, Prompts::counted([&](const std::string& text) -> Result<int> {
                            KVASIR_ASSIGN_OR_RETURN(const auto ids, server->tokenizer().encode(text));
                            return static_cast<int>(ids.size());
                          }));
  Measurement http = {"", "tokens/s", {}, {}}, engine = http;
  for (int run = 0; run < kNumRuns; ++run) {
    KVASIR_ASSIGN_OR_RETURN(const WorkloadRun result, generator.run(Workload::kStreams, run));
    int num_tokens = 0;
    for (const Completion& completion : result.phases.front().completions) {
      num_tokens += completion.num_output_tokens;
    }
    http.runs.push_back(num_tokens / result.seconds);
    KVASIR_ASSIGN_OR_RETURN(const auto prompts, generator.stream_prompts(-1 - run));
    KVASIR_ASSIGN_OR_RETURN(const double rate,
                            server->engine_tokens_per_s(prompts, generator.num_stream_tokens()));
    engine.runs.push_back(rate);
  }
  targets.ratio("64 streams over HTTP", "at least 70% of the engine", http, engine, 0.70);
  return Status();
}

}  // namespace

Status run_targets() {
  ThreadPool pool(num_physical_cores());
  KVASIR_ASSIGN_OR_RETURN(const auto ops, backend::CpuBackend::create(pool));
  MachineLimits limits(pool);
  fmt::print("{}\n", describe_machine(pool, ops->isa()));
  Targets targets;
  targets.print_head();
  {
    KVASIR_ASSIGN_OR_RETURN(const auto random, RandomModelFiles::create(model_shape("tinyllama"), pool));
    KVASIR_RETURN_IF_ERROR(measure_model(*random, pool, limits, targets));
  }
  KVASIR_RETURN_IF_ERROR(measure_attention(*ops, limits, targets));
  KVASIR_ASSIGN_OR_RETURN(const LoadedModel embedded, load_model(ModelOptions{}));
  KVASIR_ASSIGN_OR_RETURN(const Measurement overhead, engine_overhead(*embedded.model, 16, 2 * kNumRuns - 1));
  targets.below("engine's part of a step, 16 sequences", overhead, 50);
  KVASIR_RETURN_IF_ERROR(measure_http(targets));
  fmt::print("\n{}\n{}\n", limits.describe(),
             targets.num_missed() == 0 ? "all reached" : fmt::format("{} missed", targets.num_missed()));
  return Status();
}

}  // namespace kvasir::bench
