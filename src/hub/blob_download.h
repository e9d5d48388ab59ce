#pragma once

// One file from the hub into the cache: under its lock, gone on with after breaks, checked, then published.

#include <functional>
#include <stop_token>
#include <string>

#include "base/status.h"
#include "hub/hub_cache.h"
#include "hub/hub_client.h"
#include "hub/progress.h"

namespace kvasir::hub {

// What may be told meanwhile, a line each; may be null. Called on any thread.
using OnNotice = std::function<void(const std::string& line)>;

// Has the blob of `file` in the cache, by another process if one is at it. Errors: those of HubClient; kIo;
// kCorrupt when size or checksum are not what the hub said: then nothing is kept.
Status download_blob(HubClient& client, const HubCache& cache, const std::string& repo,
                     const std::string& commit, const RemoteFile& file, ProgressMeter& progress,
                     const OnNotice& on_notice, const std::stop_token& stop);

}  // namespace kvasir::hub
