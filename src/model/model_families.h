#pragma once

// The families of decoders that we know: how each one's config.json becomes options and tensor names.

#include <nlohmann/json_fwd.hpp>
#include <string>

#include "base/status.h"
#include "model/model_config.h"

namespace kvasir::model {

// Fills in everything but the tokens of generation_config.json. where: the file, for messages.
// Errors: those of read_model_config().
Status read_family(const std::string& where, const nlohmann::json& object, ModelConfig& config);

}  // namespace kvasir::model
