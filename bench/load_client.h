#pragma once

// A client that puts load on a server: one HTTP/1.1 connection, one request at a time. It notes when each
// part of a reply came and leaves reading it to bench/completion.h, after the measurement. One thread.

#include <utility>  // Boost 1.74's awaitable.hpp needs it and does not include it

#include <boost/asio/awaitable.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/ip/tcp.hpp>
#include <boost/asio/steady_timer.hpp>
#include <boost/beast/core/flat_buffer.hpp>
#include <chrono>
#include <functional>
#include <string>
#include <string_view>
#include <vector>

#include "base/clock.h"
#include "base/status.h"

namespace kvasir::bench {

struct ServerUrl {
  std::string host;
  std::string port;
  std::string path;  // in front of every route, without a slash at its end

  std::string text() const;
};

// "http://host:port/path". Errors: kInvalidArgument, kUnsupported (https).
Result<ServerUrl> parse_url(std::string_view text);

struct RawReply {
  struct Arrival {
    std::size_t num_bytes;  // of the body, so far
    TimePoint at;
  };

  unsigned status = 0;
  std::string body;
  TimePoint sent;  // before the first byte of the request
  std::vector<Arrival> arrivals;
};

class LoadClient {
 public:
  // Both must outlive the client. A request that takes longer than `timeout` has failed.
  LoadClient(boost::asio::io_context& io, const ServerUrl& url, std::chrono::seconds timeout);

  // Errors: kUnavailable naming the address.
  boost::asio::awaitable<Status> connect();

  // Sends a request, with a body when there is one, on the open connection or else on a new one; calls
  // `on_arrival` for each part of the body. Any HTTP status is a reply.
  // Errors: kUnavailable (nobody there), kIo.
  boost::asio::awaitable<Result<RawReply>> send(std::string method, std::string route, std::string body,
                                                std::function<void()> on_arrival = {});

  // Ends the present request with an error.
  void cancel();

 private:
  void close();
  boost::asio::awaitable<Result<RawReply>> try_send(const std::string& method, const std::string& route,
                                                    const std::string& body,
                                                    const std::function<void()>& on_arrival);

  boost::asio::io_context& io_;
  const ServerUrl& url_;
  const std::chrono::seconds timeout_;
  boost::asio::ip::tcp::socket socket_;
  boost::asio::steady_timer deadline_;  // of the present request; cancels it
  boost::beast::flat_buffer buffer_;
};

}  // namespace kvasir::bench
