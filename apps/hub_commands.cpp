#include "apps/hub_commands.h"

#include <fmt/chrono.h>
#include <fmt/format.h>

#include <algorithm>
#include <vector>

#include "apps/hub_source.h"
#include "hub/cached_models.h"

namespace kvasir {

Status pull_model(const std::string& reference, std::ostream& out) {
  KVASIR_ASSIGN_OR_RETURN(const auto parsed, hub::parse_repo_reference(reference));
  KVASIR_ASSIGN_OR_RETURN(const hub::ModelSource source, open_hub());
  KVASIR_ASSIGN_OR_RETURN(const hub::LocalModel model, source.pull(parsed, {}));
  out << (model.gguf_files.empty() ? model.folder : model.gguf_files.front()) << '\n';
  return Status();
}

Status list_cached_models(std::ostream& out) {
  KVASIR_ASSIGN_OR_RETURN(const hub::ModelSource source, open_hub());
  KVASIR_ASSIGN_OR_RETURN(const std::vector<hub::CachedModel> models, hub::list_models(source.cache()));
  if (models.empty()) {
    out << "no models in " << source.cache().root().string() << '\n';
    return Status();
  }
  std::size_t width = 5;
  for (const hub::CachedModel& model : models) width = std::max(width, model.name.size());
  constexpr std::size_t kCommitDigits = 12;
  out << fmt::format("{:{}}  {:{}}  {:>8}  {:16}\n", "model", width, "commit", kCommitDigits, "size",
                     "last used");
  for (const hub::CachedModel& model : models) {
    out << fmt::format("{:{}}  {:{}}  {:>8}  {:%Y-%m-%d %H:%M}{}\n", model.name, width,
                       model.commit.empty() ? "-" : model.commit.substr(0, kCommitDigits), kCommitDigits,
                       hub::format_bytes(model.num_bytes),
                       fmt::localtime(std::chrono::system_clock::to_time_t(model.last_used)),
                       model.is_complete ? "" : "  incomplete");
  }
  return Status();
}

Status remove_cached_model(const std::string& reference, std::ostream& out) {
  KVASIR_ASSIGN_OR_RETURN(const auto parsed, hub::parse_repo_reference(reference));
  KVASIR_ASSIGN_OR_RETURN(const hub::ModelSource source, open_hub());
  KVASIR_ASSIGN_OR_RETURN(const std::uint64_t freed, hub::remove_model(source.cache(), parsed));
  out << "removed " << parsed.text() << ", " << hub::format_bytes(freed) << '\n';
  return Status();
}

}  // namespace kvasir
