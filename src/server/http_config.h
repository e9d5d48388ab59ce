#pragma once

// How the server listens, whom it lets in, and how long it waits.

#include <chrono>
#include <cstddef>
#include <string>
#include <vector>

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
  std::chrono::seconds keep_alive_interval{15};  // of comments in a stream that has nothing to say

  std::vector<std::string> api_keys;    // empty: everyone may use the server
  std::vector<std::string> admin_keys;  // of the routes of the cache; valid for all others too
  bool share_cache_across_keys = false;
  std::vector<std::string> cors_origins;  // "*": all; empty: no CORS
};

}  // namespace kvasir::server
