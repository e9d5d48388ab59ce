#pragma once

// A model's files from wherever its reference says: a folder, a file, the cache, else the hub.

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
  ModelSource(HubSettings settings, SourceEvents events);

  const HubCache& cache() const { return cache_; }

  // The files of a reference that is not to the embedded model. A repository's come from the cache when it
  // has them all: no network then, and no look for a newer commit. What a model can do without is asked for,
  // but not insisted on. Errors: those of look_up(), find_gguf_file() and pull().
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
