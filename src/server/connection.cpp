#include "server/connection.h"

#include <sys/socket.h>

#include <spdlog/spdlog.h>

#include <array>
#include <boost/asio/post.hpp>
#include <boost/asio/steady_timer.hpp>
#include <boost/beast/http.hpp>
#include <exception>
#include <variant>

#include "api/refusal.h"
#include "api/report.h"
#include "server/event_stream.h"
#include "server/openapi.h"
#include "server/outcome.h"
#include "server/version.h"

namespace kvasir::server {
namespace {

namespace asio = boost::asio;
namespace http = boost::beast::http;
using asio::ip::tcp;
using boost::system::error_code;

template <typename Message, typename Field>
std::string_view header(const Message& message, Field field) {
  const auto value = message[field];
  return {value.data(), value.size()};
}

std::string_view key_in(const auto& request) {
  return key_of(header(request, http::field::authorization), header(request, "X-Api-Key"));
}

// Without the query.
std::string_view path_of(const auto& request) {
  const std::string_view target(request.target().data(), request.target().size());
  return target.substr(0, target.find('?'));
}

http::response<http::string_body> reply(int status, std::string body,
                                        const char* content_type = "application/json") {
  http::response<http::string_body> response(static_cast<http::status>(status), 11);
  response.set(http::field::content_type, content_type);
  response.body() = std::move(body);
  return response;
}

// How long a client that has been refused may go on sending.
constexpr std::chrono::seconds kUnheardTimeout{2};

}  // namespace

// Lets a coroutine sleep until another thread has something for it.
class Connection::Wake : public std::enable_shared_from_this<Wake> {
 public:
  explicit Wake(const asio::any_io_executor& strand) : strand_(strand), timer_(strand) {}

  // Any thread. Ends the present or the next wait().
  void notify() {
    if (is_notified_.exchange(true)) return;
    asio::post(strand_, [self = shared_from_this()] { self->timer_.cancel(); });
  }

  // On the strand. Returns at the latest after `longest`.
  asio::awaitable<void> wait(std::chrono::seconds longest) {
    // notify() posts to this strand: it cannot come between the question and the wait.
    if (!is_notified_.load()) {
      timer_.expires_after(longest);
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

void Connection::close_if_idle() {
  if (is_idle_) stream_.close();
}

asio::awaitable<void> Connection::serve() {
  try {
    while (co_await serve_one()) {
    }
  } catch (const std::exception& failure) {
    spdlog::error("a connection has failed: {}", failure.what());
  }
  error_code ignored;
  stream_.socket().shutdown(tcp::socket::shutdown_send, ignored);
  stream_.close();  // ends watch(), however this has ended
}

// Reads one request and answers it; whether the connection goes on.
asio::awaitable<bool> Connection::serve_one() {
  http::request_parser<http::string_body> parser;
  parser.header_limit(static_cast<std::uint32_t>(state_.config.max_header_bytes));
  parser.body_limit(state_.config.max_body_bytes);
  error_code failure;
  is_idle_ = true;
  if (state_.is_draining) co_return false;
  stream_.expires_after(state_.config.idle_timeout);
  co_await http::async_read_header(stream_, buffer_, parser, with(failure));
  is_idle_ = has_begun_ = false;
  if (!failure) {
    if (auto denied = denial(parser.get())) co_return co_await refuse(parser.get(), std::move(*denied));
    stream_.expires_after(state_.config.read_timeout);
    if (parser.get()[http::field::expect] == "100-continue") {
      http::response<http::empty_body> go_on(http::status::continue_, 11);
      co_await http::async_write(stream_, go_on, with(failure));
    }
    co_await http::async_read(stream_, buffer_, parser, with(failure));
  }
  if (failure) co_return co_await refuse_unread(failure);
  stream_.expires_never();
  const Request request = parser.release();
  co_return co_await answer(request);
}

// What cannot be read as a request.
asio::awaitable<bool> Connection::refuse_unread(error_code failure) {
  const bool is_ours = failure.category() == make_error_code(http::error::bad_method).category();
  if (!is_ours || failure == http::error::end_of_stream || failure == http::error::partial_message)
    co_return false;
  int status = 400;
  std::string message = "malformed HTTP: " + failure.message();
  if (failure == http::error::body_limit) {
    status = 413;
    message = fmt::format("the body exceeds {} bytes", state_.config.max_body_bytes);
  } else if (failure == http::error::header_limit) {
    status = 431;
    message = fmt::format("the header exceeds {} bytes", state_.config.max_header_bytes);
  }
  Request unread;
  co_return co_await refuse(unread,
                            reply(status, api::error_body(api::ErrorStyle::kOpenAi, status, message)));
}

// Whom the server does not let in: known from the header, before a body is read.
std::optional<Connection::Response> Connection::denial(const Request& request) const {
  std::string_view parameter;
  const api::RouteInfo* const route = api::find_route(path_of(request), parameter);
  if (route == nullptr || request.method() == http::verb::options) return std::nullopt;
  const auto denial = state_.access.check(route->access, key_in(request));
  if (!denial) return std::nullopt;
  const int status = denial->http_status;
  Response response = reply(status, api::error_body(route->error_style, status, denial->message));
  if (status == 401) response.set(http::field::www_authenticate, "Bearer");
  return response;
}

// Answers a request that has not been read to its end, and ends the connection.
asio::awaitable<bool> Connection::refuse(Request& request, Response response) {
  request.keep_alive(false);
  co_await write(request, std::move(response));
  // A socket that is closed with something unread in it resets the connection, and the client may lose the
  // reply with it.
  error_code failure;
  stream_.socket().shutdown(tcp::socket::shutdown_send, failure);
  stream_.expires_after(kUnheardTimeout);
  std::array<char, 4096> unheard;
  while (!failure) co_await stream_.async_read_some(asio::buffer(unheard), with(failure));
  co_return false;
}

// A request that fails for a reason of the server's own is a 500, as long as nothing has been sent.
asio::awaitable<bool> Connection::answer(const Request& request) {
  std::string reason;
  try {
    co_return co_await answer_by_route(request);
  } catch (const std::exception& failure) {
    reason = failure.what();
  }
  spdlog::error("a request has failed: {}", reason);
  if (has_begun_) co_return false;
  error_code ignored;
  stream_.socket().cancel(ignored);  // ends watch()
  co_return co_await write(request, reply(500, api::error_body(api::ErrorStyle::kOpenAi, 500,
                                                               "internal error: see the server's log")));
}

asio::awaitable<bool> Connection::answer_by_route(const Request& request) {
  std::string_view parameter;
  const std::string_view path = path_of(request);
  const api::RouteInfo* const route = api::find_route(path, parameter);
  const auto failed = [&](int status, std::string_view message) {
    const api::ErrorStyle style = route == nullptr ? api::ErrorStyle::kOpenAi : route->error_style;
    return reply(status, api::error_body(style, status, message));
  };
  if (request.method() == http::verb::options) {
    Response response(http::status::no_content, 11);
    response.set(http::field::allow, "GET, HEAD, POST, OPTIONS");
    co_return co_await write(request, std::move(response));
  }
  if (route == nullptr) {
    co_return co_await write(request, failed(404, fmt::format("there is no '{}' here", path.substr(0, 100))));
  }
  // HEAD is a GET whose body is not sent.
  const http::verb method = request.method() == http::verb::head ? http::verb::get : request.method();
  if (http::string_to_verb({route->method.data(), route->method.size()}) != method) {
    Response response = failed(405, fmt::format("{} takes {}", route->path, route->method));
    response.set(http::field::allow, {route->method.data(), route->method.size()});
    co_return co_await write(request, std::move(response));
  }
  if (auto own = answer_own(route->route)) {
    co_return co_await write(request, reply(own->status, std::move(own->body), own->content_type));
  }
  api::ApiService* const service = state_.service;
  if (service == nullptr) co_return co_await write(request, failed(503, "the model is being loaded"));
  const auto wake = std::make_shared<Wake>(stream_.get_executor());
  auto outcome = service->handle(*route, parameter, request.body(), state_.access.caller(key_in(request)),
                                 [wake] { wake->notify(); });
  if (auto* done = std::get_if<api::HttpReply>(&outcome)) {
    co_return co_await write(request, reply(done->status, std::move(done->body), done->content_type));
  }
  auto& call = std::get<std::unique_ptr<api::Call>>(outcome);
  watch(wake);
  if (call->streams()) co_return co_await stream(request, std::move(call), wake);
  co_return co_await finish(request, std::move(call), wake);
}

// The routes that are the server's own.
std::optional<api::HttpReply> Connection::answer_own(api::Route route) const {
  constexpr char kIsWell[] = R"({"status":"ok"})";
  const api::ApiService* const service = state_.service;
  const auto unwell = [](std::string_view why) {
    return api::HttpReply{503, api::error_body(api::ErrorStyle::kOpenAi, 503, why)};
  };
  switch (route) {
    case api::Route::kHealthLive:
      return api::HttpReply{200, kIsWell};
    case api::Route::kVersion:
      return api::HttpReply{200, fmt::format(R"({{"version":"{}"}})", kVersion)};
    case api::Route::kOpenApi:
      return api::HttpReply{200, std::string(openapi_document())};
    case api::Route::kHealth:
      if (service == nullptr) return std::nullopt;
      if (state_.is_draining) return unwell("the server is shutting down");
      if (const Status health = service->health(); !health.ok()) return unwell(health.message());
      return api::HttpReply{200, kIsWell};
    case api::Route::kMetrics:
      if (service == nullptr) return std::nullopt;
      return api::HttpReply{200, state_.metrics.load()->scrape(service->engine_stats()),
                            Metrics::kContentType};
    default:
      return std::nullopt;
  }
}

// Waits for the whole of a call that does not stream.
asio::awaitable<bool> Connection::finish(const Request& request, std::unique_ptr<api::Call> call,
                                         std::shared_ptr<Wake> wake) {
  std::string body;
  while (!is_gone_) {
    if (!call->poll(body)) {
      co_await wake->wait(state_.config.keep_alive_interval);
      continue;
    }
    error_code ignored;
    stream_.socket().cancel(ignored);  // ends watch()
    co_return co_await write(request, reply(call->http_status(), std::move(body)));
  }
  co_return false;
}

// Server-sent events, as they come.
asio::awaitable<bool> Connection::stream(const Request& request, std::unique_ptr<api::Call> call,
                                         std::shared_ptr<Wake> wake) {
  has_begun_ = true;
  EventStream events(stream_, request.version(), request.keep_alive() && !state_.is_draining,
                     common_headers(request), state_.config.write_timeout);
  error_code failure = co_await events.flush();
  for (bool is_last = false; !is_last && !failure && !is_gone_;) {
    is_last = call->poll(events.text());
    if (is_last) {
      failure = co_await events.finish();
    } else if (!events.text_is_empty()) {
      failure = co_await events.flush();
    } else {
      const auto begin = std::chrono::steady_clock::now();
      co_await wake->wait(state_.config.keep_alive_interval);
      const bool is_silent = std::chrono::steady_clock::now() - begin >= state_.config.keep_alive_interval;
      if (is_silent) events.text() += ": still here\n\n";
    }
  }
  error_code ignored;
  stream_.socket().cancel(ignored);  // ends watch()
  co_return events.keep_alive() && !failure && !is_gone_;
}

// Notices a client that closes its connection while its request runs.
void Connection::watch(const std::shared_ptr<Wake>& wake) {
  // Waits from now on, and keeps the connection: its request may be over before anything else runs.
  const auto ready = [self = shared_from_this(), wake](error_code failure) {
    if (failure) return;
    char next = 0;
    const ssize_t count = ::recv(self->stream_.socket().native_handle(), &next, 1, MSG_PEEK | MSG_DONTWAIT);
    // Data is the next request, sent early.
    if (count > 0 || (count < 0 && (errno == EAGAIN || errno == EINTR))) return;
    self->is_gone_ = true;
    wake->notify();
  };
  stream_.socket().async_wait(tcp::socket::wait_read, ready);
}

// What every response has: an id to ask about, and what a browser wants to know.
std::string Connection::common_headers(const Request& request) const {
  std::string headers = fmt::format("X-Request-Id: {}\r\n", api::random_id("req_"));
  const std::string_view origin = state_.access.allowed_origin(header(request, http::field::origin));
  if (origin.empty()) return headers;
  headers += fmt::format(
      "Access-Control-Allow-Origin: {}\r\nVary: Origin\r\nAccess-Control-Expose-Headers: *\r\n", origin);
  if (request.method() != http::verb::options) return headers;
  headers += "Access-Control-Allow-Methods: GET, POST\r\nAccess-Control-Max-Age: 600\r\n";
  const std::string_view wanted = header(request, http::field::access_control_request_headers);
  if (!wanted.empty()) headers += fmt::format("Access-Control-Allow-Headers: {}\r\n", wanted);
  return headers;
}

asio::awaitable<bool> Connection::write(const Request& request, Response response) {
  const bool keep_alive = request.keep_alive() && !state_.is_draining;
  response.version(request.version());
  response.keep_alive(keep_alive);
  const unsigned status = response.result_int();
  if (status == 429 || status == 503) response.set(http::field::retry_after, "1");
  std::string headers = common_headers(request);
  for (std::size_t begin = 0; begin < headers.size();) {
    const std::size_t end = headers.find("\r\n", begin), colon = headers.find(": ", begin);
    response.insert(boost::string_view(headers).substr(begin, colon - begin),
                    boost::string_view(headers).substr(colon + 2, end - colon - 2));
    begin = end + 2;
  }
  response.prepare_payload();
  if (request.method() == http::verb::head) response.body().clear();  // its length stays in the header
  has_begun_ = true;
  error_code failure;
  stream_.expires_after(state_.config.write_timeout);
  co_await http::async_write(stream_, response, with(failure));
  co_return keep_alive && !failure;
}

}  // namespace kvasir::server
