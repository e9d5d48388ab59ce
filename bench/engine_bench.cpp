// `kvasir bench engine`: what the engine adds to the model.

#include <fmt/format.h>

#include <latch>
#include <memory>
#include <utility>
#include <vector>

#include "apps/loaded_model.h"
#include "backend/cpu_backend.h"
#include "base/channel.h"
#include "bench/bench.h"
#include "bench/engine_runs.h"
#include "bench/machine.h"
#include "engine/engine.h"

namespace kvasir::bench {
namespace {

constexpr int kPromptTokens = 64, kNewTokens = 128;

struct Load {
  double seconds = 0;                     // of all requests
  engine::EngineStats decode_begin, end;  // while all sequences decode
};

// Equal requests at once. Their events go into a channel as the API's do, but nobody is woken: on a machine
// whose cores all compute, a reader that runs would be measured as a slow engine.
Result<Load> run_load(model::Model& model, int num_sequences) {
  const SteadyClock clock;
  engine::EngineConfig config;
  config.kv_cache_memory = std::size_t{1} << 30;
  Load load;
  int num_tokens = 0;  // of the first request; it and `load` are the engine's thread's until the latch opens
  std::latch num_running(num_sequences);
  Channel<engine::TokenEvent> events(static_cast<std::size_t>(num_sequences) * (kNewTokens + 1));
  KVASIR_ASSIGN_OR_RETURN(const auto engine, engine::Engine::start(model, config, clock));
  const TimePoint begin = clock.now();
  for (int i = 0; i < num_sequences; ++i) {
    engine::Request request;
    for (int j = 0; j < kPromptTokens; ++j) {
      request.prompt.push_back((i * 7919 + j * 104729) % model.config().vocab_size);
    }
    request.max_new_tokens = kNewTokens;
    const auto id = engine->submit(std::move(request), [&, i](engine::TokenEvent event) {
      const bool is_token = event.token.has_value(), is_last = event.finish.has_value();
      events.try_send(event);
      if (i == 0 && is_token) {
        ++num_tokens;
        // It has all prompts behind it by then, and is the first to end.
        if (num_tokens == kNewTokens / 4) load.decode_begin = engine->stats();
        if (num_tokens == kNewTokens - 4) load.end = engine->stats();
      }
      if (is_last) num_running.count_down();
    });
    KVASIR_RETURN_IF_ERROR(id.status());
  }
  num_running.wait();
  load.seconds = elapsed_ms(begin, clock.now()) / 1000;
  return load;
}

Status run(const ModelOptions& options) {
  KVASIR_ASSIGN_OR_RETURN(const LoadedModel loaded, load_model(options));
  KVASIR_ASSIGN_OR_RETURN(const auto ops, backend::CpuBackend::create(*loaded.pool));
  Report report(describe_machine(*loaded.pool, ops->isa()));
  report.section(loaded.files->name());
  for (const int num_sequences : {1, 16, 64}) {
    KVASIR_ASSIGN_OR_RETURN(Measurement m, engine_overhead(*loaded.model, num_sequences, 9));
    report.add(std::move(m));
  }
  for (const int num_sequences : {1, 16, 64}) {
    KVASIR_ASSIGN_OR_RETURN(Measurement m, engine_throughput(*loaded.model, num_sequences, 9));
    report.add(std::move(m));
  }
  return Status();
}

}  // namespace

Result<Measurement> engine_overhead(model::Model& model, int num_sequences, int num_runs) {
  Measurement result = {fmt::format("engine's part of a step of {}", num_sequences), "us", {}, {}};
  for (int i = 0; i < num_runs; ++i) {
    KVASIR_ASSIGN_OR_RETURN(const Load load, run_load(model, num_sequences));
    const double ms = load.end.overhead_ms - load.decode_begin.overhead_ms;
    result.runs.push_back(1000 * ms / static_cast<double>(load.end.steps - load.decode_begin.steps));
  }
  return result;
}

Result<Measurement> engine_throughput(model::Model& model, int num_sequences, int num_runs) {
  Measurement result = {fmt::format("engine, {} concurrent requests", num_sequences), "tokens/s", {}, {}};
  for (int i = 0; i < num_runs; ++i) {
    KVASIR_ASSIGN_OR_RETURN(const Load load, run_load(model, num_sequences));
    result.runs.push_back(num_sequences * kNewTokens / load.seconds);
  }
  return result;
}

Command add_engine(CLI::App& bench) {
  CLI::App* command =
      bench.add_subcommand("engine", "What the engine adds to the model: time of a step, tokens per second");
  const auto options = std::make_shared<ModelOptions>();  // shared by the flags and the command
  add_model_options(*command, *options);
  return {command, [options] { return run(*options); }};
}

}  // namespace kvasir::bench
