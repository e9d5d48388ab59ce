#include "bench/load_client.h"

#include <boost/asio/connect.hpp>
#include <boost/asio/redirect_error.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <boost/beast/http.hpp>
#include <limits>
#include <utility>

namespace kvasir::bench {
namespace {

namespace asio = boost::asio;
namespace http = boost::beast::http;
using asio::ip::tcp;
using boost::system::error_code;

constexpr std::size_t kReadBytes = 16384;

auto with(error_code& failure) {
  return asio::redirect_error(asio::use_awaitable, failure);
}

TimePoint now() {
  return std::chrono::steady_clock::now();
}

}  // namespace

std::string ServerUrl::text() const {
  return fmt::format("http://{}:{}{}", host, port, path);
}

Result<ServerUrl> parse_url(std::string_view text) {
  constexpr std::string_view kScheme = "http://";
  if (text.starts_with("https://")) {
    return error(StatusCode::kUnsupported, "url '{}': expected http://, TLS is not supported", text);
  }
  if (!text.starts_with(kScheme)) {
    return error(StatusCode::kInvalidArgument, "url '{}': expected http://HOST:PORT", text);
  }
  std::string_view rest = text.substr(kScheme.size());
  const std::size_t slash = std::min(rest.find('/'), rest.size());
  std::string_view path = rest.substr(slash);
  while (path.ends_with('/')) path.remove_suffix(1);
  rest = rest.substr(0, slash);
  // [::1]:8000 has colons of its own.
  const std::size_t bracket = rest.starts_with('[') ? rest.find(']') : std::string_view::npos;
  const std::size_t colon = rest.find(':', bracket == std::string_view::npos ? 0 : bracket);
  ServerUrl url;
  url.host = rest.substr(0, colon);
  if (bracket != std::string_view::npos) url.host = rest.substr(1, bracket - 1);
  url.port = colon == std::string_view::npos ? "80" : rest.substr(colon + 1);
  url.path = path;
  const bool is_number = url.port.find_first_not_of("0123456789") == std::string::npos;
  if (url.host.empty() || url.port.empty() || url.port.size() > 5 || !is_number) {
    return error(StatusCode::kInvalidArgument, "url '{}': expected http://HOST:PORT", text);
  }
  return url;
}

LoadClient::LoadClient(asio::io_context& io, const ServerUrl& url, std::chrono::seconds timeout)
    : io_(io), url_(url), timeout_(timeout), socket_(io), deadline_(io) {}

void LoadClient::cancel() {
  error_code ignored;
  socket_.cancel(ignored);
}

asio::awaitable<Status> LoadClient::connect() {
  error_code failure;
  tcp::resolver resolver(io_);
  const auto found = co_await resolver.async_resolve(url_.host, url_.port, with(failure));
  if (!failure) co_await asio::async_connect(socket_, found, with(failure));
  if (failure) {
    close();
    co_return error(StatusCode::kUnavailable, "no server at {}: {}", url_.text(), failure.message());
  }
  socket_.set_option(tcp::no_delay(true), failure);
  buffer_.clear();
  co_return Status();
}

void LoadClient::close() {
  error_code ignored;
  socket_.close(ignored);
}

asio::awaitable<Result<RawReply>> LoadClient::send(std::string method, std::string route, std::string body,
                                                   std::function<void()> on_arrival) {
  // One timer for the whole request: one for each read would cost more than the read.
  deadline_.expires_after(timeout_);
  deadline_.async_wait([this](error_code cancelled) {
    if (!cancelled) cancel();
  });
  const bool is_reused = socket_.is_open();
  Result<RawReply> reply = co_await try_send(method, route, body, on_arrival);
  // A server may have closed an idle connection just before the request.
  if (!reply.ok() && reply.status().code() == StatusCode::kCancelled && is_reused) {
    reply = co_await try_send(method, route, body, on_arrival);
  }
  deadline_.cancel();
  if (!reply.ok() && reply.status().code() == StatusCode::kCancelled) {
    co_return error(StatusCode::kIo, "{}", reply.status().message());
  }
  co_return reply;
}

// kCancelled: the connection ended before anything came.
asio::awaitable<Result<RawReply>> LoadClient::try_send(const std::string& method, const std::string& route,
                                                       const std::string& body,
                                                       const std::function<void()>& on_arrival) {
  if (!socket_.is_open()) {
    const Status connected = co_await connect();
    if (!connected.ok()) co_return connected;
  }
  http::request<http::string_body> request(http::string_to_verb(method), url_.path + route, 11);
  request.set(http::field::host, url_.host + ":" + url_.port);
  request.set(http::field::accept, "text/event-stream, application/json");
  if (!body.empty()) request.set(http::field::content_type, "application/json");
  request.body() = body;
  request.prepare_payload();

  RawReply reply;
  reply.sent = now();
  error_code failure;
  co_await http::async_write(socket_, request, with(failure));
  http::response_parser<http::string_body> parser;
  parser.eager(true);
  parser.body_limit(std::numeric_limits<std::uint64_t>::max());
  std::size_t num_bytes = 0;  // of the body
  // One read takes whatever has come, however many chunks that is.
  while (!failure && !parser.is_done()) {
    const std::size_t count = co_await socket_.async_read_some(buffer_.prepare(kReadBytes), with(failure));
    buffer_.commit(count);
    if (failure == asio::error::eof && parser.got_some()) {
      failure = {};
      parser.put_eof(failure);
    }
    while (!failure && buffer_.size() > 0 && !parser.is_done()) {
      buffer_.consume(parser.put(buffer_.data(), failure));
    }
    if (failure == http::error::need_more) failure = {};
    if (parser.get().body().size() == num_bytes) continue;
    num_bytes = parser.get().body().size();
    reply.arrivals.push_back({num_bytes, now()});
    if (on_arrival) on_arrival();
  }
  if (failure || !parser.keep_alive()) close();
  if (failure) {
    const bool is_late = failure == asio::error::operation_aborted;
    co_return error(parser.got_some() || is_late ? StatusCode::kIo : StatusCode::kCancelled, "{}{}: {}",
                    url_.text(), route, is_late ? "timed out or given up" : failure.message());
  }
  reply.status = parser.get().result_int();
  reply.body = std::move(parser.get().body());
  co_return reply;
}

}  // namespace kvasir::bench
