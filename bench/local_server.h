#pragma once

// A model and its HTTP server in this process, on threads of their own, at a free port of this machine.

#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "api/api_service.h"
#include "apps/options.h"
#include "apps/served_model.h"
#include "base/clock.h"
#include "base/status.h"
#include "server/http_server.h"
#include "server/metrics.h"

namespace kvasir::bench {

class LocalServer {
 public:
  // Errors: those of loading the model and of listening.
  static Result<std::unique_ptr<LocalServer>> start(const ModelOptions& model_options,
                                                    const EngineOptions& engine_options);
  ~LocalServer();
  LocalServer(const LocalServer&) = delete;
  LocalServer& operator=(const LocalServer&) = delete;

  std::string url() const;
  int context() const { return served_.loaded.model->config().max_position_embeddings; }
  const tokenizer::Tokenizer& tokenizer() const { return *served_.tokenizer; }
  const ThreadPool& pool() const { return *served_.loaded.pool; }

  // Output tokens per second of the engine alone: all prompts at once, without HTTP, JSON and text. Blocks.
  Result<double> engine_tokens_per_s(const std::vector<std::string>& prompts, int num_tokens);

 private:
  LocalServer() = default;

  SteadyClock clock_;
  ServedModel served_;
  std::unique_ptr<engine::Engine> engine_;
  server::Metrics metrics_{"bench"};
  std::unique_ptr<api::ApiService> service_;
  std::unique_ptr<server::HttpServer> server_;
  std::thread thread_;
};

}  // namespace kvasir::bench
