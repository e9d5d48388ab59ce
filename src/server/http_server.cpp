#include "server/http_server.h"

#include <spdlog/spdlog.h>
#include <sys/resource.h>

#include <atomic>
#include <boost/asio/awaitable.hpp>
#include <boost/asio/co_spawn.hpp>
#include <boost/asio/detached.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/ip/tcp.hpp>
#include <boost/asio/post.hpp>
#include <boost/asio/signal_set.hpp>
#include <boost/asio/steady_timer.hpp>
#include <boost/asio/strand.hpp>
#include <cstdlib>
#include <exception>
#include <set>
#include <thread>
#include <utility>

#include "base/short_slices.h"
#include "server/connection.h"
#include "server/outcome.h"

namespace kvasir::server {
namespace {

namespace asio = boost::asio;
using asio::ip::tcp;
using boost::system::error_code;

constexpr int kNumThreads = 2;

// A server with a thousand connections needs more files than the usual soft limit.
void raise_file_limit() {
  rlimit limit{};
  if (getrlimit(RLIMIT_NOFILE, &limit) != 0) return;
  limit.rlim_cur = limit.rlim_max;
  setrlimit(RLIMIT_NOFILE, &limit);
}

}  // namespace

struct HttpServer::Impl {
  explicit Impl(const HttpConfig& config) : state{config} {}

  Status listen();
  void run();
  void drain();

  asio::awaitable<void> accept();
  void begin(const std::shared_ptr<Connection>& connection);
  void on_signal(int signal);

  ServerState state;
  asio::io_context io{kNumThreads};
  asio::strand<asio::io_context::executor_type> control{io.get_executor()};  // of the four below
  tcp::acceptor acceptor{control};
  asio::signal_set signals{control};
  asio::steady_timer drain_timer{control};
  std::set<std::shared_ptr<Connection>> connections;
};

HttpServer::HttpServer(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
HttpServer::~HttpServer() = default;

Result<std::unique_ptr<HttpServer>> HttpServer::listen(const HttpConfig& config) {
  auto impl = std::make_unique<Impl>(config);
  KVASIR_RETURN_IF_ERROR(impl->listen());
  return std::unique_ptr<HttpServer>(new HttpServer(std::move(impl)));
}

int HttpServer::port() const {
  error_code ignored;
  return impl_->acceptor.local_endpoint(ignored).port();
}

void HttpServer::set_service(api::ApiService& service, const Metrics& metrics) {
  impl_->state.metrics = &metrics;
  impl_->state.service = &service;
}

void HttpServer::run() {
  impl_->run();
}

void HttpServer::stop() {
  asio::post(impl_->control, [impl = impl_.get()] { impl->drain(); });
}

Status HttpServer::Impl::listen() {
  raise_file_limit();
  error_code failure;
  tcp::resolver resolver(io);
  const auto found =
      resolver.resolve(state.config.host, std::to_string(state.config.port), tcp::resolver::passive, failure);
  if (failure || found.empty()) {
    return error(StatusCode::kInvalidArgument, "host '{}': {}", state.config.host, failure.message());
  }
  const tcp::endpoint endpoint = *found.begin();
  acceptor.open(endpoint.protocol(), failure);
  if (!failure) acceptor.set_option(asio::socket_base::reuse_address(true), failure);
  if (!failure) acceptor.bind(endpoint, failure);
  if (!failure) acceptor.listen(asio::socket_base::max_listen_connections, failure);
  if (failure) {
    return error(StatusCode::kIo, "cannot listen at {}:{}: {}", state.config.host, state.config.port,
                 failure.message());
  }
  return Status();
}

void HttpServer::Impl::run() {
  signals.add(SIGINT);
  signals.add(SIGTERM);
  signals.async_wait([this](error_code failure, int signal) {
    if (!failure) on_signal(signal);
  });
  asio::co_spawn(control, accept(), asio::detached);
  const auto work = [this] {
    prefer_short_slices();
    io.run();
  };
  std::thread second(work);
  work();
  second.join();
  error_code ignored;
  signals.clear(ignored);  // what is left to do ends with the next one
}

void HttpServer::Impl::on_signal(int signal) {
  signals.async_wait([signal](error_code failure, int) {
    if (!failure) std::_Exit(128 + signal);
  });
  drain();  // ends the wait when it is done
}

// On `control`. Ends run() when the last connection has gone.
void HttpServer::Impl::drain() {
  if (state.is_draining.exchange(true)) return;
  error_code ignored;
  acceptor.close(ignored);
  if (connections.empty()) {
    signals.cancel(ignored);
    return;
  }
  for (const auto& connection : connections) {
    asio::post(connection->executor(), [connection] { connection->close_if_idle(); });
  }
  spdlog::info("stopping: requests in progress have {} s; a second signal ends them",
               state.config.drain_timeout.count());
  drain_timer.expires_after(state.config.drain_timeout);
  drain_timer.async_wait([this](error_code failure) {
    if (!failure) io.stop();
  });
}

asio::awaitable<void> HttpServer::Impl::accept() {
  while (!state.is_draining) {
    error_code failure;
    tcp::socket socket = co_await acceptor.async_accept(asio::make_strand(io), with(failure));
    if (failure == asio::error::operation_aborted || state.is_draining) break;
    if (failure) {
      // Out of files, as a rule: wait for some connection to end.
      asio::steady_timer pause(co_await asio::this_coro::executor, std::chrono::milliseconds(50));
      co_await pause.async_wait(with(failure));
      continue;
    }
    socket.set_option(tcp::no_delay(true), failure);
    try {
      begin(std::make_shared<Connection>(std::move(socket), state));
    } catch (const std::exception& error) {
      spdlog::error("a connection was not accepted: {}", error.what());
    }
  }
}

void HttpServer::Impl::begin(const std::shared_ptr<Connection>& connection) {
  connections.insert(connection);
  const auto end = [this, connection] {
    connections.erase(connection);
    if (!state.is_draining || !connections.empty()) return;
    error_code ignored;
    signals.cancel(ignored);
    drain_timer.cancel();
  };
  // serve() lets no exception out.
  asio::co_spawn(connection->executor(), connection->serve(),
                 [this, end](const std::exception_ptr&) { asio::post(control, end); });
}

}  // namespace kvasir::server
