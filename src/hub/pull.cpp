#include "hub/pull.h"

#include <algorithm>
#include <atomic>
#include <filesystem>
#include <map>
#include <set>
#include <thread>

#include "format/printable.h"
#include "hub/gguf_names.h"
#include "hub/local_model.h"
#include "hub/names.h"

namespace kvasir::hub {
namespace {

constexpr int kMaxThreads = 4;

bool has(const RepoListing& listing, std::string_view file) {
  return std::find(listing.files.begin(), listing.files.end(), file) != listing.files.end();
}

}  // namespace

Pull::Pull(const HubSettings& settings, const HubCache& cache, const ModelReference& reference,
           const ProgressMeter::OnProgress& on_progress, const OnNotice& on_notice, bool is_patient,
           const std::stop_token& stop)
    : settings_(settings),
      cache_(cache),
      reference_(reference),
      on_progress_(on_progress),
      on_notice_(on_notice),
      is_patient_(is_patient),
      stop_(stop),
      repo_(reference.repo) {}

Result<std::string> Pull::run() {
  HubClient client(settings_, stop_, nullptr);
  KVASIR_ASSIGN_OR_RETURN(listing_, client.list(repo_, reference_.revision_or_main(), is_patient_));
  commit_ = listing_.commit;
  KVASIR_ASSIGN_OR_RETURN(const std::vector<std::string> files, choose());
  KVASIR_RETURN_IF_ERROR(fetch(files, on_progress_));
  if (reference_.file.empty()) {
    for (const std::string_view file : optional_files()) {
      if (!has(listing_, file)) cache_.mark_absent(repo_, commit_, file);
    }
  }
  KVASIR_RETURN_IF_ERROR(cache_.set_ref(repo_, reference_.revision_or_main(), commit_));
  return commit_;
}

Result<std::vector<std::string>> Pull::choose() {
  const std::string name = reference_.text();
  if (!reference_.file.empty()) {
    KVASIR_ASSIGN_OR_RETURN(const std::string file, find_gguf(name, reference_.file, listing_.files));
    std::vector<std::string> parts = gguf_parts(file);
    const std::set<std::string_view> all(listing_.files.begin(), listing_.files.end());
    for (const std::string& part : parts) {
      if (!all.contains(part)) {
        return error(StatusCode::kNotFound, "{}: expected all parts of {}, there is no {}", name,
                     format::printable(file), format::printable(part));
      }
      if (!is_file_path(part)) {
        return error(StatusCode::kCorrupt, "{}: the hub names a file '{}', which is no path in a repository",
                     name, format::printable(part));
      }
    }
    return parts;
  }
  KVASIR_ASSIGN_OR_RETURN(std::vector<std::string> files, choose_weights());
  for (const std::string_view file : required_files()) {
    if (!has(listing_, file)) {
      return error(StatusCode::kUnsupported, "{}: expected a repository with {}, it has none", name, file);
    }
    files.emplace_back(file);
  }
  for (const std::string_view file : optional_files()) {
    if (has(listing_, file)) files.emplace_back(file);
  }
  return files;
}

Result<std::vector<std::string>> Pull::choose_weights() {
  if (has(listing_, kWeightsFile)) return std::vector{std::string(kWeightsFile)};
  if (!has(listing_, kWeightsIndexFile)) {
    const std::vector<std::string> ggufs = gguf_models(listing_.files);
    if (ggufs.empty()) {
      return error(StatusCode::kUnsupported, "{}: expected a repository with {} or {}, it has neither",
                   reference_.text(), kWeightsFile, kWeightsIndexFile);
    }
    return error(StatusCode::kInvalidArgument, "{}: has GGUF files, of which one must be named after ':': {}",
                 reference_.text(), join_names(ggufs));
  }
  KVASIR_RETURN_IF_ERROR(fetch({std::string(kWeightsIndexFile)}, nullptr));
  KVASIR_ASSIGN_OR_RETURN(std::vector<std::string> shards,
                          read_weights_index(cache_.snapshot(repo_, commit_).string()));
  const std::set<std::string_view> all(listing_.files.begin(), listing_.files.end());
  for (const std::string& shard : shards) {
    if (!all.contains(shard)) {
      return error(StatusCode::kCorrupt, "{}: {} names {}, which the repository lacks", reference_.text(),
                   kWeightsIndexFile, shard);
    }
  }
  return shards;
}

bool Pull::has_whole(const std::string& path) const {
  if (!cache_.has(repo_, commit_, path)) return false;
  const auto expected = listing_.sizes.find(path);
  std::error_code failure;
  const std::filesystem::path file = cache_.snapshot(repo_, commit_) / path;
  return expected == listing_.sizes.end() || std::filesystem::file_size(file, failure) == expected->second;
}

Status Pull::fetch(const std::vector<std::string>& paths, const ProgressMeter::OnProgress& on_progress) {
  std::vector<RemoteFile> files;
  for (const std::string& path : paths) {
    if (!has_whole(path)) files.push_back({path, {}, 0});
  }
  if (files.empty()) return Status();
  const auto describe = [&](HubClient& client, RemoteFile& file, const std::stop_token&) -> Status {
    KVASIR_ASSIGN_OR_RETURN(file, client.describe(repo_, commit_, file.path));
    return Status();
  };
  KVASIR_RETURN_IF_ERROR(for_each(files, nullptr, describe));
  // Files of the same content are one blob.
  std::map<std::string, std::vector<std::string>> paths_of;
  for (const RemoteFile& file : files) paths_of[file.etag].push_back(file.path);
  std::erase_if(files, [&](const RemoteFile& file) { return paths_of[file.etag].front() != file.path; });
  KVASIR_RETURN_IF_ERROR(check_disk(files));

  std::uint64_t total = 0;
  for (const RemoteFile& file : files) total += file.num_bytes;
  const SteadyClock clock;
  ProgressMeter progress(total, on_progress, clock);
  const auto download = [&](HubClient& client, RemoteFile& file, const std::stop_token& stop) {
    KVASIR_RETURN_IF_ERROR(download_blob(client, cache_, repo_, commit_, file, progress, on_notice_, stop));
    for (const std::string& path : paths_of.at(file.etag)) {
      KVASIR_RETURN_IF_ERROR(cache_.link(repo_, commit_, path, file.etag));
    }
    return Status();
  };
  Status outcome = for_each(
      files, [&] { progress.tick(); }, download);
  progress.finish();
  return outcome;
}

Status Pull::check_disk(const std::vector<RemoteFile>& files) const {
  const std::filesystem::path folder = cache_.repo_folder(repo_);
  KVASIR_RETURN_IF_ERROR(make_parent_folders(folder));
  std::error_code failure;
  std::uint64_t needed = 0;
  for (const RemoteFile& file : files) {
    const std::filesystem::path blob = cache_.blob(repo_, file.etag);
    if (std::filesystem::file_size(blob, failure) == file.num_bytes && !failure) continue;
    const auto there = std::filesystem::file_size(blob.string() + ".incomplete", failure);
    needed += file.num_bytes - (failure ? 0 : std::min<std::uint64_t>(there, file.num_bytes));
  }
  const std::filesystem::space_info space = std::filesystem::space(folder.parent_path(), failure);
  if (failure || needed <= space.available) return Status();
  return error(StatusCode::kResourceExhausted, "{}: expected {} free at {}, there are {}", reference_.text(),
               format_bytes(needed), cache_.root().string(), format_bytes(space.available));
}

Status Pull::for_each(std::vector<RemoteFile>& files, const std::function<void()>& on_tick,
                      const ForFile& visit) {
  std::stop_source stopping;
  const std::stop_callback forward(stop_, [&] { stopping.request_stop(); });
  std::atomic<std::size_t> next = 0;
  std::mutex mutex;
  Status first_failure;  // under mutex
  const auto work = [&] {
    Status outcome;
    try {
      HubClient client(settings_, stopping.get_token(), on_tick);
      for (std::size_t i = next++; outcome.ok() && i < files.size(); i = next++) {
        outcome = visit(client, files[i], stopping.get_token());
      }
    } catch (const std::exception& failure) {
      outcome = Status(StatusCode::kInternal, failure.what());
    }
    if (outcome.ok()) return;
    {
      const std::lock_guard lock(mutex);
      if (first_failure.ok()) first_failure = std::move(outcome);
    }
    stopping.request_stop();
  };
  std::vector<std::thread> threads;
  for (std::size_t i = 0; i < std::min<std::size_t>(kMaxThreads, files.size()); ++i)
    threads.emplace_back(work);
  for (std::thread& thread : threads) thread.join();
  return first_failure;
}

}  // namespace kvasir::hub
