#pragma once

// The routes that turn text into tokens and back, without the model: /tokenize, /detokenize, /apply-template,
// each in the words of llama.cpp and of vLLM.

#include <nlohmann/json_fwd.hpp>
#include <variant>

#include "api/conversation.h"
#include "api/generation_spec.h"
#include "api/refusal.h"
#include "tokenizer/tokenizer.h"

namespace kvasir::api {

using JsonOrRefusal = std::variant<nlohmann::ordered_json, Refusal>;

JsonOrRefusal tokenize(const nlohmann::ordered_json& body, const ModelFacts& model,
                       const tokenizer::Tokenizer& tokenizer, const ConversationEncoder& encoder);
JsonOrRefusal detokenize(const nlohmann::ordered_json& body, const ModelFacts& model,
                         const tokenizer::Tokenizer& tokenizer);
JsonOrRefusal apply_template(const nlohmann::ordered_json& body, const ConversationEncoder& encoder);

}  // namespace kvasir::api
