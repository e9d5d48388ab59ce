#include "bench/local_server.h"

#include <fmt/core.h>

#include <atomic>
#include <latch>
#include <utility>

#include "apps/memory_plan.h"

namespace kvasir::bench {

Result<std::unique_ptr<LocalServer>> LocalServer::start(const ModelOptions& model_options,
                                                        const EngineOptions& engine_options) {
  KVASIR_ASSIGN_OR_RETURN(engine::EngineConfig config, engine_options.engine_config());
  std::unique_ptr<LocalServer> local(new LocalServer());
  KVASIR_ASSIGN_OR_RETURN(local->served_, load_served_model(model_options, {}, planning(config)));
  KVASIR_ASSIGN_OR_RETURN(local->engine_,
                          engine::Engine::start(*local->served_.loaded.model, config, local->clock_));
  local->service_ = std::make_unique<api::ApiService>(local->served_.parts(*local->engine_, local->clock_));
  server::HttpConfig http_config;
  http_config.port = 0;
  KVASIR_ASSIGN_OR_RETURN(local->server_, server::HttpServer::listen(http_config));
  local->server_->set_service(*local->service_, local->metrics_);
  local->thread_ = std::thread([server = local->server_.get()] { server->run(); });
  return local;
}

LocalServer::~LocalServer() {
  if (!thread_.joinable()) return;
  server_->stop();
  thread_.join();
}

std::string LocalServer::url() const {
  return fmt::format("http://127.0.0.1:{}", server_->port());
}

Result<double> LocalServer::engine_tokens_per_s(const std::vector<std::string>& prompts, int num_tokens) {
  std::vector<engine::Request> requests;
  for (const std::string& prompt : prompts) {
    engine::Request& request = requests.emplace_back();
    KVASIR_ASSIGN_OR_RETURN(request.prompt, served_.tokenizer->encode(prompt));
    request.max_new_tokens = num_tokens;
  }
  std::atomic<int> num_output_tokens{0};
  std::latch ended(static_cast<std::ptrdiff_t>(requests.size()));
  const TimePoint begin = clock_.now();
  Status outcome;
  for (engine::Request& request : requests) {
    const auto id = engine_->submit(std::move(request), [&](const engine::TokenEvent& event) {
      if (event.token) ++num_output_tokens;
      if (event.finish) ended.count_down();
    });
    if (id.ok()) continue;
    outcome = id.status();
    ended.count_down();
  }
  ended.wait();
  KVASIR_RETURN_IF_ERROR(outcome);
  return num_output_tokens * 1000.0 / elapsed_ms(begin, clock_.now());
}

}  // namespace kvasir::bench
