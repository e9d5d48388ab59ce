#include "hub/hub_client.h"

#include <algorithm>
#include <nlohmann/json.hpp>
#include <utility>

#include "base/json.h"
#include "format/printable.h"
#include "hub/names.h"
#include "hub/wait.h"

namespace kvasir::hub {
namespace {

using nlohmann::json;

constexpr std::size_t kMaxAnswerBytes = 16 << 20;
constexpr std::uint64_t kMaxFileBytes = std::uint64_t{1} << 44;
constexpr int kMaxRedirects = 8;

constexpr std::string_view kInBetween = "a proxy or the portal of a network answers in its place";

// An ETag as a blob's name: W/"abc" is abc.
std::string_view plain_etag(std::string_view etag) {
  if (etag.starts_with("W/")) etag.remove_prefix(2);
  if (etag.size() >= 2 && etag.starts_with('"') && etag.ends_with('"'))
    etag = etag.substr(1, etag.size() - 2);
  return etag;
}

bool is_text(const json& object, const char* key) {
  const auto found = object.find(key);
  return found != object.end() && found->is_string();
}

Result<RepoListing> parse_listing(const std::string& what, const std::string& host, std::string_view body) {
  const Result<json> parsed = parse_json(what + ": the hub's answer", body);
  if (!parsed.ok()) {
    return error(StatusCode::kCorrupt, "{}; {} is no hub, or {}", parsed.status().message(), host,
                 kInBetween);
  }
  const json& object = *parsed;
  const auto wrong = [&](std::string_view expected) {
    return error(StatusCode::kCorrupt, "{}: the hub's answer: expected {}", what, expected);
  };
  if (!object.is_object() || !is_text(object, "sha")) return wrong("an object with the string 'sha'");
  RepoListing listing;
  listing.commit = object["sha"].get<std::string>();
  if (!is_commit_hash(listing.commit)) return wrong("'sha' to be a commit");
  const auto siblings = object.find("siblings");
  if (siblings == object.end() || !siblings->is_array()) return wrong("a list 'siblings'");
  for (const json& sibling : *siblings) {
    if (!sibling.is_object() || !is_text(sibling, "rfilename")) return wrong("'siblings' with 'rfilename'");
    listing.files.push_back(sibling["rfilename"].get<std::string>());
    const auto size = sibling.find("size");
    if (size != sibling.end() && size->is_number_unsigned()) {
      listing.sizes[listing.files.back()] = size->get<std::uint64_t>();
    }
  }
  return listing;
}

}  // namespace

std::optional<std::chrono::milliseconds> Backoff::next(const HttpReply& reply) {
  constexpr int kMaxAttempts = 5;
  constexpr int kMaxRetryAfterSeconds = 300;
  constexpr auto kFirst = std::chrono::milliseconds(500), kLongest = std::chrono::milliseconds(8000);
  if (num_attempts_ >= kMaxAttempts || reply.retry_after_seconds > kMaxRetryAfterSeconds) return std::nullopt;
  const std::chrono::milliseconds asked = std::chrono::seconds(reply.retry_after_seconds);
  return std::max(asked, std::min(kLongest, kFirst * (1 << num_attempts_++)));
}

bool is_worth_repeating(const HttpReply& reply) {
  if (reply.end == HttpReply::End::kUnreachable || reply.end == HttpReply::End::kBroken) return true;
  return reply.end == HttpReply::End::kWhole &&
         (reply.status == 408 || reply.status == 429 || (reply.status >= 500 && reply.status != 501));
}

Status check_encoding(const std::string& what, const HttpReply& reply) {
  const std::string_view encoding = reply.header("content-encoding");
  if (encoding.empty() || encoding == "identity") return Status();
  return error(StatusCode::kCorrupt, "{}: expected the Content-Encoding identity, {} sends '{}'", what,
               host_of(reply.url), format::printable(encoding));
}

HubClient::HubClient(const HubSettings& settings, std::stop_token stop, std::function<void()> on_tick)
    : settings_(settings),
      origin_(origin_of(settings.endpoint)),
      stop_(std::move(stop)),
      on_tick_(std::move(on_tick)) {}

HttpReply HubClient::exchange(HttpRequest request, const BodySink& sink) {
  // The first answer may have what is said of the file where it redirects, the last one has the rest.
  std::map<std::string, std::string, std::less<>> first_headers;
  for (int i = 0;; ++i) {
    const bool is_own = origin_of(request.url) == origin_;
    request.bearer_token = is_own ? settings_.token : std::string();
    HttpReply reply = http_.send(request, sink, stop_, on_tick_);
    for (const auto& [name, value] : first_headers) reply.headers.try_emplace(name, value);
    if (reply.end != HttpReply::End::kWhole || reply.redirect_url.empty()) return reply;
    const bool is_described = !reply.header("x-linked-etag").empty();
    if (request.is_head && is_described && origin_of(reply.redirect_url) != origin_) return reply;
    const bool is_downgrade = request.url.starts_with("https:") && !reply.redirect_url.starts_with("https:");
    if (i == kMaxRedirects || is_downgrade) {
      reply.end = HttpReply::End::kMisled;
      reply.failure = is_downgrade ? "redirects from https to something else" : "redirects without end";
      return reply;
    }
    for (const char* name : {"x-linked-etag", "x-linked-size", "x-repo-commit"}) {
      if (!reply.header(name).empty()) first_headers.try_emplace(name, reply.header(name));
    }
    request.url = reply.redirect_url;
  }
}

HttpReply HubClient::exchange_patiently(const HttpRequest& request, std::string& body, bool is_patient) {
  const BodySink sink = [&](const HttpReply&, std::string_view bytes) {
    body += bytes;
    return body.size() <= kMaxAnswerBytes;
  };
  for (Backoff backoff;;) {
    body.clear();
    HttpReply reply = exchange(request, sink);
    // Without a connection the user is better told at once.
    const bool is_final = !is_worth_repeating(reply) || reply.end == HttpReply::End::kUnreachable;
    const auto delay = is_patient && !is_final ? backoff.next(reply) : std::nullopt;
    if (!delay) return reply;
    if (!wait_for(*delay, stop_)) {
      reply.end = HttpReply::End::kStopped;
      return reply;
    }
  }
}

Result<RepoListing> HubClient::list(const std::string& repo, std::string_view revision, bool is_patient) {
  const std::string what = fmt::format("{}@{}", repo, revision);
  HttpRequest request;
  request.url = fmt::format("{}/api/models/{}/revision/{}?blobs=true", settings_.endpoint, repo,
                            escape_url(revision, true));
  std::string body;
  const HttpReply reply = exchange_patiently(request, body, is_patient);
  if (body.size() > kMaxAnswerBytes) {
    return error(StatusCode::kCorrupt, "{}: the hub's answer is longer than {} MiB", what,
                 kMaxAnswerBytes >> 20);
  }
  if (!reply.is_success()) return failure(repo, what, reply);
  KVASIR_RETURN_IF_ERROR(check_encoding(what, reply));
  return parse_listing(what, host_of(reply.url), body);
}

Result<RemoteFile> HubClient::describe(const std::string& repo, const std::string& commit,
                                       const std::string& path) {
  const std::string what = fmt::format("{}: {}", repo, path);
  HttpRequest request;
  request.url = file_url(repo, commit, path);
  request.is_head = true;
  std::string body;
  const HttpReply reply = exchange_patiently(request, body, true);
  const bool is_redirect = reply.end == HttpReply::End::kWhole && !reply.redirect_url.empty();
  if (!reply.is_success() && !is_redirect) return failure(repo, what, reply);
  if (!is_redirect) KVASIR_RETURN_IF_ERROR(check_encoding(what, reply));
  const std::string_view linked_etag = reply.header("x-linked-etag");
  const std::string_view etag = plain_etag(linked_etag.empty() ? reply.header("etag") : linked_etag);
  const auto size = reply.header("x-linked-size").empty() && !is_redirect
                        ? reply.size_header("content-length")
                        : reply.size_header("x-linked-size");
  if (!is_blob_name(etag)) {
    return error(StatusCode::kCorrupt, "{}: expected an ETag of letters and digits, got '{}'", what,
                 format::printable(etag));
  }
  if (!size || *size > kMaxFileBytes) {
    return error(StatusCode::kCorrupt, "{}: expected a size below {} TiB, got '{}'", what,
                 kMaxFileBytes >> 40,
                 format::printable(reply.header(is_redirect ? "x-linked-size" : "content-length")));
  }
  const std::string_view came = reply.header("x-repo-commit");
  if (came.empty()) {
    return error(StatusCode::kCorrupt,
                 "{}: expected the header X-Repo-Commit, which every hub sends; {} is no hub, or {}", what,
                 host_of(reply.url), kInBetween);
  }
  if (came != commit) {
    return error(StatusCode::kCorrupt, "{}: expected the file of commit {}, got that of '{}'", what, commit,
                 format::printable(came));
  }
  return RemoteFile{path, std::string(etag), *size};
}

HttpReply HubClient::get(const std::string& repo, const std::string& commit, const std::string& path,
                         std::uint64_t begin, const BodySink& sink) {
  HttpRequest request;
  request.url = file_url(repo, commit, path);
  request.range_begin = begin;
  return exchange(std::move(request), sink);
}

std::string HubClient::file_url(const std::string& repo, const std::string& commit,
                                const std::string& path) const {
  return fmt::format("{}/{}/resolve/{}/{}", settings_.endpoint, repo, commit, escape_url(path, false));
}

// Who has answered, or should have: the hub, or where it redirects to.
std::string HubClient::who(const HttpReply& reply) const {
  const std::string hub = host_of(settings_.endpoint);
  if (is_own(reply)) return hub;
  return fmt::format("{}, to which {} redirects,", host_of(reply.url), hub);
}

bool HubClient::is_own(const HttpReply& reply) const {
  return origin_of(reply.url) == origin_;
}

Status HubClient::failure(const std::string& repo, const std::string& what, const HttpReply& reply) const {
  switch (reply.end) {
    case HttpReply::End::kStopped:
      return error(StatusCode::kCancelled, "{}: stopped", what);
    case HttpReply::End::kUnreachable:
      return error(StatusCode::kUnavailable, "{}: {} cannot be reached: {}", what, who(reply), reply.failure);
    case HttpReply::End::kMisled:
      return error(StatusCode::kUnavailable, "{}: {} {}", what, who(reply), reply.failure);
    case HttpReply::End::kBroken:
      return error(StatusCode::kUnavailable, "{}: the connection to {} broke: {}", what, who(reply),
                   reply.failure);
    case HttpReply::End::kWhole:
      break;
  }
  const bool is_refused = reply.status == 401 || reply.status == 403;
  if (reply.header("x-error-code") == "GatedRepo" || (is_refused && is_own(reply))) {
    return refused_access(repo, what, reply);
  }
  if (is_refused) {
    return error(StatusCode::kUnavailable, "{}: {} refuses access ({})", what, who(reply), reply.status);
  }
  if (reply.status == 404) return not_found(what, reply);
  if (reply.status == 429) {
    return error(StatusCode::kUnavailable, "{}: {} has had too many requests (429){}", what, who(reply),
                 reply.retry_after_seconds == 0
                     ? std::string()
                     : fmt::format(", and wants {} seconds to go by", reply.retry_after_seconds));
  }
  return error(StatusCode::kUnavailable, "{}: {} answers with status {}", what, who(reply), reply.status);
}

Status HubClient::refused_access(const std::string& repo, const std::string& what,
                                 const HttpReply& reply) const {
  const bool has_token = !settings_.token.empty();
  if (reply.header("x-error-code") == "GatedRepo" || reply.status == 403) {
    return error(StatusCode::kInvalidArgument,
                 "{}: {} refuses access ({}): the model is gated; accept its terms at {}/{}, and {}", what,
                 who(reply), reply.status, settings_.endpoint, repo,
                 has_token ? "have HF_TOKEN be a token of that account that may read it"
                           : "set HF_TOKEN to a token of that account");
  }
  return error(StatusCode::kInvalidArgument,
               "{}: {} refuses access (401): there is no such model, or it is "
               "private or gated, for which {}",
               what, who(reply), has_token ? "HF_TOKEN is not the right token" : "HF_TOKEN must be set");
}

Status HubClient::not_found(const std::string& what, const HttpReply& reply) const {
  const std::string_view code = reply.header("x-error-code");
  const std::string_view missing = code == "RepoNotFound"                      ? "model"
                                   : code == "RevisionNotFound"                ? "revision"
                                   : code == "EntryNotFound" || !is_own(reply) ? "file"
                                                                               : "model, revision or file";
  return error(StatusCode::kNotFound, "{}: {} has no such {} (404)", what, who(reply), missing);
}

}  // namespace kvasir::hub
