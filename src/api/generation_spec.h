#pragma once

// What every API asks of the engine, checked: prompts, sampling, limits, what to report. Each API's request
// (completions.h, chat.h, ...) holds one. And the fields that the APIs have in common.

#include <optional>
#include <string>
#include <variant>
#include <vector>

#include "api/field_reader.h"
#include "api/output_format.h"
#include "api/tool_calls.h"
#include "engine/request.h"

namespace kvasir::api {

using Prompt = std::variant<std::string, std::vector<TokenId>>;

// Limits on what one request may ask for; those of the tokens are the engine's.
struct RequestLimits {
  static constexpr int kMaxPrompts = 1024;
  static constexpr int kMaxReplies = 1024;  // to all prompts together
  static constexpr int kMaxSamples = 128;   // of one prompt
  static constexpr int kMaxLogprobs = 20;
  static constexpr std::int64_t kMaxPromptLogprobs = 2 << 20;  // that a reply repeats, in all
  static constexpr std::size_t kMaxTexts = 1 << 18;            // of tokens, one by one
  static constexpr std::size_t kMaxDetokenized = 1 << 20;
  static constexpr std::size_t kMaxStops = 16, kMaxStopBytes = 1024, kMaxSaltBytes = 1024;
};

struct GenerationSpec {
  std::vector<Prompt> prompts;
  double encode_ms = 0;                       // that a prompt of tokens has taken to be made
  bool add_special_tokens = true;             // to prompts that are text
  std::optional<int> truncate_prompt_tokens;  // only the last so many
  int num_samples = 1;                        // choices for each prompt
  int best_of = 1;                            // of which they are the likeliest
  std::optional<int> max_new_tokens;          // none: as the context allows
  int min_new_tokens = 0;
  engine::SamplingParams sampling;
  std::vector<std::string> stop;
  std::vector<TokenId> stop_token_ids;
  bool ignore_eos = false;
  bool include_stop_text = false;
  bool skip_special_tokens = true;
  bool echo = false;
  std::optional<int> num_logprobs, num_prompt_logprobs;
  bool return_token_ids = false;
  OutputFormat format;
  bool use_cache = true, use_prefix_cache = true;
  std::string cache_salt;
  int priority = 0;
  bool stream = false, include_usage = false;

  bool operator==(const GenerationSpec&) const = default;
};

// What the fields are checked against.
struct ModelFacts {
  std::string name;  // as clients call it
  std::vector<std::string> aliases;
  int vocab_size = 0;
  int context = 0;  // tokens of prompt and reply
  std::vector<TokenId> eos_token_ids;
  ToolFormat tool_format = ToolFormat::kHermes;  // in which it writes calls of tools
  ToolCallSyntax tool_syntax;
};

// Sampling, stops and the cache: the fields that OpenAI's two generating APIs share, vLLM's and llama.cpp's
// further ones, and those that are accepted because they change nothing here (docs/api.md lists them).
void read_common_fields(FieldReader& reader, const ModelFacts& model, GenerationSpec& spec);

// A string, a list of token ids, or a list of either: OpenAI's `prompt` and `input`. Required.
void read_prompts(FieldReader& reader, const char* key, const ModelFacts& model,
                  std::vector<Prompt>& prompts);

// `model`: one of the names of the model that is served, or absent. Refused with 404.
std::optional<Refusal> check_model(const nlohmann::ordered_json& body, const ModelFacts& model);

// Counts that only make sense together. max_replies: to all prompts together. nullopt: all is well.
std::optional<Refusal> check_counts(const GenerationSpec& spec, int max_replies);

}  // namespace kvasir::api
