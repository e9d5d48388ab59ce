#pragma once

// The hub's API: what a repository has, what a file is, its bytes. Whatever the server says is checked here.
// The token goes to the endpoint alone, never to where that redirects, and into no message. One thread per
// object.

#include <chrono>
#include <cstdint>
#include <functional>
#include <map>
#include <optional>
#include <stop_token>
#include <string>
#include <string_view>
#include <vector>

#include "base/status.h"
#include "hub/http_client.h"
#include "hub/hub_settings.h"

namespace kvasir::hub {

struct RepoListing {
  std::string commit;
  std::vector<std::string> files;  // as the server names them: hostile until is_file_path()
  std::map<std::string, std::uint64_t, std::less<>> sizes;  // of those whose size it says; a mirror may not
};

struct RemoteFile {
  std::string path;
  std::string etag;  // a blob's name; of files in LFS their SHA-256
  std::uint64_t num_bytes = 0;
};

// How long to wait before an exchange is repeated: a moment, then ever longer, as often as makes sense.
class Backoff {
 public:
  // Nothing: not again. A server that asks for more than some minutes is not waited for.
  std::optional<std::chrono::milliseconds> next(const HttpReply& reply);

  // There was progress: the counting begins anew.
  void reset() { num_attempts_ = 0; }

 private:
  int num_attempts_ = 0;
};

// Whether the same request may go better another time.
bool is_worth_repeating(const HttpReply& reply);

// Whether the body of a reply is what was asked for and not packed, whatever we said that we take. Errors:
// kCorrupt, for whoever asked for `what`.
Status check_encoding(const std::string& what, const HttpReply& reply);

class HubClient {
 public:
  // `settings` is borrowed. `on_tick` (may be null) is called some times a second while there is an exchange.
  HubClient(const HubSettings& settings, std::stop_token stop, std::function<void()> on_tick);

  // The commit that a revision is at, and the names of its files. With `is_patient` false there is one
  // attempt. Errors: kUnavailable when the hub cannot be reached; kNotFound; kInvalidArgument for a refused
  // access; kCorrupt; kCancelled.
  Result<RepoListing> list(const std::string& repo, std::string_view revision, bool is_patient);

  // What a file of a commit is. Errors: those of list().
  Result<RemoteFile> describe(const std::string& repo, const std::string& commit, const std::string& path);

  // The file's bytes from `begin` on, once and without patience.
  HttpReply get(const std::string& repo, const std::string& commit, const std::string& path,
                std::uint64_t begin, const BodySink& sink);

  // What a reply that is no success means for whoever asked for `what` ("org/name: config.json").
  Status failure(const std::string& repo, const std::string& what, const HttpReply& reply) const;

 private:
  // Follows redirects; a HEAD only within the endpoint, for beyond it are other headers.
  HttpReply exchange(HttpRequest request, const BodySink& sink);
  // With waits and repetitions (one attempt where `is_patient` is false); `body` is that of the last attempt.
  HttpReply exchange_patiently(const HttpRequest& request, std::string& body, bool is_patient);
  std::string file_url(const std::string& repo, const std::string& commit, const std::string& path) const;
  bool is_own(const HttpReply& reply) const;
  std::string who(const HttpReply& reply) const;
  Status refused_access(const std::string& repo, const std::string& what, const HttpReply& reply) const;
  Status not_found(const std::string& what, const HttpReply& reply) const;

  const HubSettings& settings_;
  const std::string origin_;
  const std::stop_token stop_;
  const std::function<void()> on_tick_;
  HttpClient http_;
};

}  // namespace kvasir::hub
