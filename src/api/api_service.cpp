#include "api/api_service.h"

#include <nlohmann/json.hpp>
#include <utility>

#include "api/chat.h"
#include "api/completions.h"
#include "api/embeddings.h"
#include "api/generate.h"
#include "api/messages.h"
#include "api/report.h"
#include "api/responses.h"
#include "api/text_api.h"
#include "base/json.h"

namespace kvasir::api {
namespace {

using nlohmann::ordered_json;

// Made once: what a grammar knows of the vocabulary.
std::shared_ptr<const grammar::TokenTable> make_token_table(const tokenizer::Tokenizer& tokenizer,
                                                            const ModelFacts& model) {
  std::vector<grammar::TokenTable::Token> tokens(model.vocab_size);
  for (TokenId id = 0; id < model.vocab_size; ++id) {
    tokens[id].is_special = tokenizer.is_special(id);
    if (!tokens[id].is_special) tokens[id].bytes = tokenizer.token_bytes(id);
  }
  return grammar::TokenTable::create(tokens, model.eos_token_ids);
}

// The caller's salt before the request's own: no request can name another caller's.
std::string joined(const Caller& caller, const std::string& salt) {
  return caller.salt.empty() ? salt : caller.salt + '/' + salt;
}

}  // namespace

ApiService::ApiService(Parts parts)
    : model_(std::move(parts.model)),
      grammars_(make_token_table(parts.tokenizer, model_)),
      environment_{
          parts.tokenizer,          parts.engine, parts.clock, model_, grammars_, parts.request_timeout,
          std::move(parts.on_reply)},
      encoder_(parts.tokenizer, parts.templates),
      memory_(parts.reply_memory_bytes),
      created_(unix_seconds()) {}

ApiService::~ApiService() = default;

ApiService::Outcome ApiService::handle(const RouteInfo& route, std::string_view parameter,
                                       std::string_view body, const Caller& caller,
                                       std::function<void()> notify) {
  const auto refused = [&](const Refusal& refusal) {
    return HttpReply{http_status(refusal.status.code()), error_body(route.error_style, refusal)};
  };
  ordered_json json;
  if (route.method == "POST" && !(body.empty() && route.access == Access::kAdmins)) {
    auto parsed = parse_ordered_json("request body", body);
    if (!parsed.ok()) return refused({parsed.status(), ""});
    if (!parsed->is_object()) {
      return refused(
          {error(StatusCode::kInvalidArgument, "request body: expected a JSON object, got {}", show(*parsed)),
           ""});
    }
    json = std::move(*parsed);
    if (auto refusal = check_model(json, model_)) return refused(*refusal);
  }
  try {
    Started started = answer(route.route, parameter, json, caller, notify);
    if (auto* refusal = std::get_if<Refusal>(&started)) return refused(*refusal);
    if (auto* call = std::get_if<std::unique_ptr<Call>>(&started)) return std::move(*call);
    return HttpReply{200, dump(std::get<ordered_json>(started))};
  } catch (const ordered_json::exception& failure) {
    // A value of a type that no check has looked at.
    return refused({error(StatusCode::kInvalidArgument, "request body: {}", failure.what()), ""});
  }
}

ApiService::Started ApiService::answer(Route route, std::string_view parameter, const ordered_json& body,
                                       const Caller& caller, const std::function<void()>& notify) {
  const auto widen = [](JsonOrRefusal result) -> Started {
    if (auto* refusal = std::get_if<Refusal>(&result)) return std::move(*refusal);
    return std::move(std::get<ordered_json>(result));
  };
  switch (route) {
    case Route::kGenerate:
    case Route::kCompletions:
      return start_text(route, body, caller, notify);
    case Route::kChatCompletions:
    case Route::kResponses:
    case Route::kMessages:
      return start_chat(route, body, caller, notify);
    case Route::kEmbeddings: {
      auto parsed = parse_embeddings(body, model_);
      if (auto* refusal = std::get_if<Refusal>(&parsed)) return std::move(*refusal);
      auto call = start_embeddings(environment_, std::move(std::get<EmbeddingRequest>(parsed)), notify);
      if (auto* refusal = std::get_if<Refusal>(&call)) return std::move(*refusal);
      return std::move(std::get<std::unique_ptr<Call>>(call));
    }
    case Route::kTokenize:
      return widen(tokenize(body, model_, environment_.tokenizer, encoder_));
    case Route::kDetokenize:
      return widen(detokenize(body, model_, environment_.tokenizer));
    case Route::kApplyTemplate:
      return widen(apply_template(body, encoder_));
    case Route::kModels:
      return models();
    case Route::kModel: {
      const ordered_json wanted = {{"model", parameter}};
      if (auto refusal = check_model(wanted, model_)) return std::move(*refusal);
      return models()["data"][0];
    }
    case Route::kCacheStats:
      return cache_stats();
    case Route::kCacheClear:
    case Route::kResetPrefixCache:
      return clear_cache();
    default:
      return Refusal{error(StatusCode::kInternal, "a route of the server's own"), ""};
  }
}

std::variant<std::unique_ptr<Generation>, Refusal> ApiService::generate(GenerationSpec spec,
                                                                        std::function<void()> notify) {
  return Generation::start(environment_, std::move(spec), std::move(notify));
}

ApiService::Started ApiService::start_text(Route route, const ordered_json& body, const Caller& caller,
                                           const std::function<void()>& notify) {
  auto parsed = route == Route::kGenerate ? parse_generate(body, model_) : parse_completion(body, model_);
  if (auto* refusal = std::get_if<Refusal>(&parsed)) return std::move(*refusal);
  auto& spec = std::get<GenerationSpec>(parsed);
  spec.cache_salt = joined(caller, spec.cache_salt);
  auto started = Generation::start(environment_, std::move(spec), notify);
  if (auto* refusal = std::get_if<Refusal>(&started)) return std::move(*refusal);
  auto& generation = std::get<std::unique_ptr<Generation>>(started);
  if (route == Route::kGenerate) return make_generate(std::move(generation));
  return make_completion(std::move(generation), environment_);
}

ApiService::Started ApiService::start_chat(Route route, const ordered_json& body, const Caller& caller,
                                           const std::function<void()>& notify) {
  auto parsed = route == Route::kChatCompletions ? parse_chat(body, model_)
                : route == Route::kResponses     ? parse_responses(body, model_)
                                                 : parse_messages(body, model_);
  if (auto* refusal = std::get_if<Refusal>(&parsed)) return std::move(*refusal);
  auto& request = std::get<ChatRequest>(parsed);
  GenerationSpec& spec = request.spec;
  spec.cache_salt = joined(caller, spec.cache_salt);
  const TimePoint begin = environment_.clock.now();
  auto encoded = encoder_.encode(request.conversation, memory_, spec.cache_salt);
  spec.encode_ms = elapsed_ms(begin, environment_.clock.now());
  if (!encoded.ok()) return Refusal{encoded.status(), "messages"};
  spec.prompts = {std::move(encoded->ids)};
  auto started = Generation::start(environment_, std::move(spec), notify);
  if (auto* refusal = std::get_if<Refusal>(&started)) {
    if (refusal->param == "prompt") refusal->param = "messages";
    return std::move(*refusal);
  }
  auto& generation = std::get<std::unique_ptr<Generation>>(started);
  generation->on_end([this, text = std::move(encoded->text)](const Generation& ended) {
    for (const Choice& choice : ended.choices()) {
      // The text of a stop string that was cut off is not in the reply, but its tokens are.
      if (choice.stop_text) continue;
      memory_.remember(ended.spec().cache_salt, text, choice.text, ended.prompts().front().ids, choice.ids);
    }
  });
  if (route == Route::kChatCompletions) return make_chat(std::move(generation), environment_, request.tools);
  if (route == Route::kResponses)
    return make_responses(std::move(generation), environment_, std::move(request));
  return make_messages(std::move(generation), environment_, request.tools);
}

ordered_json ApiService::models() const {
  ordered_json data = ordered_json::array();
  const auto add = [&](const std::string& name) {
    data.push_back({{"id", name},
                    {"object", "model"},
                    {"created", created_},
                    {"owned_by", "kvasir"},
                    {"max_model_len", model_.context}});
  };
  add(model_.name);
  for (const std::string& alias : model_.aliases) add(alias);
  return {{"object", "list"}, {"data", std::move(data)}};
}

ordered_json ApiService::cache_stats() const {
  const engine::EngineStats stats = environment_.engine.stats();
  const kv::KvCacheStats& cache = stats.cache;
  const std::int64_t lookups = cache.hits + cache.misses;
  ordered_json json;
  json["cache_size"] = cache.num_entries;
  json["capacity"] = environment_.engine.config().max_entries;
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
  return json;
}

ordered_json ApiService::clear_cache() {
  const kv::KvCache::Cleared cleared = environment_.engine.clear_cache();
  ordered_json json;
  json["status"] = "success";
  json["message"] = "Prefix cache cleared";
  json["entries_freed"] = cleared.entries;
  json["blocks_freed"] = cleared.blocks;
  json["bytes_freed"] = cleared.bytes;
  return json;
}

}  // namespace kvasir::api
