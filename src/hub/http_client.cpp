#include "hub/http_client.h"

#include <curl/curl.h>
#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <utility>

#include "base/check.h"
#include "format/printable.h"

namespace kvasir::hub {
namespace {

constexpr long kConnectSeconds = 10;
constexpr long kLowestSpeed = 1000;                // bytes a second; a connection that is slower
constexpr long kSlowSeconds = 30;                  // for so long counts as broken
constexpr std::size_t kMaxRefusalBytes = 1 << 20;  // of the body of a reply that is not 2xx
constexpr std::size_t kMaxHeaderLength = 8 << 10;  // of one that we keep
constexpr const char* kHeaders[] = {"etag",          "x-linked-etag", "x-linked-size",  "x-repo-commit",
                                    "content-range", "x-error-code",  "content-length", "content-encoding"};

struct FreeList {
  void operator()(curl_slist* list) const { curl_slist_free_all(list); }
};

struct FreeUrl {
  void operator()(CURLU* url) const { curl_url_cleanup(url); }
};

std::string url_part(const std::string& text, CURLUPart part, unsigned int flags) {
  const std::unique_ptr<CURLU, FreeUrl> url(curl_url());
  char* value = nullptr;
  if (url == nullptr || curl_url_set(url.get(), CURLUPART_URL, text.c_str(), 0) != CURLUE_OK ||
      curl_url_get(url.get(), part, &value, flags) != CURLUE_OK) {
    return {};
  }
  std::string result(value);
  curl_free(value);
  return result;
}

HttpReply::End end_of(CURL* handle, CURLcode code) {
  long connect_status = 0;  // of a proxy that was asked for a tunnel
  curl_easy_getinfo(handle, CURLINFO_HTTP_CONNECTCODE, &connect_status);
  curl_off_t connect_time = 0;
  curl_easy_getinfo(handle, CURLINFO_CONNECT_TIME_T, &connect_time);
  switch (code) {
    case CURLE_OK:
      return HttpReply::End::kWhole;
    case CURLE_COULDNT_RESOLVE_HOST:
    case CURLE_COULDNT_RESOLVE_PROXY:
    case CURLE_COULDNT_CONNECT:
    case CURLE_SSL_CONNECT_ERROR:
    case CURLE_PEER_FAILED_VERIFICATION:
    case CURLE_URL_MALFORMAT:
    case CURLE_UNSUPPORTED_PROTOCOL:
      return HttpReply::End::kUnreachable;
    default:
      return connect_time == 0 || connect_status >= 400 ? HttpReply::End::kUnreachable
                                                        : HttpReply::End::kBroken;
  }
}

std::string lower(std::string text) {
  std::transform(text.begin(), text.end(), text.begin(),
                 [](char c) { return c >= 'A' && c <= 'Z' ? static_cast<char>(c + ('a' - 'A')) : c; });
  return text;
}

}  // namespace

std::string_view HttpReply::header(std::string_view name) const {
  const auto found = headers.find(name);
  return found == headers.end() ? std::string_view() : found->second;
}

std::optional<std::uint64_t> HttpReply::size_header(std::string_view name) const {
  const std::string_view text = header(name);
  std::uint64_t value = 0;
  const auto [end, failure] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (text.empty() || failure != std::errc() || end != text.data() + text.size()) return std::nullopt;
  return value;
}

// What libcurl's callbacks see of an exchange.
struct HttpClient::Exchange {
  CURL* handle;
  const BodySink& sink;
  const std::stop_token& stop;
  const std::function<void()>& on_tick;
  HttpReply reply = {};
  bool has_head = false;
  bool is_stopped = false;
  std::size_t num_refusal_bytes = 0;

  void read_head() {
    if (std::exchange(has_head, true)) return;
    long status = 0;
    curl_easy_getinfo(handle, CURLINFO_RESPONSE_CODE, &status);
    reply.status = static_cast<int>(status);
    for (const char* name : kHeaders) {
      curl_header* header = nullptr;
      if (curl_easy_header(handle, name, 0, CURLH_HEADER, -1, &header) != CURLHE_OK) continue;
      reply.headers[name] = std::string_view(header->value).substr(0, kMaxHeaderLength);
    }
    curl_off_t retry_after = 0;
    curl_easy_getinfo(handle, CURLINFO_RETRY_AFTER, &retry_after);
    constexpr curl_off_t kDay = 86400;
    reply.retry_after_seconds = static_cast<int>(std::clamp<curl_off_t>(retry_after, 0, kDay));
  }

  bool accept(std::string_view bytes) {
    read_head();
    if (reply.status < 200 || reply.status >= 300) {
      num_refusal_bytes += bytes.size();
      return num_refusal_bytes <= kMaxRefusalBytes;
    }
    is_stopped = !sink(reply, bytes);
    return !is_stopped;
  }

  static std::size_t on_body(char* data, std::size_t, std::size_t size, void* self) {
    return static_cast<Exchange*>(self)->accept({data, size}) ? size : 0;  // any other number is an error
  }

  static int on_transfer_info(void* self, curl_off_t, curl_off_t, curl_off_t, curl_off_t) {
    auto& exchange = *static_cast<Exchange*>(self);
    if (exchange.on_tick) exchange.on_tick();
    exchange.is_stopped |= exchange.stop.stop_requested();
    return exchange.is_stopped ? 1 : 0;
  }
};

HttpClient::HttpClient() {
  static const CURLcode global = curl_global_init(CURL_GLOBAL_DEFAULT);
  handle_.reset(curl_easy_init());
  KVASIR_CHECK(global == CURLE_OK && handle_ != nullptr);
}

HttpClient::~HttpClient() = default;

void HttpClient::Free::operator()(void* handle) const {
  curl_easy_cleanup(handle);
}

HttpReply HttpClient::send(const HttpRequest& request, const BodySink& sink, const std::stop_token& stop,
                           const std::function<void()>& on_tick) {
  CURL* const handle = handle_.get();
  curl_easy_reset(handle);  // keeps the connections
  Exchange exchange{handle, sink, stop, on_tick};
  exchange.reply.url = request.url;
  std::unique_ptr<curl_slist, FreeList> lines;
  const auto add_header = [&](const std::string& line) {
    curl_slist* const longer = curl_slist_append(lines.get(), line.c_str());
    KVASIR_CHECK(longer != nullptr);
    (void)lines.release();
    lines.reset(longer);
  };
  add_header("Accept-Encoding: identity");  // sizes and checksums are those of the files
  if (!request.bearer_token.empty()) add_header("Authorization: Bearer " + request.bearer_token);
  if (request.range_begin > 0) add_header(fmt::format("Range: bytes={}-", request.range_begin));

  char failure[CURL_ERROR_SIZE] = "";
  curl_easy_setopt(handle, CURLOPT_ERRORBUFFER, failure);
  curl_easy_setopt(handle, CURLOPT_URL, request.url.c_str());
  curl_easy_setopt(handle, CURLOPT_PROTOCOLS_STR, "http,https");
  curl_easy_setopt(handle, CURLOPT_NOBODY, request.is_head ? 1L : 0L);
  curl_easy_setopt(handle, CURLOPT_HTTPHEADER, lines.get());
  curl_easy_setopt(handle, CURLOPT_USERAGENT, "kvasir");
  curl_easy_setopt(handle, CURLOPT_NOSIGNAL, 1L);  // there are other threads
  curl_easy_setopt(handle, CURLOPT_CONNECTTIMEOUT, kConnectSeconds);
  curl_easy_setopt(handle, CURLOPT_LOW_SPEED_LIMIT, kLowestSpeed);
  curl_easy_setopt(handle, CURLOPT_LOW_SPEED_TIME, kSlowSeconds);
  curl_easy_setopt(handle, CURLOPT_BUFFERSIZE, 256L << 10);
  curl_easy_setopt(handle, CURLOPT_WRITEFUNCTION, &Exchange::on_body);
  curl_easy_setopt(handle, CURLOPT_WRITEDATA, &exchange);
  curl_easy_setopt(handle, CURLOPT_NOPROGRESS, 0L);
  curl_easy_setopt(handle, CURLOPT_XFERINFOFUNCTION, &Exchange::on_transfer_info);
  curl_easy_setopt(handle, CURLOPT_XFERINFODATA, &exchange);

  const CURLcode code = curl_easy_perform(handle);
  HttpReply& reply = exchange.reply;
  exchange.read_head();
  const char* location = nullptr;  // not known before the end
  curl_easy_getinfo(handle, CURLINFO_REDIRECT_URL, &location);
  if (location != nullptr) reply.redirect_url = location;
  reply.end = exchange.is_stopped ? HttpReply::End::kStopped : end_of(handle, code);
  if (exchange.num_refusal_bytes > kMaxRefusalBytes)
    reply.end = HttpReply::End::kWhole;  // its status is enough
  if (code != CURLE_OK)
    reply.failure = format::printable(failure[0] != '\0' ? failure : curl_easy_strerror(code));
  curl_easy_setopt(handle, CURLOPT_ERRORBUFFER, nullptr);  // it ends with this function
  return reply;
}

std::string origin_of(const std::string& url) {
  const std::string scheme = lower(url_part(url, CURLUPART_SCHEME, 0));
  const std::string host = lower(url_part(url, CURLUPART_HOST, 0));
  const std::string port = url_part(url, CURLUPART_PORT, CURLU_DEFAULT_PORT);
  return scheme.empty() || host.empty() ? std::string() : fmt::format("{}://{}:{}", scheme, host, port);
}

std::string host_of(const std::string& url) {
  const std::string port = url_part(url, CURLUPART_PORT, 0);
  return format::printable(url_part(url, CURLUPART_HOST, 0) + (port.empty() ? "" : ":" + port));
}

std::string escape_url(std::string_view text, bool escapes_slash) {
  constexpr std::string_view kPlain = "-._~";
  std::string result;
  for (const char c : text) {
    const bool is_alphanumeric = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9');
    if (is_alphanumeric || kPlain.find(c) != kPlain.npos || (c == '/' && !escapes_slash)) {
      result += c;
    } else {
      result += fmt::format("%{:02X}", static_cast<unsigned char>(c));
    }
  }
  return result;
}

}  // namespace kvasir::hub
