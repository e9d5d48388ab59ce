#pragma once

// Log-probabilities in the two shapes of OpenAI's APIs.

#include <nlohmann/json_fwd.hpp>
#include <span>

#include "api/generation.h"
#include "tokenizer/tokenizer.h"

namespace kvasir::api {

// Of /v1/completions: tokens, token_logprobs, top_logprobs, text_offset, in characters. One list for the
// tokens of a text that begins at `first_offset` of the whole.
class CompletionLogprobs {
 public:
  // `num_top`: entries of top_logprobs; 0: null.
  CompletionLogprobs(const tokenizer::Tokenizer& tokenizer, int num_top)
      : tokenizer_(tokenizer), num_top_(num_top) {}

  // The prompt's tokens: the first one has no log-probability. `logprobs`: of ids[1] and all after it.
  void add_prompt(std::span<const TokenId> ids, std::span<const engine::TokenLogprobs> logprobs);
  void add(std::span<const engine::TokenLogprobs> logprobs);

  // What has been added since the last call.
  nlohmann::ordered_json take();

 private:
  void add_token(TokenId id, const engine::TokenLogprobs* logprobs);

  const tokenizer::Tokenizer& tokenizer_;
  const int num_top_;
  std::size_t offset_ = 0;
  std::vector<std::pair<TokenId, std::optional<engine::TokenLogprobs>>> tokens_;
  std::vector<std::size_t> offsets_;
};

// Of /v1/chat/completions: {"content": [{token, logprob, bytes, top_logprobs}]}.
nlohmann::ordered_json chat_logprobs(const tokenizer::Tokenizer& tokenizer, int num_top,
                                     std::span<const engine::TokenLogprobs> logprobs);

// vLLM's prompt_logprobs: null for the first token, then {"id": {logprob, rank, decoded_token}} for each.
nlohmann::ordered_json prompt_logprobs(const tokenizer::Tokenizer& tokenizer, const PromptReport& prompt);

}  // namespace kvasir::api
