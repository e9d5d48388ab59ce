#include "api/openai_call.h"

#include <nlohmann/json.hpp>

#include "api/report.h"

namespace kvasir::api {

using nlohmann::ordered_json;

OpenAiCall::OpenAiCall(std::unique_ptr<Generation> generation, const Environment& environment,
                       const Names& names)
    : GenerationCall(std::move(generation)),
      environment_(environment),
      names_(names),
      id_(random_id(names.id_prefix)),
      created_(unix_seconds()) {
  chunk_head_ = "data: " + dump(head(names_.chunk));
  chunk_head_.resize(chunk_head_.size() - 2);  // the list stays open
}

void OpenAiCall::end(std::string& out) {
  if (generation().spec().include_usage) append_event(out, end_body(head(names_.chunk)));
  append_event(out, "[DONE]");
}

std::string OpenAiCall::end_body(ordered_json body) const {
  body["usage"] = usage_json(generation().usage());
  body["kvasir"] = cache_json(generation());
  body["timings"] = timings_json(generation());
  return dump(body);
}

ordered_json OpenAiCall::head(const char* object) const {
  ordered_json json;
  json["id"] = id_;
  json["object"] = object;
  json["created"] = created_;
  json["model"] = environment_.model.name;
  json["choices"] = ordered_json::array();
  return json;
}

}  // namespace kvasir::api
