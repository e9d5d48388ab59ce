#include "hub/blob_download.h"

#include <filesystem>

#include "format/printable.h"
#include "hub/file_lock.h"
#include "hub/partial_blob.h"
#include "hub/wait.h"

namespace kvasir::hub {
namespace {

class BlobDownload {
 public:
  BlobDownload(HubClient& client, const std::string& repo, const std::string& commit, const RemoteFile& file,
               PartialBlob& partial, ProgressMeter& progress, const std::stop_token& stop)
      : client_(client),
        repo_(repo),
        commit_(commit),
        file_(file),
        what_(repo + ": " + file.path),
        partial_(partial),
        progress_(progress),
        stop_(stop) {}

  // Gets what is missing and checks all of it.
  Status run() {
    progress_.add(partial_.size(), false);
    if (partial_.size() > file_.num_bytes) KVASIR_RETURN_IF_ERROR(restart());
    // What an earlier attempt has left may be why the sum is wrong; then once more without it.
    const bool is_resumed = partial_.size() > 0;
    KVASIR_RETURN_IF_ERROR(fetch());
    Status sound = check_sum();
    if (sound.ok() || !is_resumed) return sound;
    KVASIR_RETURN_IF_ERROR(restart());
    KVASIR_RETURN_IF_ERROR(fetch());
    return check_sum();
  }

 private:
  Status fetch() {
    for (Backoff backoff; partial_.size() < file_.num_bytes;) {
      const std::uint64_t size_before = partial_.size();
      refusal_ = Status();
      const BodySink sink = [this](const HttpReply& head, std::string_view bytes) {
        refusal_ = accept(head, bytes);
        return refusal_.ok();
      };
      begin_ = size_before;
      is_begun_ = false;
      const HttpReply reply = client_.get(repo_, commit_, file_.path, size_before, sink);
      KVASIR_RETURN_IF_ERROR(refusal_);
      const bool is_range_refused = reply.status == 416 && size_before > 0;
      if (is_range_refused) KVASIR_RETURN_IF_ERROR(restart());
      if (!reply.is_success() && !is_range_refused && !is_worth_repeating(reply)) {
        return client_.failure(repo_, what_, reply);
      }
      if (partial_.size() > size_before) backoff.reset();
      if (partial_.size() == file_.num_bytes) break;
      const auto delay = backoff.next(reply);
      if (!delay && reply.is_success()) {
        return error(StatusCode::kCorrupt, "{}: expected {} bytes, the hub ends after {}", what_,
                     file_.num_bytes, partial_.size());
      }
      if (!delay) return client_.failure(repo_, what_, reply);
      if (!wait_for(*delay, stop_)) return error(StatusCode::kCancelled, "{}: stopped", what_);
    }
    return Status();
  }

  // A part of the body.
  Status accept(const HttpReply& head, std::string_view bytes) {
    if (!is_begun_) KVASIR_RETURN_IF_ERROR(begin(head));
    is_begun_ = true;
    if (bytes.size() > file_.num_bytes - partial_.size()) return wrong_size("more");
    KVASIR_RETURN_IF_ERROR(partial_.append(bytes));
    progress_.add(bytes.size());
    return Status();
  }

  // Before the first part: whether what comes is what was asked for.
  Status begin(const HttpReply& head) {
    if (head.status != 206) {
      if (begin_ > 0) KVASIR_RETURN_IF_ERROR(restart());  // the server has no ranges: all of it comes again
    } else if (const std::string expected =
                   fmt::format("bytes {}-{}/{}", begin_, file_.num_bytes - 1, file_.num_bytes);
               head.header("content-range") != expected) {
      return error(StatusCode::kCorrupt, "{}: expected '{}', the hub sends '{}'", what_, expected,
                   format::printable(head.header("content-range")));
    }
    KVASIR_RETURN_IF_ERROR(check_encoding(what_, head));
    const auto length = head.size_header("content-length");
    if (length && *length != file_.num_bytes - partial_.size()) {
      return wrong_size(fmt::format("{}", partial_.size() + *length));
    }
    return Status();
  }

  Status wrong_size(std::string_view came) {
    return error(StatusCode::kCorrupt, "{}: expected {} bytes, the hub sends {}", what_, file_.num_bytes,
                 came);
  }

  Status check_sum() {
    const Status sound = partial_.check();
    return sound.ok() ? sound : error(sound.code(), "{}: {}", what_, sound.message());
  }

  Status restart() {
    progress_.take_back(partial_.size());
    return partial_.restart();
  }

  HubClient& client_;
  const std::string& repo_;
  const std::string& commit_;
  const RemoteFile& file_;
  const std::string what_;
  PartialBlob& partial_;
  ProgressMeter& progress_;
  const std::stop_token& stop_;
  // Of the exchange that is under way:
  std::uint64_t begin_ = 0;
  bool is_begun_ = false;
  Status refusal_;
};

}  // namespace

Status download_blob(HubClient& client, const HubCache& cache, const std::string& repo,
                     const std::string& commit, const RemoteFile& file, ProgressMeter& progress,
                     const OnNotice& on_notice, const std::stop_token& stop) {
  const std::filesystem::path blob = cache.blob(repo, file.etag);
  const auto on_wait = [&] {
    if (on_notice) {
      on_notice(fmt::format("{}: {}: waiting for another process that downloads it", repo, file.path));
    }
  };
  KVASIR_ASSIGN_OR_RETURN(const FileLock lock, FileLock::acquire(cache.lock(repo, file.etag), on_wait, stop));
  std::error_code failure;
  if (std::filesystem::is_regular_file(blob, failure) &&
      std::filesystem::file_size(blob, failure) == file.num_bytes) {
    progress.add(file.num_bytes, false);
    return Status();
  }
  KVASIR_ASSIGN_OR_RETURN(PartialBlob partial, PartialBlob::open(blob, file.num_bytes));
  Status outcome = BlobDownload(client, repo, commit, file, partial, progress, stop).run();
  if (outcome.code() == StatusCode::kCorrupt) partial.discard();
  return outcome.ok() ? partial.publish() : outcome;
}

}  // namespace kvasir::hub
