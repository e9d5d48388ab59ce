#include "apps/write_gguf.h"

#include <fmt/format.h>
#include <spdlog/spdlog.h>

#include <cctype>
#include <filesystem>
#include <iterator>

#include "apps/loaded_model.h"
#include "apps/stop_signals.h"
#include "backend/block_types.h"
#include "format/new_file.h"
#include "hub/progress.h"
#include "model/gguf_export.h"

namespace kvasir {
namespace {

// "q4_k" as files have it.
std::string upper(std::string name) {
  for (char& c : name) c = static_cast<char>(std::toupper(static_cast<unsigned char>(c)));
  return name;
}

// "llama.gguf: 638 MB, 155 tensors Q4_K (571 MB), 45 F32 (369 kB)".
std::string describe(const std::string& path, const model::ExportSummary& summary) {
  std::string line = fmt::format("{}: {}", path, hub::format_bytes(summary.num_bytes));
  const char* tensors = " tensors";
  for (const auto& total : summary.types) {
    fmt::format_to(std::back_inserter(line), ", {}{} {} ({})", total.num_tensors, tensors,
                   backend::name_of(total.type), hub::format_bytes(total.num_bytes));
    tensors = "";
  }
  return line;
}

}  // namespace

Status write_gguf(const GgufOptions& options) {
  if (!options.output.ends_with(".gguf")) {
    return error(StatusCode::kInvalidArgument, "{}: expected a name that ends in .gguf", options.output);
  }
  // Before anything is downloaded; of what lies here export_gguf() has more to say.
  std::error_code failure;
  if (!std::filesystem::exists(options.input, failure)) {
    KVASIR_RETURN_IF_ERROR(format::NewFile::check(options.output, options.replaces));
  }
  const StopSignals signals;
  KVASIR_ASSIGN_OR_RETURN(format::ModelFiles files, open_model_files(options.input, signals.token()));
  const model::ExportOptions how{backend::block_type_of(upper(options.type)), options.replaces,
                                 signals.token()};
  KVASIR_ASSIGN_OR_RETURN(const model::ExportSummary summary, model::export_gguf(files, how, options.output));
  if (!summary.has_tokenizer) {
    spdlog::warn("{}: has no tokenizer, for {} has none; it cannot be served", options.output, files.name());
  }
  if (summary.num_unfit > 0) {
    spdlog::warn("{}: {} matrices have rows that are no whole number of {} blocks; they are of a larger type",
                 options.output, summary.num_unfit, options.type);
  }
  fmt::print(stderr, "{}\n", describe(options.output, summary));
  return Status();
}

}  // namespace kvasir
