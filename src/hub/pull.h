#pragma once

// One download of a model from the hub into the cache.

#include <functional>
#include <mutex>
#include <stop_token>
#include <string>
#include <vector>

#include "base/status.h"
#include "hub/blob_download.h"
#include "hub/hub_cache.h"
#include "hub/hub_client.h"
#include "hub/hub_settings.h"
#include "hub/model_reference.h"
#include "hub/progress.h"

namespace kvasir::hub {

class Pull {
 public:
  // All is borrowed for the object's life. `is_patient` false: there is one attempt to reach the hub.
  Pull(const HubSettings& settings, const HubCache& cache, const ModelReference& reference,
       const ProgressMeter::OnProgress& on_progress, const OnNotice& on_notice, bool is_patient,
       const std::stop_token& stop);

  // Returns the commit, of which the cache then has all that is needed. Errors: as ModelSource::pull().
  Result<std::string> run();

 private:
  using ForFile = std::function<Status(HubClient& client, RemoteFile& file, const std::stop_token& stop)>;

  Result<std::vector<std::string>> choose();
  Result<std::vector<std::string>> choose_weights();

  // Whether the cache has a file of the commit, with the size that the hub says if it does.
  bool has_whole(const std::string& path) const;

  // Has these files of the commit in the cache.
  Status fetch(const std::vector<std::string>& paths, const ProgressMeter::OnProgress& on_progress);
  Status check_disk(const std::vector<RemoteFile>& files) const;

  // Calls `visit` for each file, on several threads; the first failure stops the others and is returned.
  Status for_each(std::vector<RemoteFile>& files, const std::function<void()>& on_tick, const ForFile& visit);

  const HubSettings& settings_;
  const HubCache& cache_;
  const ModelReference& reference_;
  const ProgressMeter::OnProgress& on_progress_;
  const OnNotice& on_notice_;
  const bool is_patient_;
  const std::stop_token& stop_;
  const std::string& repo_;
  std::string commit_;
  RepoListing listing_;
};

}  // namespace kvasir::hub
