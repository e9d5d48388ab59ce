#include "apps/loaded_model.h"

#include <spdlog/spdlog.h>

#include <chrono>

namespace kvasir {
namespace {

#include "embedded_model_files.inc"

}  // namespace

Result<format::ModelFiles> open_model_files(const std::string& folder) {
  if (!folder.empty()) return format::ModelFiles::open(folder);
  return format::ModelFiles::from_memory("embedded model", kFiles);
}

Result<std::unique_ptr<tokenizer::Tokenizer>> load_tokenizer(format::ModelFiles& files) {
  KVASIR_ASSIGN_OR_RETURN(const auto bytes, files.read("tokenizer.json"));
  return tokenizer::Tokenizer::from_json(files.path("tokenizer.json"),
                                         {reinterpret_cast<const char*>(bytes.data()), bytes.size()});
}

Result<LoadedModel> load_model(const ModelOptions& options) {
  const auto begin = std::chrono::steady_clock::now();
  LoadedModel loaded;
  KVASIR_ASSIGN_OR_RETURN(format::ModelFiles files, open_model_files(options.model));
  spdlog::info("loading {}", files.name());
  loaded.files = std::make_unique<format::ModelFiles>(std::move(files));
  loaded.pool = std::make_unique<ThreadPool>(options.threads > 0 ? options.threads : num_physical_cores());
  KVASIR_ASSIGN_OR_RETURN(const model::WeightDtype dtype, options.weight_dtype());
  KVASIR_ASSIGN_OR_RETURN(loaded.model, model::Model::load(*loaded.files, dtype, *loaded.pool));
  const std::chrono::duration<double> elapsed = std::chrono::steady_clock::now() - begin;
  spdlog::info("loaded {} in {:.2f} s: {} layers, context {}, {} threads", loaded.files->name(),
               elapsed.count(), loaded.model->config().num_layers,
               loaded.model->config().max_position_embeddings, loaded.pool->num_threads());
  return loaded;
}

}  // namespace kvasir
