#include "api/generation_spec.h"

#include <algorithm>
#include <charconv>
#include <limits>
#include <nlohmann/json.hpp>

namespace kvasir::api {
namespace {

using nlohmann::ordered_json;

constexpr int kMaxInt = std::numeric_limits<int>::max();

void read_sampling(FieldReader& reader, engine::SamplingParams& sampling) {
  reader.read("temperature", sampling.temperature, 0, 100);
  reader.read("top_p", sampling.top_p, 0, 1);
  // -1 is vLLM's other word for "off".
  int top_k = sampling.top_k;
  reader.read("top_k", top_k, -1, kMaxInt);
  sampling.top_k = std::max(top_k, 0);
  reader.read("min_p", sampling.min_p, 0, 1);
  reader.read("repetition_penalty", sampling.repetition_penalty, 0.01, 100);
  reader.read("repeat_penalty", sampling.repetition_penalty, 0.01, 100);
  reader.read("presence_penalty", sampling.presence_penalty, -100, 100);
  reader.read("frequency_penalty", sampling.frequency_penalty, -100, 100);
  reader.read_seed("seed", sampling.seed);
}

// {"token id": bias}, as OpenAI has it, or llama.cpp's [[id, bias], ...].
void read_logit_bias(FieldReader& reader, const ModelFacts& model, engine::SamplingParams& sampling) {
  const ordered_json* value = reader.take("logit_bias");
  if (value == nullptr) return;
  const auto add = [&](std::string_view id_text, const ordered_json& bias) {
    TokenId id = -1;
    const auto [end, failure] = std::from_chars(id_text.data(), id_text.data() + id_text.size(), id);
    if (failure != std::errc() || end != id_text.data() + id_text.size() || id < 0 ||
        id >= model.vocab_size) {
      return reader.refuse("logit_bias", fmt::format("expected token ids from 0 to {}, got {}",
                                                     model.vocab_size - 1, id_text.substr(0, 40)));
    }
    if (!bias.is_number() || !(bias.get<double>() >= -100 && bias.get<double>() <= 100)) {
      return reader.refuse("logit_bias",
                           fmt::format("expected numbers from -100 to 100, got {}", show(bias)));
    }
    sampling.logit_bias.emplace_back(id, bias.get<float>());
  };
  if (value->is_object()) {
    for (const auto& [id, bias] : value->items()) add(id, bias);
  } else if (value->is_array()) {
    for (const ordered_json& pair : *value) {
      if (!pair.is_array() || pair.size() != 2 || !pair[0].is_number_integer()) {
        return reader.refuse("logit_bias", "expected pairs of a token id and a number");
      }
      add(pair[0].dump(), pair[1]);
    }
  } else {
    reader.refuse("logit_bias", fmt::format("expected an object, got {}", show(*value)));
  }
}

void read_stops(FieldReader& reader, const ModelFacts& model, GenerationSpec& spec) {
  reader.read_strings("stop", spec.stop, RequestLimits::kMaxStops, RequestLimits::kMaxStopBytes);
  reader.read_ids("stop_token_ids", spec.stop_token_ids, 1024, model.vocab_size);
  reader.read("ignore_eos", spec.ignore_eos);
  reader.read("include_stop_str_in_output", spec.include_stop_text);
  reader.read("min_tokens", spec.min_new_tokens, 0, kMaxInt);
  reader.read("skip_special_tokens", spec.skip_special_tokens);
}

void read_cache(FieldReader& reader, GenerationSpec& spec) {
  reader.read("cache_prompt", spec.use_prefix_cache);
  reader.read("use_prefix_cache", spec.use_prefix_cache);
  reader.read("use_cache", spec.use_cache);
  reader.read("cache_salt", spec.cache_salt, RequestLimits::kMaxSaltBytes);
  if (reader.has("cache_salt") && spec.cache_salt.empty()) {
    reader.refuse("cache_salt", "expected 1 to 1024 bytes, got none");
  }
}

bool is_list_of_ids(const ordered_json& value) {
  return value.is_array() && !value.empty() && value.front().is_number();
}

}  // namespace

void read_prompts(FieldReader& reader, const char* key, const ModelFacts& model,
                  std::vector<Prompt>& prompts) {
  reader.require(key);
  const ordered_json* value = reader.take(key);
  if (value == nullptr) return;
  const bool is_one = value->is_string() || is_list_of_ids(*value);
  if (!is_one && (!value->is_array() || value->empty())) {
    return reader.refuse(key, fmt::format("expected a string, token ids, or a list of either, got {}",
                                          value->is_array() ? "an empty list" : show(*value)));
  }
  if (!is_one && value->size() > RequestLimits::kMaxPrompts) {
    return reader.refuse(
        key, fmt::format("expected at most {} prompts, got {}", RequestLimits::kMaxPrompts, value->size()));
  }
  const auto add = [&](const ordered_json& one) {
    if (one.is_string()) {
      prompts.emplace_back(one.get<std::string>());
      return;
    }
    // Read as the field of an object, for the checks and the message.
    const ordered_json holder = {{key, one}};
    FieldReader nested(holder);
    std::vector<TokenId> ids;
    nested.read_ids(key, ids, std::numeric_limits<std::size_t>::max(), model.vocab_size);
    reader.refuse(nested);
    prompts.emplace_back(std::move(ids));
  };
  if (is_one) return add(*value);
  for (const ordered_json& one : *value) {
    if (!one.is_string() && !is_list_of_ids(one)) {
      return reader.refuse(key, fmt::format("expected strings or lists of token ids, got {}", show(one)));
    }
    add(one);
  }
}

void read_common_fields(FieldReader& reader, const ModelFacts& model, GenerationSpec& spec) {
  reader.take("model");  // check_model() has seen it
  read_sampling(reader, spec.sampling);
  read_logit_bias(reader, model, spec.sampling);
  reader.read_ids("allowed_token_ids", spec.sampling.allowed_token_ids, model.vocab_size, model.vocab_size);
  read_stops(reader, model, spec);
  read_cache(reader, spec);
  read_output_format(reader, spec.format);
  reader.read("n", spec.num_samples, 1, RequestLimits::kMaxSamples);
  spec.best_of = spec.num_samples;
  reader.read("best_of", spec.best_of, 1, RequestLimits::kMaxSamples);
  reader.read("prompt_logprobs", spec.num_prompt_logprobs, 0, RequestLimits::kMaxLogprobs);
  std::optional<int> truncate;
  reader.read("truncate_prompt_tokens", truncate, -1, kMaxInt);
  if (truncate == 0) reader.refuse("truncate_prompt_tokens", "expected -1 or at least 1, got 0");
  if (truncate) spec.truncate_prompt_tokens = *truncate < 0 ? model.context - 1 : *truncate;
  reader.read("return_token_ids", spec.return_token_ids);
  reader.read("priority", spec.priority, std::numeric_limits<int>::min(), kMaxInt);
  reader.read("stream", spec.stream);
  if (const ordered_json* options = reader.take("stream_options")) {
    if (!spec.stream) reader.refuse("stream_options", "only allowed with stream: true");
    if (!options->is_object()) return reader.refuse("stream_options", "expected an object");
    FieldReader nested(*options, "stream_options.");
    nested.read("include_usage", spec.include_usage);
    nested.accept({"include_obfuscation", "continuous_usage_stats"});
    nested.refuse_unknown();
    reader.refuse(nested);
  }
  // Of these the server has no use: who asks, how OpenAI routes, bills and stores, what vLLM logs.
  reader.accept({"user", "metadata", "service_tier", "safety_identifier", "prompt_cache_key",
                 "prompt_cache_retention", "request_id"});
  reader.only("store", false, "nothing is stored");
}

std::optional<Refusal> check_model(const ordered_json& body, const ModelFacts& model) {
  const auto found = body.find("model");
  if (found == body.end() || found->is_null()) return std::nullopt;
  if (!found->is_string()) {
    return Refusal{error(StatusCode::kInvalidArgument, "model: expected a string, got {}", show(*found)),
                   "model"};
  }
  const auto& name = found->get_ref<const std::string&>();
  if (name == model.name ||
      std::find(model.aliases.begin(), model.aliases.end(), name) != model.aliases.end()) {
    return std::nullopt;
  }
  return Refusal{error(StatusCode::kNotFound, "model: there is no '{}' here, only '{}'", name.substr(0, 100),
                       model.name),
                 "model"};
}

std::optional<Refusal> check_counts(const GenerationSpec& spec, int max_replies) {
  const auto refuse = [](const char* param, std::string why) {
    return Refusal{error(StatusCode::kInvalidArgument, "{}: {}", param, why), param};
  };
  if (spec.best_of < spec.num_samples) {
    return refuse("best_of",
                  fmt::format("expected at least n, which is {}, got {}", spec.num_samples, spec.best_of));
  }
  if (spec.stream && spec.best_of > spec.num_samples) {
    return refuse("best_of", "must be n in a stream: the best are known at the end only");
  }
  const auto num_prompts = static_cast<std::int64_t>(spec.prompts.size());
  if (num_prompts * spec.best_of > max_replies) {
    const char* param = spec.best_of > spec.num_samples ? "best_of" : spec.num_samples > 1 ? "n" : "prompt";
    return refuse(param, fmt::format("{} prompts times {} replies are more than {}, the most in one request",
                                     num_prompts, spec.best_of, max_replies));
  }
  if (spec.max_new_tokens && spec.min_new_tokens > *spec.max_new_tokens) {
    return refuse("min_tokens", fmt::format("expected at most max_tokens, which is {}, got {}",
                                            *spec.max_new_tokens, spec.min_new_tokens));
  }
  if (spec.max_new_tokens == 0 && spec.format != nullptr) {
    return refuse("max_tokens", "expected at least 1 where the reply has a format, got 0");
  }
  return std::nullopt;
}

}  // namespace kvasir::api
