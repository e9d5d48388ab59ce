#pragma once

// One HTTP exchange at a time, by libcurl. It follows no redirects, repeats nothing and knows no tokens: that
// is HubClient's part. Proxies are those of libcurl's variables (https_proxy, no_proxy and their kin). One
// thread per object, which keeps its connections.

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <stop_token>
#include <string>
#include <string_view>

namespace kvasir::hub {

struct HttpRequest {
  std::string url;
  bool is_head = false;
  std::string bearer_token;       // empty: none
  std::uint64_t range_begin = 0;  // 0: all of it
};

struct HttpReply {
  enum class End {
    kWhole,        // all of it came
    kUnreachable,  // there was no connection
    kMisled,       // its redirects lead nowhere
    kBroken,       // the connection broke, or nothing came for too long
    kStopped,      // by the stop token or by the sink
  };

  End end = End::kWhole;
  std::string url;      // that was asked last
  std::string failure;  // why, where it is neither kWhole nor kStopped; without URL or header
  int status = 0;       // of HTTP; 0: none came
  std::map<std::string, std::string, std::less<>> headers;  // those that the hub is about, in lower case
  std::string redirect_url;                                 // absolute; empty: no redirect
  int retry_after_seconds = 0;

  bool is_success() const { return end == End::kWhole && status >= 200 && status < 300; }

  // Empty: it did not come.
  std::string_view header(std::string_view name) const;

  // The header as a number of bytes; nothing when it is none.
  std::optional<std::uint64_t> size_header(std::string_view name) const;
};

// The parts of the body of a reply with status 2xx. False: no more of it.
using BodySink = std::function<bool(const HttpReply& head, std::string_view bytes)>;

class HttpClient {
 public:
  HttpClient();
  ~HttpClient();

  // `on_tick` (may be null) is called some times a second as long as the exchange lasts.
  HttpReply send(const HttpRequest& request, const BodySink& sink, const std::stop_token& stop,
                 const std::function<void()>& on_tick);

 private:
  struct Exchange;
  struct Free {
    void operator()(void* handle) const;
  };
  std::unique_ptr<void, Free> handle_;  // a CURL*
};

// "https://host:443": what must be equal for a secret of one URL to go to another. Empty: not a URL.
std::string origin_of(const std::string& url);

// The host, with the port where the URL has one; for messages.
std::string host_of(const std::string& url);

// `text` as a part of a URL's path; '/' stays unless `escapes_slash`.
std::string escape_url(std::string_view text, bool escapes_slash);

}  // namespace kvasir::hub
