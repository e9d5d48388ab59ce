#include "model/model_config.h"

#include <nlohmann/json.hpp>
#include <utility>

#include "model/config_reader.h"
#include "model/model_families.h"

namespace kvasir::model {

Result<ModelConfig> read_model_config(format::ModelFiles& files) {
  KVASIR_ASSIGN_OR_RETURN(const nlohmann::json object, files.read_json("config.json"));
  ModelConfig config;
  KVASIR_RETURN_IF_ERROR(read_family(files.path("config.json"), object, config));
  if (!files.has("generation_config.json")) return config;
  KVASIR_ASSIGN_OR_RETURN(const nlohmann::json generation, files.read_json("generation_config.json"));
  ConfigReader reader(files.path("generation_config.json"), generation);
  std::vector<TokenId> eos;
  reader.tokens("eos_token_id", config.vocab_size, eos);
  if (!reader.ok()) return reader.finish();
  // Those of generation_config.json come first.
  for (const TokenId token : config.eos_token_ids) {
    if (std::find(eos.begin(), eos.end(), token) == eos.end()) eos.push_back(token);
  }
  config.eos_token_ids = std::move(eos);
  return config;
}

Status limit_context(ModelConfig& config, int max_model_len) {
  if (max_model_len < 1 || max_model_len > config.max_position_embeddings) {
    return error(StatusCode::kInvalidArgument, "max-model-len: expected 1 to {}, the model's context, got {}",
                 config.max_position_embeddings, max_model_len);
  }
  config.max_position_embeddings = max_model_len;
  for (RopeConfig* rope : {&config.rope, &config.local_rope}) {
    if (max_model_len > rope->short_context) continue;
    rope->frequencies = std::exchange(rope->short_frequencies, {});
    rope->short_context = 0;
  }
  return Status();
}

}  // namespace kvasir::model
