#pragma once

// Server-sent events on a connection: a response whose body comes piece by piece. Used on the connection's
// strand.

#include <utility>  // Boost 1.74's awaitable.hpp needs it and does not include it

#include <boost/asio/awaitable.hpp>
#include <boost/beast/core/tcp_stream.hpp>
#include <chrono>
#include <string>
#include <string_view>

namespace kvasir::server {

class EventStream {
 public:
  // `stream` must outlive it. HTTP before 1.1 (`http_version` 10) has no chunks: there the end of the
  // connection is the end of the stream, and the connection does not go on. `headers`: further
  // ones, each with its line end.
  EventStream(boost::beast::tcp_stream& stream, unsigned http_version, bool keep_alive,
              std::string_view headers, std::chrono::seconds write_timeout);

  // Events are appended to it: those that are ready together go out together, with the next flush.
  std::string& text() { return out_; }
  bool text_is_empty() const { return out_.size() == chunk_; }

  // Sends what has been added. Errors: the connection's, or its time-out.
  boost::asio::awaitable<boost::system::error_code> flush();
  // The same, and the end of the body.
  boost::asio::awaitable<boost::system::error_code> finish();

  bool keep_alive() const { return keep_alive_; }

 private:
  void seal(bool is_last);
  boost::asio::awaitable<boost::system::error_code> send();

  boost::beast::tcp_stream& stream_;
  const bool is_chunked_;
  const bool keep_alive_;
  const std::chrono::seconds write_timeout_;
  std::string out_;        // what goes out with the next flush, the header with the first
  std::size_t chunk_ = 0;  // where the events begin in it, behind the room for the size of their chunk
};

}  // namespace kvasir::server
