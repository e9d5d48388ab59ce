#include "server/event_stream.h"

#include <fmt/format.h>

#include <boost/asio/redirect_error.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <boost/asio/write.hpp>
#include <iterator>

namespace kvasir::server {
namespace {

namespace asio = boost::asio;
using boost::system::error_code;

// The size of a chunk is written with leading zeros, into room that is left for it.
constexpr std::size_t kSizeDigits = 8, kSizeBytes = kSizeDigits + 2;

}  // namespace

EventStream::EventStream(boost::beast::tcp_stream& stream, unsigned http_version, bool keep_alive,
                         std::string_view headers, std::chrono::seconds write_timeout)
    : stream_(stream),
      is_chunked_(http_version >= 11),
      keep_alive_(is_chunked_ && keep_alive),
      write_timeout_(write_timeout) {
  out_ = is_chunked_ ? "HTTP/1.1 200 OK\r\n" : "HTTP/1.0 200 OK\r\n";
  out_ += headers;
  out_ += "Content-Type: text/event-stream\r\nCache-Control: no-cache\r\n";
  if (is_chunked_) out_ += "Transfer-Encoding: chunked\r\n";
  if (!keep_alive_) out_ += "Connection: close\r\n";
  out_ += "\r\n";
  if (is_chunked_) out_.append(kSizeBytes, ' ');
  chunk_ = out_.size();
}

// Makes a chunk of the events.
void EventStream::seal(bool is_last) {
  if (!is_chunked_) return;
  if (const std::size_t size = out_.size() - chunk_; size > 0) {
    fmt::format_to(out_.begin() + static_cast<std::ptrdiff_t>(chunk_ - kSizeBytes), "{:0{}x}\r\n", size,
                   kSizeDigits);
    out_ += "\r\n";
  } else {
    out_.resize(chunk_ - kSizeBytes);  // an empty chunk would be the end
  }
  if (is_last) out_ += "0\r\n\r\n";
}

asio::awaitable<error_code> EventStream::flush() {
  seal(false);
  return send();
}

asio::awaitable<error_code> EventStream::finish() {
  seal(true);
  return send();
}

asio::awaitable<error_code> EventStream::send() {
  // As a rule the socket takes it at once. Asio's own write would cost two turns through the scheduler and
  // its time-out two more, for each token of each stream.
  error_code failure;
  asio::ip::tcp::socket& socket = stream_.socket();
  if (!socket.non_blocking()) socket.non_blocking(true, failure);
  std::size_t num_sent = 0;
  if (!failure) num_sent = socket.write_some(asio::buffer(out_), failure);
  if (failure == asio::error::would_block || failure == asio::error::try_again) failure = {};
  if (!failure && num_sent < out_.size()) {
    stream_.expires_after(write_timeout_);
    co_await asio::async_write(stream_, asio::buffer(out_.data() + num_sent, out_.size() - num_sent),
                               asio::redirect_error(asio::use_awaitable, failure));
    stream_.expires_never();
  }
  out_.assign(is_chunked_ ? kSizeBytes : 0, ' ');
  chunk_ = out_.size();
  co_return failure;
}

}  // namespace kvasir::server
