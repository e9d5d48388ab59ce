#pragma once

// The families of decoders that we know: how each one's config.json becomes options and tensor names.

#include <nlohmann/json_fwd.hpp>
#include <string>
#include <string_view>

#include "base/status.h"
#include "model/model_config.h"

namespace kvasir::model {

// The class of transformers that a config.json is of, by its architectures or, where it names none, its
// model_type. Errors: kUnsupported for one that we do not have.
Result<std::string_view> find_class(const std::string& where, const nlohmann::json& object);

// Fills in everything but the tokens of generation_config.json. where: the file, for messages.
// Errors: those of read_model_config().
Status read_family(const std::string& where, const nlohmann::json& object, ModelConfig& config);

}  // namespace kvasir::model
