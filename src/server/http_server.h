#pragma once

// HTTP/1.1 over Boost.Beast: connections, limits, time-outs, routes. It moves text between sockets and the
// ApiService; what the text means is the api's business. Connections are coroutines on two threads; each
// stays on its strand.
//
// It listens before the model is loaded: until set_service() every route but /health/live answers 503.
//
// The first SIGTERM or SIGINT drains: no new connections, requests in progress are finished (for
// drain_timeout at most), run() returns. The second one ends the process at once.

#include <chrono>
#include <cstddef>
#include <memory>
#include <string>

#include "base/status.h"

namespace kvasir::api {
class ApiService;
}

namespace kvasir::server {

struct HttpConfig {
  std::string host = "127.0.0.1";  // an address or a name
  int port = 8000;                 // 0: any free one
  std::size_t max_body_bytes = 16 << 20;
  std::size_t max_header_bytes = 16 << 10;
  std::chrono::seconds idle_timeout{120};  // until the next request is there
  std::chrono::seconds read_timeout{30};   // for the body of a request
  std::chrono::seconds write_timeout{60};  // for a reader that does not read
  std::chrono::seconds drain_timeout{30};
};

class HttpServer {
 public:
  // Binds and listens. Errors: kIo, kInvalidArgument with the address and the reason.
  static Result<std::unique_ptr<HttpServer>> listen(const HttpConfig& config);
  ~HttpServer();

  int port() const;

  // From now on requests are served by `service`, which must outlive run(). Any thread.
  void set_service(api::ApiService& service);

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
