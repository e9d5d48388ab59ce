#include "api/completions.h"

#include <limits>
#include <nlohmann/json.hpp>

#include "api/openai_call.h"
#include "api/report.h"
#include "api/token_logprobs.h"

namespace kvasir::api {
namespace {

using nlohmann::ordered_json;

constexpr int kDefaultMaxTokens = 16;  // as OpenAI's

constexpr OpenAiCall::Names kCompletionNames = {"cmpl-", "text_completion", "text_completion"};

class CompletionCall : public OpenAiCall {
 public:
  CompletionCall(std::unique_ptr<Generation> generation, const Environment& environment)
      : OpenAiCall(std::move(generation), environment, kCompletionNames) {
    const GenerationSpec& spec = this->generation().spec();
    const int num_choices = static_cast<int>(this->generation().prompts().size()) * spec.num_samples;
    const int num_top = spec.num_logprobs.value_or(0);
    for (int i = 0; i < num_choices; ++i) logprobs_.emplace_back(environment.tokenizer, num_top);
    has_begun_.resize(num_choices);
  }

 protected:
  void begin(std::string&) override {}

  void add(const Generation::Delta& delta, std::string& out) override {
    const Choice& choice = delta.choice;
    const GenerationSpec& spec = generation().spec();
    const bool is_first = !has_begun_[choice.index];
    begin_chunk(out);
    if (is_first || choice.has_ended || spec.num_logprobs || spec.return_token_ids) {
      const std::string text = spec.echo && is_first ? prompt_of(choice).text + delta.text : delta.text;
      ordered_json json = choice_json(choice, text, delta.num_new_ids);
      if (!choice.has_ended) json["finish_reason"] = json["stop_reason"] = nullptr;
      out += dump(json);
    } else {
      append_text(out, choice.index, delta.text);
    }
    end_chunk(out);
  }

  std::string body() override {
    ordered_json json = begin_body();
    for (const Choice& choice : generation().choices()) {
      const std::string text = generation().spec().echo ? prompt_of(choice).text + choice.text : choice.text;
      json["choices"].push_back(choice_json(choice, text, choice.ids.size()));
    }
    return end_body(std::move(json));
  }

 private:
  const PromptReport& prompt_of(const Choice& choice) const { return generation().prompts()[choice.prompt]; }

  // A choice that has nothing but text.
  static void append_text(std::string& out, int index, std::string_view text) {
    out += R"({"text":)";
    append_quoted(out, text);
    out += R"(,"index":)";
    out += std::to_string(index);
    out += R"(,"logprobs":null,"finish_reason":null,"stop_reason":null})";
  }

  // A choice with `text` and its last `num_ids` tokens.
  ordered_json choice_json(const Choice& choice, const std::string& text, std::size_t num_ids) {
    const GenerationSpec& spec = generation().spec();
    const bool is_first = !has_begun_[choice.index];
    has_begun_[choice.index] = true;
    ordered_json json;
    json["text"] = text;
    json["index"] = choice.index;
    json["logprobs"] = nullptr;
    if (spec.num_logprobs) {
      CompletionLogprobs& logprobs = logprobs_[choice.index];
      if (spec.echo && is_first) logprobs.add_prompt(prompt_of(choice).ids, prompt_of(choice).logprobs);
      logprobs.add(std::span(choice.logprobs).last(num_ids));
      json["logprobs"] = logprobs.take();
    }
    json["finish_reason"] = choice.is_cut ? "length" : "stop";
    json["stop_reason"] = stop_reason(choice);
    if (spec.num_prompt_logprobs && !spec.echo && is_first) {
      json["prompt_logprobs"] = prompt_logprobs(environment().tokenizer, prompt_of(choice));
    }
    if (spec.return_token_ids) {
      json["token_ids"] =
          std::vector<TokenId>(choice.ids.end() - static_cast<std::ptrdiff_t>(num_ids), choice.ids.end());
      if (is_first) json["prompt_token_ids"] = prompt_of(choice).ids;
    }
    return json;
  }

  std::vector<CompletionLogprobs> logprobs_;  // by choice
  std::vector<bool> has_begun_;               // something of the choice has been sent
};

}  // namespace

std::variant<GenerationSpec, Refusal> parse_completion(const ordered_json& body, const ModelFacts& model) {
  GenerationSpec spec;
  spec.sampling.temperature = 1;
  FieldReader reader(body);
  read_common_fields(reader, model, spec);
  read_prompts(reader, "prompt", model, spec.prompts);
  spec.max_new_tokens = kDefaultMaxTokens;
  reader.read("max_tokens", spec.max_new_tokens, 0, std::numeric_limits<int>::max());
  // llama.cpp's word for it; -1: as long as the context allows.
  std::optional<int> num_predict;
  reader.read("n_predict", num_predict, -1, std::numeric_limits<int>::max());
  if (num_predict) spec.max_new_tokens = *num_predict < 0 ? std::nullopt : num_predict;
  reader.read("echo", spec.echo);
  reader.read("add_special_tokens", spec.add_special_tokens);
  reader.read("logprobs", spec.num_logprobs, 0, RequestLimits::kMaxLogprobs);
  if (spec.echo && spec.num_logprobs) spec.num_prompt_logprobs = spec.num_logprobs;
  reader.only("suffix", "", "text cannot be inserted, only continued");
  reader.refuse_unknown();
  if (reader.refusal()) return *reader.refusal();
  return spec;
}

std::unique_ptr<Call> make_completion(std::unique_ptr<Generation> generation,
                                      const Environment& environment) {
  return std::make_unique<CompletionCall>(std::move(generation), environment);
}

}  // namespace kvasir::api
