#include "api/token_logprobs.h"

#include "tokenizer/unicode.h"

#include <fmt/format.h>
#include <algorithm>
#include <nlohmann/json.hpp>

namespace kvasir::api {
namespace {

using nlohmann::ordered_json;

// A token's text; where it is a part of a character, its bytes as OpenAI writes them.
std::string text_of(const tokenizer::Tokenizer& tokenizer, TokenId id) {
  std::string bytes = tokenizer.token_bytes(id);
  if (tokenizer::is_valid_utf8(bytes)) return bytes;
  std::string text = "bytes:";
  for (const char c : bytes) text += fmt::format("\\x{:02x}", static_cast<unsigned char>(c));
  return text;
}

ordered_json bytes_of(const tokenizer::Tokenizer& tokenizer, TokenId id) {
  ordered_json json = ordered_json::array();
  for (const char c : tokenizer.token_bytes(id)) json.push_back(static_cast<unsigned char>(c));
  return json;
}

// JSON has no infinity: what has no probability at all gets what other servers write.
double finite(float logprob) {
  return std::max<double>(logprob, -9999.0);
}

std::size_t num_characters(std::string_view bytes) {
  return std::count_if(bytes.begin(), bytes.end(),
                       [](char c) { return (static_cast<unsigned char>(c) & 0xc0) != 0x80; });
}

}  // namespace

void CompletionLogprobs::add_token(TokenId id, const engine::TokenLogprobs* logprobs) {
  tokens_.emplace_back(id, logprobs == nullptr ? std::nullopt : std::optional(*logprobs));
  offsets_.push_back(offset_);
  // Special tokens are not in the text.
  if (!tokenizer_.is_special(id)) offset_ += num_characters(tokenizer_.token_bytes(id));
}

void CompletionLogprobs::add_prompt(std::span<const TokenId> ids,
                                    std::span<const engine::TokenLogprobs> logprobs) {
  for (std::size_t i = 0; i < ids.size(); ++i) {
    const bool has = i > 0 && i - 1 < logprobs.size();
    add_token(ids[i], has ? &logprobs[i - 1] : nullptr);
  }
}

void CompletionLogprobs::add(std::span<const engine::TokenLogprobs> logprobs) {
  for (const engine::TokenLogprobs& each : logprobs) add_token(each.token, &each);
}

ordered_json CompletionLogprobs::take() {
  ordered_json texts = ordered_json::array(), values = ordered_json::array(), tops = ordered_json::array();
  for (const auto& [id, logprobs] : tokens_) {
    texts.push_back(text_of(tokenizer_, id));
    values.push_back(logprobs ? ordered_json(finite(logprobs->logprob)) : ordered_json());
    if (!logprobs || num_top_ == 0) {
      tops.push_back(ordered_json());
      continue;
    }
    ordered_json top = ordered_json::object();
    for (const auto& [other, value] : logprobs->top) top[text_of(tokenizer_, other)] = finite(value);
    // The token itself is always there, likely or not.
    top[text_of(tokenizer_, id)] = finite(logprobs->logprob);
    tops.push_back(std::move(top));
  }
  ordered_json json;
  json["tokens"] = std::move(texts);
  json["token_logprobs"] = std::move(values);
  json["top_logprobs"] = num_top_ == 0 ? ordered_json() : std::move(tops);
  json["text_offset"] = offsets_;
  tokens_.clear();
  offsets_.clear();
  return json;
}

ordered_json chat_logprobs(const tokenizer::Tokenizer& tokenizer, int num_top,
                           std::span<const engine::TokenLogprobs> logprobs) {
  const auto describe = [&](TokenId id, float logprob) {
    ordered_json json;
    json["token"] = text_of(tokenizer, id);
    json["logprob"] = finite(logprob);
    json["bytes"] = bytes_of(tokenizer, id);
    return json;
  };
  ordered_json content = ordered_json::array();
  for (const engine::TokenLogprobs& each : logprobs) {
    ordered_json json = describe(each.token, each.logprob);
    ordered_json& top = json["top_logprobs"] = ordered_json::array();
    for (const auto& [id, logprob] : each.top) {
      if (static_cast<int>(top.size()) == num_top) break;
      top.push_back(describe(id, logprob));
    }
    content.push_back(std::move(json));
  }
  return {{"content", std::move(content)}};
}

ordered_json prompt_logprobs(const tokenizer::Tokenizer& tokenizer, const PromptReport& prompt) {
  ordered_json json = ordered_json::array({ordered_json()});
  for (const engine::TokenLogprobs& each : prompt.logprobs) {
    ordered_json position = ordered_json::object();
    const auto add = [&](TokenId id, float logprob, int rank) {
      position[std::to_string(id)] = {
          {"logprob", finite(logprob)}, {"rank", rank}, {"decoded_token", text_of(tokenizer, id)}};
    };
    add(each.token, each.logprob, each.rank);
    int rank = 0;
    for (const auto& [id, logprob] : each.top) {
      ++rank;
      if (id != each.token) add(id, logprob, rank);
    }
    json.push_back(std::move(position));
  }
  return json;
}

}  // namespace kvasir::api
