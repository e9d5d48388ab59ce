#pragma once

// Where models come from and are kept, by the variables that huggingface_hub reads.

#include <filesystem>
#include <functional>
#include <string>

#include "base/status.h"

namespace kvasir::hub {

struct HubSettings {
  std::filesystem::path cache;
  std::string endpoint = "https://huggingface.co";
  std::string token;  // empty: none. Never for a message or a log.
  bool is_offline = false;
};

// The value of an environment variable, null when it is not set.
using ReadVariable = std::function<const char*(const char*)>;

// The cache: HF_HUB_CACHE, else $HF_HOME/hub, else $XDG_CACHE_HOME/huggingface/hub, else
// ~/.cache/huggingface/hub. The token: HF_TOKEN, else the file HF_TOKEN_PATH, else $HF_HOME/token; none where
// HF_HUB_DISABLE_IMPLICIT_TOKEN is set. HF_ENDPOINT; HF_HUB_OFFLINE. An empty variable is one that is not
// set. Errors: kInvalidArgument, naming the variable.
Result<HubSettings> read_hub_settings(const ReadVariable& variable);

}  // namespace kvasir::hub
