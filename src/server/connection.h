#pragma once

// One client's connection: reads requests, answers them, one after the other. It moves text between the
// socket and the ApiService; what the text means is the api's business. All on the connection's strand.

#include <utility>  // Boost 1.74's awaitable.hpp needs it and does not include it

#include <atomic>
#include <boost/asio/awaitable.hpp>
#include <boost/asio/ip/tcp.hpp>
#include <boost/beast/core/flat_buffer.hpp>
#include <boost/beast/core/tcp_stream.hpp>
#include <boost/beast/http/message.hpp>
#include <boost/beast/http/string_body.hpp>
#include <memory>
#include <string>
#include <string_view>

#include "api/api_service.h"
#include "api/routes.h"
#include "server/access.h"
#include "server/http_config.h"
#include "server/metrics.h"

namespace kvasir::server {

// What all connections have in common.
struct ServerState {
  const HttpConfig config;
  const AccessControl access{config};
  std::atomic<const Metrics*> metrics{nullptr};
  std::atomic<api::ApiService*> service{nullptr};  // null while the model is being loaded; set after metrics
  std::atomic<bool> is_draining{false};
};

class Connection : public std::enable_shared_from_this<Connection> {
 public:
  // `state` must outlive it.
  Connection(boost::asio::ip::tcp::socket socket, ServerState& state)
      : stream_(std::move(socket)), state_(state), buffer_(state.config.max_header_bytes + kReadBytes) {}

  // Until the client or the server has had enough. Requires: a shared_ptr holds it.
  boost::asio::awaitable<void> serve();

  boost::beast::tcp_stream::executor_type executor() { return stream_.get_executor(); }
  // Between two requests: then it may be closed.
  void close_if_idle();

 private:
  class Wake;
  using Request = boost::beast::http::request<boost::beast::http::string_body>;
  using Response = boost::beast::http::response<boost::beast::http::string_body>;

  boost::asio::awaitable<bool> serve_one();
  boost::asio::awaitable<bool> refuse_unread(boost::system::error_code failure);
  boost::asio::awaitable<bool> answer(const Request& request);
  boost::asio::awaitable<bool> answer_by_route(const Request& request);
  boost::asio::awaitable<bool> finish(const Request& request, std::unique_ptr<api::Call> call,
                                      std::shared_ptr<Wake> wake);
  boost::asio::awaitable<bool> stream(const Request& request, std::unique_ptr<api::Call> call,
                                      std::shared_ptr<Wake> wake);
  void watch(const std::shared_ptr<Wake>& wake);
  boost::asio::awaitable<bool> write(const Request& request, Response response);
  boost::asio::awaitable<bool> refuse(Request& request, Response response);
  std::optional<Response> denial(const Request& request) const;
  std::optional<api::HttpReply> answer_own(api::Route route) const;
  std::string common_headers(const Request& request) const;

  boost::beast::tcp_stream stream_;
  ServerState& state_;
  // What has been read and not yet parsed: a header, a piece of a body. Nothing else of a request grows
  // before its sender's key has been checked.
  static constexpr std::size_t kReadBytes = std::size_t{64} << 10;
  boost::beast::flat_buffer buffer_;
  bool is_idle_ = true;     // between two requests
  bool has_begun_ = false;  // to answer the request
  bool is_gone_ = false;    // the client has closed
};

}  // namespace kvasir::server
