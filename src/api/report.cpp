#include "api/report.h"

#include <fmt/format.h>

#include <chrono>
#include <iterator>
#include <nlohmann/json.hpp>
#include <random>

namespace kvasir::api {

using nlohmann::ordered_json;

ordered_json usage_json(const Usage& usage) {
  ordered_json json;
  json["prompt_tokens"] = usage.prompt_tokens;
  json["completion_tokens"] = usage.completion_tokens;
  json["total_tokens"] = usage.prompt_tokens + usage.completion_tokens;
  json["prompt_tokens_details"]["cached_tokens"] = usage.cached_tokens;
  return json;
}

ordered_json stop_reason(const Choice& choice) {
  if (choice.stop_text) return *choice.stop_text;
  if (choice.stop_token) return *choice.stop_token;
  return nullptr;
}

const char* name_of(engine::MissReason reason) {
  switch (reason) {
    case engine::MissReason::kNone:
      return "none";
    case engine::MissReason::kCold:
      return "cold";
    case engine::MissReason::kDiverged:
      return "diverged";
    case engine::MissReason::kExpired:
      return "expired";
    case engine::MissReason::kEvicted:
      return "evicted";
    case engine::MissReason::kTooShort:
      return "too_short";
    case engine::MissReason::kDisabled:
      return "disabled";
    case engine::MissReason::kSalt:
      return "salt";
  }
  return "none";
}

ordered_json cache_json(const Generation& generation) {
  const Usage usage = generation.usage();
  const PromptReport* missed = nullptr;
  double tokenize_ms = 0;
  for (const PromptReport& prompt : generation.prompts()) {
    tokenize_ms += prompt.tokenize_ms;
    if (missed == nullptr && prompt.timings.miss_reason != engine::MissReason::kNone) missed = &prompt;
  }
  const engine::RequestTimings& timings = generation.prompts().front().timings;
  ordered_json json;
  json["cached_tokens"] = usage.cached_tokens;
  json["computed_tokens"] = usage.prompt_tokens - usage.cached_tokens;
  json["miss_reason"] =
      missed == nullptr ? ordered_json() : ordered_json(name_of(missed->timings.miss_reason));
  json["divergence_token"] =
      missed == nullptr ? ordered_json() : ordered_json(missed->timings.divergence_token);
  ordered_json& out = json["timings"];
  out["tokenize_ms"] = tokenize_ms;
  out["queue_ms"] = timings.queue_ms;
  out["cache_lookup_ms"] = timings.cache_lookup_ms;
  out["prefill_ms"] = timings.prefill_ms;
  out["decode_ms"] = timings.decode_ms;
  out["total_ms"] = generation.elapsed();
  return json;
}

ordered_json timings_json(const Generation& generation) {
  const Usage usage = generation.usage();
  const engine::RequestTimings& timings = generation.prompts().front().timings;
  const int computed = usage.prompt_tokens - usage.cached_tokens;
  const auto rate = [](int count, double ms) { return ms > 0 ? count * 1000.0 / ms : 0.0; };
  const auto each = [](int count, double ms) { return count > 0 ? ms / count : 0.0; };
  ordered_json json;
  json["cache_n"] = usage.cached_tokens;
  json["prompt_n"] = computed;
  json["prompt_ms"] = timings.prefill_ms;
  json["prompt_per_token_ms"] = each(computed, timings.prefill_ms);
  json["prompt_per_second"] = rate(computed, timings.prefill_ms);
  json["predicted_n"] = usage.completion_tokens;
  json["predicted_ms"] = timings.decode_ms;
  json["predicted_per_token_ms"] = each(usage.completion_tokens, timings.decode_ms);
  json["predicted_per_second"] = rate(usage.completion_tokens, timings.decode_ms);
  return json;
}

std::string dump(const ordered_json& json) {
  return json.dump(-1, ' ', false, ordered_json::error_handler_t::replace);
}

void append_quoted(std::string& out, std::string_view text) {
  out += '"';
  for (const char c : text) {
    if (c == '"' || c == '\\') {
      out += '\\';
      out += c;
    } else if (static_cast<unsigned char>(c) < 0x20) {
      fmt::format_to(std::back_inserter(out), "\\u{:04x}", static_cast<unsigned>(c));
    } else {
      out += c;
    }
  }
  out += '"';
}

std::string random_id(std::string_view prefix) {
  thread_local std::mt19937_64 random{std::random_device{}()};
  return fmt::format("{}{:016x}{:08x}", prefix, random(), static_cast<std::uint32_t>(random()));
}

std::int64_t unix_seconds() {
  return std::chrono::duration_cast<std::chrono::seconds>(std::chrono::system_clock::now().time_since_epoch())
      .count();
}

}  // namespace kvasir::api
