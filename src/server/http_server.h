#pragma once

// HTTP/1.1 over Boost.Beast: listens, accepts, drains. What happens on a connection is in connection.h.
// Connections are coroutines on two threads; each stays on its strand.
//
// It listens before the model is loaded: until set_service() every route but /health/live answers 503.
//
// The first SIGTERM or SIGINT drains: no new connections, requests in progress are finished (for
// drain_timeout at most), run() returns. The second one ends the process at once.

#include <memory>

#include "base/status.h"
#include "server/http_config.h"

namespace kvasir::api {
class ApiService;
}

namespace kvasir::server {

class Metrics;

class HttpServer {
 public:
  // Binds and listens. Errors: kIo, kInvalidArgument with the address and the reason.
  static Result<std::unique_ptr<HttpServer>> listen(const HttpConfig& config);
  ~HttpServer();

  int port() const;

  // From now on requests are served by `service`, and `metrics` says how; both must outlive run(). Any
  // thread.
  void set_service(api::ApiService& service, const Metrics& metrics);

  // Serves until it has drained.
  void run();

  // Drains as a signal would. Any thread.
  void stop();

 private:
  struct Impl;
  explicit HttpServer(std::unique_ptr<Impl> impl);
  std::unique_ptr<Impl> impl_;
};

}  // namespace kvasir::server
