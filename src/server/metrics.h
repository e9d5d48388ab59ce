#pragma once

// GET /metrics: what dashboards and routers of vLLM read, under vLLM's names, labels and buckets. Counters of
// the engine are as of its last step; times and outcomes of replies come in when they end. Any thread.

#include <memory>
#include <string>

#include "api/request_outcome.h"
#include "engine/engine.h"

namespace kvasir::server {

class Metrics {
 public:
  // `model_name`: the label model_name of every metric.
  explicit Metrics(std::string model_name);
  ~Metrics();

  // Counts a reply. What was aborted or failed counts in request_success_total only: its times say nothing
  // about the server. Between the first token and the last, all intervals count as their mean.
  void on_finished(const api::RequestOutcome& outcome);

  // All metrics in Prometheus's text format.
  std::string scrape(const engine::EngineStats& stats) const;

  static constexpr char kContentType[] = "text/plain; version=0.0.4; charset=utf-8";

 private:
  struct Impl;
  const std::unique_ptr<Impl> impl_;
};

}  // namespace kvasir::server
