#include "server/http_server.h"

#include <sys/resource.h>
#include <sys/socket.h>

#include <atomic>
#include <boost/asio/awaitable.hpp>
#include <boost/asio/co_spawn.hpp>
#include <boost/asio/detached.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/ip/tcp.hpp>
#include <boost/asio/post.hpp>
#include <boost/asio/redirect_error.hpp>
#include <boost/asio/signal_set.hpp>
#include <boost/asio/steady_timer.hpp>
#include <boost/asio/strand.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <boost/beast/core/flat_buffer.hpp>
#include <boost/beast/core/tcp_stream.hpp>
#include <boost/beast/http.hpp>
#include <cstdlib>
#include <mutex>
#include <set>
#include <thread>
#include <utility>
#include <variant>

#include "api/api_service.h"
#include "base/short_slices.h"
#include "server/event_stream.h"
#include "server/responses.h"
#include "server/version.h"

namespace kvasir::server {
namespace {

namespace asio = boost::asio;
namespace beast = boost::beast;
namespace http = beast::http;
using asio::ip::tcp;
using boost::system::error_code;
using Request = http::request<http::string_body>;

constexpr int kNumThreads = 2;

// co_await op(with(failure)): the outcome in `failure`, no exception.
auto with(error_code& failure) {
  return asio::redirect_error(asio::use_awaitable, failure);
}

// Lets a coroutine sleep until another thread has something for it.
class Wake : public std::enable_shared_from_this<Wake> {
 public:
  explicit Wake(const asio::any_io_executor& strand) : strand_(strand), timer_(strand) {}

  // Any thread. Ends the present or the next wait().
  void notify() {
    if (is_notified_.exchange(true)) return;
    asio::post(strand_, [self = shared_from_this()] { self->timer_.cancel(); });
  }

  // On the strand.
  asio::awaitable<void> wait() {
    // notify() posts to this strand: it cannot come between the question and the wait.
    if (!is_notified_.load()) {
      timer_.expires_at(asio::steady_timer::time_point::max());
      error_code ended;
      co_await timer_.async_wait(with(ended));
    }
    is_notified_ = false;
  }

 private:
  asio::any_io_executor strand_;
  asio::steady_timer timer_;
  std::atomic<bool> is_notified_{false};
};

struct Connection : std::enable_shared_from_this<Connection> {
  explicit Connection(tcp::socket socket) : stream(std::move(socket)) {}

  beast::tcp_stream stream;
  beast::flat_buffer buffer;
  bool is_idle = true;   // between two requests
  bool is_gone = false;  // the client has closed
};

// A server with a thousand connections needs more files than the usual soft limit.
void raise_file_limit() {
  rlimit limit{};
  if (getrlimit(RLIMIT_NOFILE, &limit) != 0) return;
  limit.rlim_cur = limit.rlim_max;
  setrlimit(RLIMIT_NOFILE, &limit);
}

}  // namespace

struct HttpServer::Impl {
  explicit Impl(const HttpConfig& config) : config(config) {}

  Status listen();
  void run();
  void drain();

  asio::awaitable<void> accept();
  asio::awaitable<void> serve(std::shared_ptr<Connection> connection);
  asio::awaitable<bool> serve_one(std::shared_ptr<Connection> connection);
  asio::awaitable<bool> write(Connection& connection, const Request& request, Response response);
  asio::awaitable<bool> generate(std::shared_ptr<Connection> connection, const Request& request,
                                 api::ApiService& service);
  asio::awaitable<bool> write_events(Connection& connection, const Request& request,
                                     api::ResponseStream& reply, Wake& wake);
  asio::awaitable<void> watch(std::shared_ptr<Connection> connection, std::shared_ptr<Wake> wake);
  Response answer(const Request& request, api::ApiService* service);
  void on_signal(int signal);

  const HttpConfig config;
  std::atomic<api::ApiService*> service{nullptr};
  std::atomic<bool> is_draining{false};
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

void HttpServer::set_service(api::ApiService& service) {
  impl_->service = &service;
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
      resolver.resolve(config.host, std::to_string(config.port), tcp::resolver::passive, failure);
  if (failure || found.empty()) {
    return error(StatusCode::kInvalidArgument, "host '{}': {}", config.host, failure.message());
  }
  const tcp::endpoint endpoint = *found.begin();
  acceptor.open(endpoint.protocol(), failure);
  if (!failure) acceptor.set_option(asio::socket_base::reuse_address(true), failure);
  if (!failure) acceptor.bind(endpoint, failure);
  if (!failure) acceptor.listen(asio::socket_base::max_listen_connections, failure);
  if (failure) {
    return error(StatusCode::kIo, "cannot listen at {}:{}: {}", config.host, config.port, failure.message());
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
}

void HttpServer::Impl::on_signal(int signal) {
  signals.async_wait([signal](error_code failure, int) {
    if (!failure) std::_Exit(128 + signal);
  });
  drain();  // ends the wait when it is done
}

// On `control`. Ends run() when the last connection has gone.
void HttpServer::Impl::drain() {
  if (is_draining.exchange(true)) return;
  error_code ignored;
  acceptor.close(ignored);
  if (connections.empty()) {
    signals.cancel(ignored);
    return;
  }
  for (const auto& connection : connections) {
    asio::post(connection->stream.get_executor(), [connection] {
      if (connection->is_idle) connection->stream.close();
    });
  }
  drain_timer.expires_after(config.drain_timeout);
  drain_timer.async_wait([this](error_code failure) {
    if (!failure) io.stop();
  });
}

asio::awaitable<void> HttpServer::Impl::accept() {
  while (!is_draining) {
    error_code failure;
    tcp::socket socket = co_await acceptor.async_accept(asio::make_strand(io), with(failure));
    if (failure == asio::error::operation_aborted || is_draining) break;
    if (failure) {
      // Out of files, as a rule: wait for some connection to end.
      asio::steady_timer pause(co_await asio::this_coro::executor, std::chrono::milliseconds(50));
      co_await pause.async_wait(with(failure));
      continue;
    }
    socket.set_option(tcp::no_delay(true), failure);
    auto connection = std::make_shared<Connection>(std::move(socket));
    connections.insert(connection);
    const auto executor = connection->stream.get_executor();
    asio::co_spawn(executor, serve(connection), [this, connection](const std::exception_ptr&) {
      asio::post(control, [this, connection] {
        connections.erase(connection);
        if (!is_draining || !connections.empty()) return;
        error_code ignored;
        signals.cancel(ignored);
        drain_timer.cancel();
      });
    });
  }
}

asio::awaitable<void> HttpServer::Impl::serve(std::shared_ptr<Connection> connection) {
  while (co_await serve_one(connection)) {
  }
  error_code ignored;
  connection->stream.socket().shutdown(tcp::socket::shutdown_send, ignored);
}

// Reads one request and answers it; whether the connection goes on.
asio::awaitable<bool> HttpServer::Impl::serve_one(std::shared_ptr<Connection> connection) {
  Connection& c = *connection;
  http::request_parser<http::string_body> parser;
  parser.header_limit(static_cast<std::uint32_t>(config.max_header_bytes));
  parser.body_limit(config.max_body_bytes);
  error_code failure;
  c.is_idle = true;
  if (is_draining) co_return false;
  c.stream.expires_after(config.idle_timeout);
  co_await http::async_read_header(c.stream, c.buffer, parser, with(failure));
  c.is_idle = false;
  if (!failure) {
    c.stream.expires_after(config.read_timeout);
    if (parser.get()[http::field::expect] == "100-continue") {
      http::response<http::empty_body> go_on(http::status::continue_, 11);
      co_await http::async_write(c.stream, go_on, with(failure));
    }
    co_await http::async_read(c.stream, c.buffer, parser, with(failure));
  }
  if (failure) {
    const bool is_ours = failure.category() == make_error_code(http::error::bad_method).category();
    if (!is_ours || failure == http::error::end_of_stream || failure == http::error::partial_message)
      co_return false;
    ErrorKind kind = {http::status::bad_request, "invalid_request_error"};
    std::string message = "malformed HTTP: " + failure.message();
    if (failure == http::error::body_limit) {
      kind.status = http::status::payload_too_large;
      message = fmt::format("the body exceeds {} bytes", config.max_body_bytes);
    } else if (failure == http::error::header_limit) {
      kind.status = http::status::request_header_fields_too_large;
      message = fmt::format("the header exceeds {} bytes", config.max_header_bytes);
    }
    Request unread;
    unread.keep_alive(false);
    co_await write(c, unread, make_error(kind, message));
    co_return false;
  }
  c.stream.expires_never();
  const Request request = parser.release();
  api::ApiService* const api = service;
  const bool is_post = request.method() == http::verb::post;
  if (api != nullptr && is_post && request.target().substr(0, request.target().find('?')) == "/generate") {
    co_return co_await generate(connection, request, *api);
  }
  co_return co_await write(c, request, answer(request, api));
}

asio::awaitable<bool> HttpServer::Impl::write(Connection& connection, const Request& request,
                                              Response response) {
  const bool keep_alive = request.keep_alive() && !is_draining;
  response.version(request.version());
  response.keep_alive(keep_alive);
  response.prepare_payload();
  error_code failure;
  connection.stream.expires_after(config.write_timeout);
  co_await http::async_write(connection.stream, response, with(failure));
  co_return keep_alive && !failure;
}

// Every route but POST /generate.
Response HttpServer::Impl::answer(const Request& request, api::ApiService* api) {
  struct Route {
    http::verb method;
    std::string_view path;
  };
  constexpr Route kRoutes[] = {{http::verb::post, "/generate"},    {http::verb::get, "/cache/stats"},
                               {http::verb::post, "/cache/clear"}, {http::verb::get, "/health"},
                               {http::verb::get, "/health/live"},  {http::verb::get, "/version"}};
  const std::string_view target(request.target().data(), request.target().size());
  const std::string_view path = target.substr(0, target.find('?'));
  const Route* route = nullptr;
  for (const Route& each : kRoutes) {
    if (each.path == path) route = &each;
  }
  if (route == nullptr) {
    return make_error({http::status::not_found, "not_found_error"},
                      fmt::format("there is no '{}' here", path.substr(0, 100)));
  }
  if (route->method != request.method()) {
    const std::string_view allowed(http::to_string(route->method).data(),
                                   http::to_string(route->method).size());
    Response response = make_error({http::status::method_not_allowed, "invalid_request_error"},
                                   fmt::format("{} takes {}", path, allowed));
    response.set(http::field::allow, http::to_string(route->method));
    return response;
  }
  if (path == "/health/live") return make_response(http::status::ok, R"({"status":"ok"})");
  if (path == "/version")
    return make_response(http::status::ok, fmt::format(R"({{"version":"{}"}})", kVersion));
  if (api == nullptr) return make_error(error(StatusCode::kUnavailable, "the model is being loaded"));
  if (path == "/health") {
    if (is_draining) return make_error(error(StatusCode::kUnavailable, "the server is shutting down"));
    return make_response(http::status::ok, R"({"status":"ok"})");
  }
  if (path == "/cache/stats") return make_response(http::status::ok, api->cache_stats());
  return make_response(http::status::ok, api->clear_cache());
}

asio::awaitable<bool> HttpServer::Impl::generate(std::shared_ptr<Connection> connection,
                                                 const Request& request, api::ApiService& api) {
  auto parsed = api::parse_generate_request(request.body());
  if (const auto* refusal = std::get_if<api::Refusal>(&parsed)) {
    co_return co_await write(*connection, request, make_error(refusal->status, refusal->param));
  }
  auto& wanted = std::get<api::GenerateRequest>(parsed);
  const bool streams = wanted.stream;
  const auto wake = std::make_shared<Wake>(connection->stream.get_executor());
  auto reply = api.generate(std::move(wanted), [wake] { wake->notify(); });
  if (!reply.ok()) {
    const bool is_prompt = reply.status().code() == StatusCode::kInvalidArgument;
    co_return co_await write(*connection, request, make_error(reply.status(), is_prompt ? "prompt" : ""));
  }
  asio::co_spawn(connection->stream.get_executor(), watch(connection, wake), asio::detached);
  if (streams) co_return co_await write_events(*connection, request, **reply, *wake);

  while (!connection->is_gone) {
    const auto piece = (*reply)->next();
    if (!piece) {
      co_await wake->wait();
    } else if (piece->is_last()) {
      error_code ignored;
      connection->stream.socket().cancel(ignored);  // ends watch()
      Response response =
          piece->status.ok() ? make_response(http::status::ok, *piece->response) : make_error(piece->status);
      co_return co_await write(*connection, request, std::move(response));
    }
  }
  co_return false;
}

// Server-sent events: one for each token, then the whole response.
asio::awaitable<bool> HttpServer::Impl::write_events(Connection& connection, const Request& request,
                                                     api::ResponseStream& reply, Wake& wake) {
  EventStream events(connection.stream, request.version(), request.keep_alive() && !is_draining,
                     config.write_timeout);
  error_code failure = co_await events.flush();
  for (bool is_last = false; !is_last && !failure && !connection.is_gone;) {
    bool has_new = false;
    while (const auto piece = reply.next()) {
      has_new = true;
      is_last = piece->is_last();
      if (!is_last || !piece->text.empty()) events.add_text(piece->text);
      if (is_last && piece->status.ok()) {
        events.add(*piece->response);
      } else if (is_last) {
        events.add_error(error_body(kind_of(piece->status.code()), piece->status.message(), ""));
      }
    }
    if (!has_new) {
      co_await wake.wait();
    } else if (is_last) {
      failure = co_await events.finish();
    } else {
      failure = co_await events.flush();
    }
  }
  error_code ignored;
  connection.stream.socket().cancel(ignored);  // ends watch()
  co_return events.keep_alive() && !failure && !connection.is_gone;
}

// Notices a client that closes its connection while its request runs.
asio::awaitable<void> HttpServer::Impl::watch(std::shared_ptr<Connection> connection,
                                              std::shared_ptr<Wake> wake) {
  error_code failure;
  tcp::socket& socket = connection->stream.socket();
  co_await socket.async_wait(tcp::socket::wait_read, with(failure));
  if (failure) co_return;
  char next = 0;
  const ssize_t count = ::recv(socket.native_handle(), &next, 1, MSG_PEEK | MSG_DONTWAIT);
  // Data is the next request, sent early.
  if (count > 0 || (count < 0 && (errno == EAGAIN || errno == EINTR))) co_return;
  connection->is_gone = true;
  wake->notify();
}

}  // namespace kvasir::server
