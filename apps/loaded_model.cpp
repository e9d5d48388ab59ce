#include "apps/loaded_model.h"

#include <fmt/core.h>
#include <spdlog/spdlog.h>
#include <unistd.h>

#include <chrono>

#include "apps/hub_source.h"
#include "base/bytes.h"

namespace kvasir {
namespace {

#include "embedded_model_files.inc"

// One line that a terminal overwrites; elsewhere nothing, for the log says when the model is loaded.
void show_progress(double share) {
  if (isatty(STDERR_FILENO) == 0) return;
  fmt::print(stderr, "\rconverting weights: {:3.0f}%{}", 100 * share, share < 1 ? "" : "\n");
}

}  // namespace

Result<format::ModelFiles> open_model_files(const std::string& model, const std::stop_token& stop) {
  KVASIR_ASSIGN_OR_RETURN(const hub::ModelReference reference, hub::parse_model_reference(model));
  if (reference.kind == hub::ModelReference::Kind::kEmbedded) {
    return format::ModelFiles::from_memory("embedded model", kFiles);
  }
  // The hub's variables need not make sense for what lies here.
  if (reference.kind != hub::ModelReference::Kind::kRepo) return format::ModelFiles::open(reference.path);
  KVASIR_ASSIGN_OR_RETURN(const hub::ModelSource source, open_hub());
  KVASIR_ASSIGN_OR_RETURN(const hub::LocalModel local, source.find(reference, stop));
  return format::ModelFiles::open(local.gguf_files.empty() ? local.folder : local.gguf_files.front());
}

Result<std::unique_ptr<tokenizer::Tokenizer>> load_tokenizer(format::ModelFiles& files) {
  KVASIR_ASSIGN_OR_RETURN(const auto bytes, files.read("tokenizer.json"));
  return tokenizer::Tokenizer::from_json(files.path("tokenizer.json"), as_text(bytes));
}

Result<LoadedModel> load_model(const ModelOptions& options, const CheckMemory& check_memory,
                               const std::stop_token& stop) {
  const auto begin = std::chrono::steady_clock::now();
  LoadedModel loaded;
  KVASIR_ASSIGN_OR_RETURN(format::ModelFiles files, open_model_files(options.model, stop));
  spdlog::info("loading {}", files.name());
  loaded.files = std::make_unique<format::ModelFiles>(std::move(files));
  loaded.pool = std::make_unique<ThreadPool>(options.threads > 0 ? options.threads : num_physical_cores());
  model::LoadOptions load_options;
  KVASIR_ASSIGN_OR_RETURN(load_options.dtype, options.weight_dtype());
  load_options.max_model_len = options.max_model_len;
  load_options.weight_cache = options.weight_cache;
  load_options.check_memory = check_memory;
  load_options.on_progress = show_progress;
  load_options.on_warning = [](const std::string& warning) { spdlog::warn("{}", warning); };
  KVASIR_ASSIGN_OR_RETURN(loaded.model, model::Model::load(*loaded.files, load_options, *loaded.pool));
  const std::chrono::duration<double> elapsed = std::chrono::steady_clock::now() - begin;
  const model::ModelConfig& config = loaded.model->config();
  const bool is_stored = loaded.model->dtype() == model::WeightDtype::kAuto;
  spdlog::info("loaded {} in {:.2f} s: {} layers, context {}, weights {}, {} threads", loaded.files->name(),
               elapsed.count(), config.num_layers, config.max_position_embeddings,
               is_stored ? "as stored" : dtype_name(loaded.model->dtype()), loaded.pool->num_threads());
  return loaded;
}

}  // namespace kvasir
