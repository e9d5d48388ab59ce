#pragma once

// OpenAI's POST /v1/embeddings: the mean of the model's last hidden states over a text, at unit length.

#include <functional>
#include <nlohmann/json_fwd.hpp>
#include <optional>
#include <variant>
#include <vector>

#include "api/call.h"
#include "api/generation.h"
#include "api/generation_spec.h"

namespace kvasir::api {

struct EmbeddingRequest {
  std::vector<Prompt> inputs;
  bool add_special_tokens = true;
  std::optional<int> truncate_prompt_tokens;
  bool is_base64 = false;  // little-endian f32, as the official clients ask for
  int priority = 0;

  bool operator==(const EmbeddingRequest&) const = default;
};

std::variant<EmbeddingRequest, Refusal> parse_embeddings(const nlohmann::ordered_json& body,
                                                         const ModelFacts& model);

// `notify` as in Generation::start.
std::variant<std::unique_ptr<Call>, Refusal> start_embeddings(const Environment& environment,
                                                              EmbeddingRequest request,
                                                              const std::function<void()>& notify);

}  // namespace kvasir::api
