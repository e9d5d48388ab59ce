#include "hub/model_source.h"

#include <utility>

#include "hub/pull.h"

namespace kvasir::hub {
namespace {

// What the cache has of a commit that was just pulled.
Result<LocalModel> at_commit(const HubCache& cache, ModelReference reference, const std::string& commit) {
  reference.revision = commit;
  KVASIR_ASSIGN_OR_RETURN(CacheLookup lookup, look_up(cache, reference));
  if (lookup.model) return *std::move(lookup.model);
  return error(StatusCode::kNotFound, "{}: {} is gone from the cache {} again", reference.text(),
               lookup.missing, cache.root().string());
}

}  // namespace

ModelSource::ModelSource(HubSettings settings, SourceEvents events)
    : settings_(std::move(settings)), cache_(settings_.cache), events_(std::move(events)) {}

Result<LocalModel> ModelSource::find(const ModelReference& reference, const std::stop_token& stop) const {
  KVASIR_ASSIGN_OR_RETURN(CacheLookup lookup, look_up(cache_, reference));
  if (lookup.is_complete) return *lookup.model;
  const std::string lacks =
      fmt::format("{}: the cache {} lacks {}", reference.text(), cache_.root().string(), lookup.missing);
  if (settings_.is_offline) {
    if (lookup.model) return *lookup.model;
    return error(StatusCode::kUnavailable, "{}, and HF_HUB_OFFLINE forbids to ask the hub", lacks);
  }
  ModelReference wanted = reference;
  // What runs stays at its commit, whatever it is asked for.
  if (lookup.model) wanted.revision = lookup.commit;
  const bool is_needed = !lookup.model;
  Pull pull(settings_, cache_, wanted, events_.on_progress, events_.on_notice, is_needed, stop);
  const Result<std::string> commit = pull.run();
  if (commit.ok()) return at_commit(cache_, reference, *commit);
  if (lookup.model && commit.status().code() != StatusCode::kCancelled) {
    if (events_.on_notice) {
      events_.on_notice(fmt::format("{}, which it can do without: {}", lacks, commit.status().message()));
    }
    return *lookup.model;
  }
  if (commit.status().code() != StatusCode::kUnavailable) return commit.status();
  return error(StatusCode::kUnavailable, "{}, and {}", lacks, commit.status().message());
}

Result<LocalModel> ModelSource::pull(const ModelReference& reference, const std::stop_token& stop) const {
  if (settings_.is_offline) {
    return error(StatusCode::kUnavailable, "{}: HF_HUB_OFFLINE forbids to ask the hub", reference.text());
  }
  Pull pull(settings_, cache_, reference, events_.on_progress, events_.on_notice, true, stop);
  KVASIR_ASSIGN_OR_RETURN(const std::string commit, pull.run());
  return at_commit(cache_, reference, commit);
}

}  // namespace kvasir::hub
