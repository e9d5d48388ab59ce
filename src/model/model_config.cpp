#include "model/model_config.h"

#include <nlohmann/json.hpp>

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

}  // namespace kvasir::model
