#pragma once

// What OpenAI's two generating APIs, completions and chat, have in common: how each body and each chunk of a
// stream begins, the reports that end a reply, and the end of a stream.

#include <cstdint>
#include <memory>
#include <nlohmann/json_fwd.hpp>
#include <string>

#include "api/call.h"

namespace kvasir::api {

class OpenAiCall : public GenerationCall {
 public:
  struct Names {
    const char* id_prefix;
    const char* body;   // the member `object`
    const char* chunk;  // the same, in a stream
  };

 protected:
  // `environment` outlives the call.
  OpenAiCall(std::unique_ptr<Generation> generation, const Environment& environment, const Names& names);

  void end(std::string& out) final;

  // A body whose list `choices` is to be filled; and with what comes after it, as text.
  nlohmann::ordered_json begin_body() const { return head(names_.body); }
  std::string end_body(nlohmann::ordered_json body) const;

  // A chunk is what these two append, and between them one choice as JSON text: most chunks are a few letters
  // of a reply, and need no JSON tree.
  void begin_chunk(std::string& out) const { out += chunk_head_; }
  static void end_chunk(std::string& out) { out += "]}\n\n"; }

  const Environment& environment() const { return environment_; }

 private:
  nlohmann::ordered_json head(const char* object) const;

  const Environment& environment_;
  const Names names_;
  const std::string id_;
  const std::int64_t created_;
  std::string chunk_head_;
};

}  // namespace kvasir::api
