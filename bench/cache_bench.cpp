// `kvasir bench cache`: what the KV cache and the prefix cache gain, as the three tables that the README
// quotes.

#include <fmt/core.h>

#include <algorithm>
#include <condition_variable>
#include <mutex>
#include <nlohmann/json.hpp>
#include <numeric>
#include <thread>

#include "api/api_service.h"
#include "apps/served_model.h"
#include "bench/bench.h"

namespace kvasir::bench {
namespace {

using nlohmann::json;

// Waits until one of several replies has something new.
class Notification {
 public:
  void notify() {
    {
      const std::lock_guard lock(mutex_);
      is_set_ = true;
    }
    changed_.notify_one();
  }
  void wait() {
    std::unique_lock lock(mutex_);
    changed_.wait(lock, [this] { return is_set_; });
    is_set_ = false;
  }

 private:
  std::mutex mutex_;
  std::condition_variable changed_;
  bool is_set_ = false;  // guarded by mutex_
};

// Runs all requests (bodies of POST /generate) at once; their responses, in order.
Result<std::vector<json>> run_all(api::ApiService& service, const std::vector<json>& requests) {
  const auto notification = std::make_shared<Notification>();
  std::string_view no_parameter;
  const api::RouteInfo& route = *api::find_route("/generate", no_parameter);
  std::vector<std::unique_ptr<api::Call>> calls;
  for (const json& request : requests) {
    auto outcome =
        service.handle(route, no_parameter, request.dump(), {}, [notification] { notification->notify(); });
    if (const auto* reply = std::get_if<api::HttpReply>(&outcome)) {
      return error(StatusCode::kInternal, "{}", reply->body);
    }
    calls.push_back(std::move(std::get<std::unique_ptr<api::Call>>(outcome)));
  }
  std::vector<json> responses(requests.size());
  std::size_t num_done = 0;
  while (num_done < calls.size()) {
    notification->wait();
    for (std::size_t i = 0; i < calls.size(); ++i) {
      std::string body;
      if (calls[i] == nullptr || !calls[i]->poll(body)) continue;
      if (calls[i]->http_status() != 200) return error(StatusCode::kInternal, "{}", body);
      responses[i] = json::parse(body);
      calls[i].reset();
      ++num_done;
    }
  }
  return responses;
}

double mean(const std::vector<double>& values) {
  return std::accumulate(values.begin(), values.end(), 0.0) / static_cast<double>(values.size());
}

double percentile(std::vector<double> values, double share) {
  std::sort(values.begin(), values.end());
  return values[static_cast<std::size_t>(share * static_cast<double>(values.size() - 1) + 0.5)];
}

std::string facts(int first, int count) {
  const char* const names[] = {"Alice", "Ben", "Clara", "David", "Ella", "Felix", "Grace", "Hugo"};
  const char* const foods[] = {"soup", "bread", "cheese", "pasta", "pears"};
  const char* const colors[] = {"red", "blue", "green", "white", "brown"};
  std::string text = "Here are some facts.";
  for (int i = first; i < first + count; ++i) {
    text += fmt::format(
        " {0}'s favorite food is {1}. The favorite color of {0} is {2}. The age of {0} is {3} years.",
        names[i % 8], foods[i * 7 % 5], colors[i * 3 % 5], 10 + i * 13 % 80);
  }
  return text;
}

json request(std::string prompt, int max_new_tokens) {
  // No stop tokens: all replies have one length.
  return {{"prompt", std::move(prompt)}, {"max_new_tokens", max_new_tokens}, {"ignore_eos", true}};
}

struct Bench {
  const ServedModel& served;
  SteadyClock clock;

  Result<std::unique_ptr<engine::Engine>> start(int max_entries, std::chrono::milliseconds max_age) {
    engine::EngineConfig config;
    config.kv_cache_memory = std::size_t{512} << 20;
    config.max_entries = max_entries;
    config.max_age = max_age;
    return engine::Engine::start(*served.loaded.model, config, clock);
  }

  api::ApiService service(engine::Engine& engine) { return api::ApiService(served.parts(engine, clock)); }

  Status concurrent();
  Status prefix();
  Status eviction();
};

// 10 concurrent requests, each token from the cached keys and values or from scratch.
Status Bench::concurrent() {
  KVASIR_ASSIGN_OR_RETURN(const auto engine, start(0, std::chrono::seconds(1200)));
  api::ApiService service = this->service(*engine);
  struct Row {
    std::vector<double> latency, ttft, decode;
    double seconds = 0;
    int tokens = 0;
  };
  Row rows[2];
  for (const bool use_cache : {false, true}) {
    std::vector<json> requests;
    for (int i = 0; i < 10; ++i) {
      requests.push_back(request(facts(i, 2), 50));
      requests.back()["use_cache"] = use_cache;
      requests.back()["use_prefix_cache"] = false;
    }
    const TimePoint begin = clock.now();
    KVASIR_ASSIGN_OR_RETURN(const auto responses, run_all(service, requests));
    Row& row = rows[use_cache];
    row.seconds = elapsed_ms(begin, clock.now()) / 1000;
    for (const json& response : responses) {
      row.latency.push_back(response.at("latency_ms"));
      row.ttft.push_back(response.at("timings").at("ttft_ms"));
      row.decode.push_back(response.at("timings").at("decode_ms"));
      row.tokens += response.at("generated_tokens").get<int>();
    }
  }
  fmt::print("1. KV cache: 10 concurrent requests of 50 tokens\n\n{:<22}{:>14}{:>14}{:>9}\n", "", "without",
             "with", "ratio");
  const auto line = [](const char* name, double without, double with, const char* unit, bool more_is_better) {
    fmt::print("{:<22}{:>11.2f} {:<3}{:>10.2f} {:<3}{:>8.2f}x\n", name, without, unit, with, unit,
               more_is_better ? with / without : without / with);
  };
  const Row &off = rows[0], &on = rows[1];
  line("average latency", mean(off.latency), mean(on.latency), "ms", false);
  line("p50 latency", percentile(off.latency, 0.5), percentile(on.latency, 0.5), "ms", false);
  line("p95 latency", percentile(off.latency, 0.95), percentile(on.latency, 0.95), "ms", false);
  line("p99 latency", percentile(off.latency, 0.99), percentile(on.latency, 0.99), "ms", false);
  line("requests per second", 10 / off.seconds, 10 / on.seconds, "", true);
  line("tokens per second", off.tokens / off.seconds, on.tokens / on.seconds, "", true);
  line("time to first token", mean(off.ttft), mean(on.ttft), "ms", false);
  line("decode time", mean(off.decode), mean(on.decode), "ms", false);
  return Status();
}

// A context of about 470 tokens, then four questions on it, then one of them again.
Status Bench::prefix() {
  KVASIR_ASSIGN_OR_RETURN(const auto engine, start(0, std::chrono::seconds(1200)));
  api::ApiService service = this->service(*engine);
  std::string context = facts(0, 1);
  for (int i = 1; served.tokenizer->encode(context)->size() < 440; ++i) context = facts(0, i);
  std::vector<std::string> prompts = {context};
  for (const char* name : {"Alice", "Ben", "Clara", "David"}) {
    prompts.push_back(context + fmt::format(" How old is {}?", name));
  }
  prompts.push_back(prompts.back());
  fmt::print(
      "\n2. Prefix cache: one context, four questions, an exact repeat\n\n{:<22}{:>10}{:>10}{:>12}{:>12}\n",
      "", "prompt", "cached", "ttft ms", "speedup");
  double cold_ms = 0;
  int prompt_tokens = 0, cached_tokens = 0;
  for (std::size_t i = 0; i < prompts.size(); ++i) {
    KVASIR_ASSIGN_OR_RETURN(const auto responses, run_all(service, {request(prompts[i], 20)}));
    const json& timings = responses[0].at("timings");
    const double ttft_ms = timings.at("ttft_ms");
    if (i == 0) cold_ms = ttft_ms;
    const int prompt = timings.at("total_prompt_tokens"), cached = timings.at("cached_tokens");
    if (i > 0) prompt_tokens += prompt;
    if (i > 0) cached_tokens += cached;
    const std::string name = i == 0                    ? "context"
                             : i == prompts.size() - 1 ? "repeat"
                                                       : fmt::format("question {}", i);
    const std::string speedup = ttft_ms > 0 ? fmt::format("{:.1f}x", cold_ms / ttft_ms) : "no forward";
    fmt::print("{:<22}{:>10}{:>10}{:>12.3f}{:>12}\n", name, prompt, cached, ttft_ms, speedup);
  }
  fmt::print("token reuse after the first: {:.1f}% ({} of {})\n", 100.0 * cached_tokens / prompt_tokens,
             cached_tokens, prompt_tokens);
  return Status();
}

// Entries leave by use when there are too many, and by age.
Status Bench::eviction() {
  fmt::print("\n3. Eviction\n\n{:<40}{:>12}{:>12}\n", "", "expected", "measured");
  const auto line = [](const char* name, std::int64_t expected, std::int64_t measured) {
    fmt::print("{:<40}{:>12}{:>12}\n", name, expected, measured);
  };
  {
    KVASIR_ASSIGN_OR_RETURN(const auto engine, start(3, std::chrono::seconds(1200)));
    api::ApiService service = this->service(*engine);
    for (int i = 0; i < 5; ++i) {
      KVASIR_ASSIGN_OR_RETURN(const auto unused,
                              run_all(service, {request(fmt::format("{} {}", i, facts(i, 2)), 1)}));
    }
    line("5 prompts, room for 3: evictions_lru", 2, engine->stats().cache.evictions_lru);
    line("5 prompts, room for 3: cache_size", 3, engine->stats().cache.num_entries);
  }
  KVASIR_ASSIGN_OR_RETURN(const auto engine, start(0, std::chrono::milliseconds(200)));
  api::ApiService service = this->service(*engine);
  KVASIR_ASSIGN_OR_RETURN(const auto first, run_all(service, {request(facts(0, 2), 1)}));
  const TimePoint inserted = clock.now();
  KVASIR_ASSIGN_OR_RETURN(const auto second, run_all(service, {request(facts(0, 2), 1)}));
  line("repeat before its age: hits", 1, engine->stats().cache.hits);
  while (elapsed_ms(inserted, clock.now()) < 250) std::this_thread::yield();
  KVASIR_ASSIGN_OR_RETURN(const auto third, run_all(service, {request(facts(0, 2), 1)}));
  line("repeat after its age: hits", 1, engine->stats().cache.hits);
  line("repeat after its age: evictions_ttl", 1, engine->stats().cache.evictions_ttl);
  return Status();
}

Status run(const ModelOptions& options) {
  KVASIR_ASSIGN_OR_RETURN(const ServedModel served, load_served_model(options, {}));
  Bench bench{served, {}};
  KVASIR_RETURN_IF_ERROR(bench.concurrent());
  KVASIR_RETURN_IF_ERROR(bench.prefix());
  return bench.eviction();
}

}  // namespace

Command add_cache(CLI::App& bench) {
  CLI::App* command = bench.add_subcommand(
      "cache", "What the KV cache and the prefix cache gain: concurrent requests, shared contexts, eviction");
  const auto options = std::make_shared<ModelOptions>();  // shared by the flags and the command
  add_model_options(*command, *options);
  return {command, [options] { return run(*options); }};
}

}  // namespace kvasir::bench
