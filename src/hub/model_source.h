#pragma once

// A model's files from the cache, else from the hub.

#include <functional>
#include <stop_token>
#include <string>

#include "base/status.h"
#include "hub/blob_download.h"
#include "hub/hub_cache.h"
#include "hub/hub_settings.h"
#include "hub/local_model.h"
#include "hub/model_reference.h"
#include "hub/progress.h"

namespace kvasir::hub {

// What is told of a download; each may be null. Called on any thread, on_progress on one at a time.
struct SourceEvents {
  ProgressMeter::OnProgress on_progress;
  OnNotice on_notice;
};

class ModelSource {
 public:
  // References are to repositories (ModelReference::Kind::kRepo).
  ModelSource(HubSettings settings, SourceEvents events);

  const HubCache& cache() const { return cache_; }

  // The files of a repository's model: from the cache when it has them all, with no network and no look for a
  // newer commit, else from the hub. What a model can do without is asked for at the commit that is there,
  // but not insisted on. Errors: those of look_up() and pull().
  Result<LocalModel> find(const ModelReference& reference, const std::stop_token& stop) const;

  // Asks the hub what a repository's revision is at and downloads what the cache lacks of that, four files at
  // a time. The revision's ref changes when all is there. Errors: kUnavailable, kNotFound, kInvalidArgument,
  // kCorrupt, kIo; kResourceExhausted when the disk has no room for it; kCancelled.
  Result<LocalModel> pull(const ModelReference& reference, const std::stop_token& stop) const;

 private:
  HubSettings settings_;
  HubCache cache_;
  SourceEvents events_;
};

}  // namespace kvasir::hub
