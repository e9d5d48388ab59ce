#include "api/api_service.h"

#include <nlohmann/json.hpp>
#include <utility>

namespace kvasir::api {

using nlohmann::ordered_json;

Result<std::unique_ptr<ResponseStream>> ApiService::generate(GenerateRequest request,
                                                             std::function<void()> notify) {
  const TimePoint begin = clock_.now();
  KVASIR_ASSIGN_OR_RETURN(std::vector<TokenId> prompt, tokenizer_.encode(request.prompt));
  const double tokenize_ms = elapsed_ms(begin, clock_.now());

  engine::Request submitted;
  submitted.prompt = std::move(prompt);
  submitted.max_new_tokens = request.max_new_tokens;
  submitted.sampling = request.sampling;
  if (!request.ignore_eos) submitted.stop_token_ids = eos_token_ids_;
  submitted.use_cache = request.use_cache;
  submitted.use_prefix_cache = request.use_prefix_cache;
  submitted.cache_salt = request.cache_salt;
  // Room for every token and the end: a reader that is slow or gone never holds up the engine.
  const auto events = std::make_shared<Channel<engine::TokenEvent>>(std::size_t(request.max_new_tokens) + 2);
  KVASIR_ASSIGN_OR_RETURN(
      const engine::RequestId id,
      engine_.submit(std::move(submitted), [events, notify = std::move(notify)](engine::TokenEvent event) {
        events->try_send(event);
        notify();
      }));
  return std::make_unique<ResponseStream>(engine_, id, events, std::move(request), tokenizer_, clock_, begin,
                                          tokenize_ms);
}

std::string ApiService::cache_stats() const {
  const engine::EngineStats stats = engine_.stats();
  const kv::KvCacheStats& cache = stats.cache;
  const std::int64_t lookups = cache.hits + cache.misses;
  ordered_json json;
  json["cache_size"] = cache.num_entries;
  json["capacity"] = engine_.config().max_entries;
  json["hits"] = cache.hits;
  json["misses"] = cache.misses;
  json["hit_rate"] = lookups == 0 ? 0.0 : static_cast<double>(cache.hits) / static_cast<double>(lookups);
  json["total_requests"] = lookups;
  json["evictions_lru"] = cache.evictions_lru;
  json["evictions_ttl"] = cache.evictions_ttl;
  json["cached_tokens_reused"] = cache.cached_tokens_reused;
  json["prompt_tokens"] = stats.prompt_tokens;
  json["prompt_tokens_computed"] = stats.prompt_tokens_computed;
  json["generated_tokens"] = stats.generated_tokens;
  json["requests_running"] = stats.requests_running;
  json["requests_waiting"] = stats.requests_waiting;
  json["requests_finished"] = stats.requests_finished;
  json["preemptions"] = stats.preemptions;
  json["blocks_total"] = cache.blocks_total;
  json["blocks_used"] = cache.blocks_used;
  json["blocks_shared"] = cache.blocks_shared;
  json["blocks_pinned"] = cache.blocks_pinned;
  json["block_evictions"] = cache.block_evictions;
  json["bytes_used"] = cache.bytes_used;
  json["bytes_budget"] = cache.bytes_budget;
  return json.dump();
}

std::string ApiService::clear_cache() {
  const kv::KvCache::Cleared cleared = engine_.clear_cache();
  ordered_json json;
  json["status"] = "success";
  json["message"] = "Prefix cache cleared";
  json["entries_freed"] = cleared.entries;
  json["blocks_freed"] = cleared.blocks;
  json["bytes_freed"] = cleared.bytes;
  return json.dump();
}

}  // namespace kvasir::api
