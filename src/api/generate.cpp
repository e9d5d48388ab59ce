#include "api/generate.h"

#include <nlohmann/json.hpp>

#include "api/report.h"

namespace kvasir::api {
namespace {

using nlohmann::ordered_json;

constexpr int kDefaultNewTokens = 128, kMaxNewTokens = 1 << 20;

class GenerateCall : public GenerationCall {
 public:
  using GenerationCall::GenerationCall;

 protected:
  void begin(std::string&) override {}

  void add(const Generation::Delta& delta, std::string& out) override {
    if (delta.text.empty()) return;
    out += "data: {\"text\":";
    append_quoted(out, delta.text);
    out += "}\n\n";
  }

  void end(std::string& out) override { append_event(out, body()); }

  std::string body() override {
    const Choice& choice = generation().choices().front();
    const PromptReport& prompt = generation().prompts().front();
    const engine::RequestTimings& timings = prompt.timings;
    const double total_ms = generation().elapsed();
    const auto num_generated = static_cast<int>(choice.ids.size());
    ordered_json json;
    json["text"] = choice.text;
    json["latency_ms"] = total_ms;
    json["tokens_per_sec"] = total_ms > 0 ? num_generated * 1000.0 / total_ms : 0.0;
    json["cache_enabled"] = generation().spec().use_cache;
    json["prefix_cache_hit"] = timings.num_cached_tokens > 0;
    ordered_json& out = json["timings"];
    out["tokenize_ms"] = prompt.tokenize_ms;
    out["cache_lookup_ms"] = timings.cache_lookup_ms;
    out["ttft_ms"] = timings.prefill_ms;
    out["decode_ms"] = timings.decode_ms;
    out["total_ms"] = total_ms;
    out["queue_ms"] = timings.queue_ms;
    out["total_prompt_tokens"] = timings.num_prompt_tokens;
    out["cached_tokens"] = timings.num_cached_tokens;
    out["suffix_tokens_processed"] = timings.num_prompt_tokens - timings.num_cached_tokens;
    if (timings.num_cached_tokens > 0) out["prefix_tokens_saved"] = timings.num_cached_tokens;
    json["finish_reason"] = choice.is_cut ? "length" : "stop";
    json["prompt_tokens"] = timings.num_prompt_tokens;
    json["generated_tokens"] = num_generated;
    json["kvasir"] = cache_json(generation());
    return dump(json);
  }
};

}  // namespace

std::variant<GenerationSpec, Refusal> parse_generate(const ordered_json& body, const ModelFacts& model) {
  GenerationSpec spec;
  FieldReader reader(body);
  read_common_fields(reader, model, spec);
  std::string prompt;
  reader.require("prompt");
  reader.read("prompt", prompt, std::string::npos);
  spec.prompts = {std::move(prompt)};
  int max_new_tokens = kDefaultNewTokens;
  reader.read("max_new_tokens", max_new_tokens, 1, kMaxNewTokens);
  spec.max_new_tokens = max_new_tokens;
  // The response has one text and no place for these.
  reader.only("n", 1, "the response has one text");
  reader.only("best_of", 1, "the response has one text");
  reader.only("prompt_logprobs", nullptr, "see /v1/completions");
  reader.only("return_token_ids", false, "see /v1/completions");
  reader.refuse_unknown();
  if (reader.refusal()) return *reader.refusal();
  return spec;
}

std::unique_ptr<Call> make_generate(std::unique_ptr<Generation> generation) {
  return std::make_unique<GenerateCall>(std::move(generation));
}

}  // namespace kvasir::api
