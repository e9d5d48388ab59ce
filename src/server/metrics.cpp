#include "server/metrics.h"

#include <prometheus/counter.h>
#include <prometheus/histogram.h>
#include <prometheus/registry.h>
#include <prometheus/text_serializer.h>

#include <algorithm>
#include <array>
#include <sstream>
#include <utility>
#include <vector>

namespace kvasir::server {
namespace {

using api::RequestOutcome;
using prometheus::Histogram;
using prometheus::MetricType;

// vLLM's, in seconds.
const Histogram::BucketBoundaries kFirstTokenBuckets = {0.001, 0.005, 0.01, 0.02, 0.04, 0.06, 0.08, 0.1,
                                                        0.25,  0.5,   0.75, 1,    2.5,  5,    7.5,  10,
                                                        20,    40,    80,   160,  640,  2560};
const Histogram::BucketBoundaries kTokenBuckets = {0.01, 0.025, 0.05, 0.075, 0.1, 0.15, 0.2, 0.3, 0.4, 0.5,
                                                   0.75, 1,     2.5,  5,     7.5, 10,   20,  40,  80};
const Histogram::BucketBoundaries kRequestBuckets = {0.3, 0.5, 0.8, 1,  1.5, 2,   2.5, 5,   10,   15,  20,
                                                     30,  40,  50,  60, 120, 240, 480, 960, 1920, 7680};

// As vLLM spells them, by RequestOutcome::Reason.
constexpr std::array<const char*, 4> kReasons = {"stop", "length", "abort", "error"};

// `count` times the same value.
void observe(Histogram& histogram, const Histogram::BucketBoundaries& buckets, double value, int count) {
  std::vector<double> increments(buckets.size() + 1);
  const auto bucket = std::lower_bound(buckets.begin(), buckets.end(), value) - buckets.begin();
  increments[static_cast<std::size_t>(bucket)] = count;
  histogram.ObserveMultiple(increments, value * count);
}

prometheus::MetricFamily family(const char* name, const char* help, MetricType type, double value,
                                const std::string& model_name) {
  prometheus::ClientMetric metric;
  metric.label = {{"model_name", model_name}};
  (type == MetricType::Counter ? metric.counter.value : metric.gauge.value) = value;
  return {name, help, type, {std::move(metric)}};
}

}  // namespace

struct Metrics::Impl {
  explicit Impl(std::string name) : model_name(std::move(name)) {
    auto& outcomes = prometheus::BuildCounter()
                         .Name("vllm:request_success_total")
                         .Help("Replies that have ended, by how they did.")
                         .Register(registry);
    for (std::size_t i = 0; i < kReasons.size(); ++i) {
      ended[i] = &outcomes.Add({{"model_name", model_name}, {"finished_reason", kReasons[i]}});
    }
  }

  Histogram& histogram(const char* metric, const char* help, const Histogram::BucketBoundaries& buckets) {
    return prometheus::BuildHistogram().Name(metric).Help(help).Register(registry).Add(
        {{"model_name", model_name}}, buckets);
  }

  const std::string model_name;
  prometheus::Registry registry;
  std::array<prometheus::Counter*, kReasons.size()> ended{};  // by RequestOutcome::Reason
  Histogram& first_token =
      histogram("vllm:time_to_first_token_seconds", "From the engine's taking a request to its first token.",
                kFirstTokenBuckets);
  Histogram& token =
      histogram("vllm:inter_token_latency_seconds", "From one token of a reply to the next.", kTokenBuckets);
  Histogram& total = histogram("vllm:e2e_request_latency_seconds",
                               "From a request's arrival to the end of its reply.", kRequestBuckets);
  Histogram& queue =
      histogram("vllm:request_queue_time_seconds", "Waiting to be scheduled.", kRequestBuckets);
  Histogram& prefill =
      histogram("vllm:request_prefill_time_seconds", "Computing the prompt.", kRequestBuckets);
  Histogram& decode =
      histogram("vllm:request_decode_time_seconds", "From the first token to the last.", kRequestBuckets);
};

Metrics::Metrics(std::string model_name) : impl_(std::make_unique<Impl>(std::move(model_name))) {}
Metrics::~Metrics() = default;

void Metrics::on_finished(const RequestOutcome& outcome) {
  impl_->ended[static_cast<std::size_t>(outcome.reason)]->Increment();
  if (outcome.reason != RequestOutcome::Reason::kStop && outcome.reason != RequestOutcome::Reason::kLength) {
    return;
  }
  const auto seconds = [](double ms) { return ms / 1000; };
  const engine::RequestTimings& timings = outcome.timings;
  impl_->total.Observe(seconds(outcome.total_ms));
  impl_->queue.Observe(seconds(timings.queue_ms));
  impl_->prefill.Observe(seconds(timings.prefill_ms));
  impl_->decode.Observe(seconds(timings.decode_ms));
  if (outcome.num_generated_tokens == 0) return;
  impl_->first_token.Observe(seconds(timings.queue_ms + timings.cache_lookup_ms + timings.prefill_ms));
  const int num_intervals = outcome.num_generated_tokens - 1;
  if (num_intervals == 0) return;
  observe(impl_->token, kTokenBuckets, seconds(timings.decode_ms) / num_intervals, num_intervals);
}

std::string Metrics::scrape(const engine::EngineStats& stats) const {
  std::vector<prometheus::MetricFamily> families;
  const auto gauge = [&](const char* name, const char* help, double value) {
    families.push_back(family(name, help, MetricType::Gauge, value, impl_->model_name));
  };
  const auto counter = [&](const char* name, const char* help, std::int64_t value) {
    families.push_back(
        family(name, help, MetricType::Counter, static_cast<double>(value), impl_->model_name));
  };
  gauge("vllm:num_requests_running", "Replies that are being computed.",
        static_cast<double>(stats.requests_running));
  gauge("vllm:num_requests_waiting", "Replies that wait to be scheduled.",
        static_cast<double>(stats.requests_waiting));
  gauge("vllm:kv_cache_usage_perc", "The part of the KV blocks that running replies use, 0 to 1.",
        stats.kv_cache_usage);
  counter("vllm:num_preemptions_total", "Replies that gave way to others for want of memory.",
          stats.preemptions);
  counter("vllm:prefix_cache_queries_total", "Prompt tokens looked up in the prefix cache.",
          stats.prefix_cache_queries);
  counter("vllm:prefix_cache_hits_total", "Prompt tokens found in the prefix cache.",
          stats.prefix_cache_hits);
  counter("vllm:prompt_tokens_total", "Tokens of prompts.", stats.prompt_tokens);
  counter("vllm:generation_tokens_total", "Tokens of replies.", stats.generated_tokens);
  for (prometheus::MetricFamily& each : impl_->registry.Collect()) families.push_back(std::move(each));
  std::ostringstream out;
  prometheus::TextSerializer().Serialize(out, families);
  return out.str();
}

}  // namespace kvasir::server
