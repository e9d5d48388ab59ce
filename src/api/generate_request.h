#pragma once

// The original's POST /generate: its request, checked. The last place where its JSON exists.

#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "base/status.h"
#include "engine/request.h"

namespace kvasir::api {

struct GenerateRequest {
  std::string prompt;
  int max_new_tokens = 128;
  bool use_cache = true;
  bool use_prefix_cache = true;
  bool ignore_eos = false;
  engine::SamplingParams sampling;
  std::vector<std::string> stop;
  std::string cache_salt;
  bool stream = false;
};

// Why a request was refused, and which of its fields is to blame ("" for none).
struct Refusal {
  Status status;
  std::string param;
};

// Every field is checked for type and range; an unknown one is refused by name.
std::variant<GenerateRequest, Refusal> parse_generate_request(std::string_view body);

}  // namespace kvasir::api
