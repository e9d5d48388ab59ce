#include "engine/request_check.h"

#include <cmath>
#include <span>

namespace kvasir::engine {
namespace {

Status check_tokens(const char* name, std::span<const TokenId> tokens, int vocab_size) {
  for (const TokenId token : tokens) {
    if (token < 0 || token >= vocab_size) {
      return error(StatusCode::kInvalidArgument, "{}: expected token ids below {}, got {}", name, vocab_size,
                   token);
    }
  }
  return Status();
}

Status check_range(const char* name, int value, int least, int most) {
  if (value >= least && value <= most) return Status();
  return error(StatusCode::kInvalidArgument, "{}: expected {} to {}, got {}", name, least, most, value);
}

Status check_length(const Request& request, const RequestLimits& limits) {
  const auto num_prompt_tokens = static_cast<std::int64_t>(request.prompt.size());
  const int room_for_reply = request.max_new_tokens > 0 ? 1 : 0;
  if (num_prompt_tokens == 0) {
    return error(StatusCode::kInvalidArgument, "prompt: expected at least one token");
  }
  if (num_prompt_tokens + room_for_reply > limits.context) {
    return error(StatusCode::kInvalidArgument,
                 "prompt: has {} tokens, but the model's context of {} has room for a prompt of {} at most",
                 num_prompt_tokens, limits.context, limits.context - room_for_reply);
  }
  if (num_prompt_tokens + room_for_reply > limits.capacity_tokens) {
    return error(StatusCode::kInvalidArgument,
                 "prompt: has {} tokens, but the KV cache has room for {} in all; give it more memory",
                 num_prompt_tokens, limits.capacity_tokens);
  }
  return Status();
}

}  // namespace

Status check_request(const Request& request, const RequestLimits& limits) {
  if (request.max_new_tokens < 0) {
    return error(StatusCode::kInvalidArgument, "max_new_tokens: expected at least 0, got {}",
                 request.max_new_tokens);
  }
  KVASIR_RETURN_IF_ERROR(check_length(request, limits));
  KVASIR_RETURN_IF_ERROR(check_tokens("prompt", request.prompt, limits.vocab_size));
  KVASIR_RETURN_IF_ERROR(check_tokens("stop_token_ids", request.stop_token_ids, limits.vocab_size));
  const SamplingParams& sampling = request.sampling;
  KVASIR_RETURN_IF_ERROR(check_tokens("allowed_token_ids", sampling.allowed_token_ids, limits.vocab_size));
  for (const auto& [token, bias] : sampling.logit_bias) {
    KVASIR_RETURN_IF_ERROR(check_tokens("logit_bias", {&token, 1}, limits.vocab_size));
    if (!std::isfinite(bias)) {
      return error(StatusCode::kInvalidArgument, "logit_bias: expected finite numbers, got {} for token {}",
                   bias, token);
    }
  }
  KVASIR_RETURN_IF_ERROR(check_range("num_samples", request.num_samples, 1,
                                     request.max_new_tokens > 0 ? limits.max_samples : 1));
  KVASIR_RETURN_IF_ERROR(check_range("min_new_tokens", request.min_new_tokens, 0, request.max_new_tokens));
  KVASIR_RETURN_IF_ERROR(check_range("num_logprobs", request.num_logprobs.value_or(0), 0, limits.vocab_size));
  KVASIR_RETURN_IF_ERROR(
      check_range("num_prompt_logprobs", request.num_prompt_logprobs.value_or(0), 0, limits.vocab_size));
  if (request.wants_embedding && request.max_new_tokens > 0) {
    return error(StatusCode::kInvalidArgument, "max_new_tokens: expected 0 with an embedding, got {}",
                 request.max_new_tokens);
  }
  return Status();
}

}  // namespace kvasir::engine
