#include "engine/engine.h"

#include <spdlog/spdlog.h>

#include <algorithm>
#include <atomic>
#include <exception>
#include <future>
#include <limits>
#include <optional>
#include <random>
#include <thread>
#include <utility>
#include <variant>

#include "base/channel.h"
#include "base/published.h"
#include "engine/mask_filler.h"
#include "engine/request_check.h"
#include "engine/scheduler.h"

namespace kvasir::engine {
namespace {

// The smallest cache is twice these blocks and one prompt's logits; the logits of all entries take at most
// this share of a budget.
constexpr int kMinBlocks = 4;
constexpr std::size_t kLogitsShare = 16;
constexpr std::size_t kMaxLogits = 4096;

// The rows of prompts' logits in a step take at most this much memory, or are one.
constexpr std::size_t kMaxPromptLogitsBytes = std::size_t{32} << 20;

struct Submit {
  std::vector<std::unique_ptr<Sequence>> sequences;  // the samples of a request
};
struct Cancel {
  RequestId id;
  std::optional<int> sample;  // none: all
};
struct Clear {
  std::promise<kv::KvCache::Cleared> done;
};
struct Stop {
  TimePoint cancel_at;  // what has not ended by then is cancelled
};
using Message = std::variant<Submit, Cancel, Clear, Stop>;

// Divides the budget between blocks and entries' logits.
Result<kv::KvCacheConfig> size_cache(const EngineConfig& config, std::size_t block_bytes, int vocab_size) {
  kv::KvCacheConfig cache;
  cache.block_size = config.block_size;
  cache.min_tokens = config.min_tokens;
  cache.max_entries = config.max_entries;
  cache.max_age = config.max_age;
  cache.block_bytes = block_bytes;
  cache.seed = std::random_device{}();
  cache.logits_bytes = vocab_size * sizeof(float);

  const std::size_t bytes_per_block = block_bytes + kv::KvCache::metadata_bytes_per_block(cache);
  const std::size_t smallest = 2 * (kMinBlocks * bytes_per_block + cache.logits_bytes);
  const std::size_t budget = config.kv_cache_memory;
  if (budget < smallest) {
    return error(StatusCode::kInvalidArgument,
                 "KV cache memory: expected at least {} bytes for this model, got {}", smallest, budget);
  }
  std::size_t max_logits = std::clamp<std::size_t>(budget / kLogitsShare / cache.logits_bytes, 1, kMaxLogits);
  if (config.max_entries > 0) max_logits = std::min<std::size_t>(max_logits, config.max_entries);
  cache.max_logits = static_cast<int>(max_logits);
  const std::size_t num_blocks = (budget - max_logits * cache.logits_bytes) / bytes_per_block;
  cache.num_blocks = static_cast<int>(std::min<std::size_t>(num_blocks, std::numeric_limits<int>::max() / 2));
  return cache;
}

Status check_config(const EngineConfig& config) {
  const auto at_least = [](const char* name, int value, int least) {
    if (value >= least) return Status();
    return error(StatusCode::kInvalidArgument, "{}: expected at least {}, got {}", name, least, value);
  };
  KVASIR_RETURN_IF_ERROR(at_least("batch tokens", config.max_batch_tokens, 1));
  KVASIR_RETURN_IF_ERROR(at_least("running sequences", config.max_running_sequences, 1));
  KVASIR_RETURN_IF_ERROR(at_least("queued requests", config.max_queued_requests, 1));
  if (config.max_queued_tokens < 0) {
    return error(StatusCode::kInvalidArgument, "queued tokens: expected at least 0, got {}",
                 config.max_queued_tokens);
  }
  KVASIR_RETURN_IF_ERROR(at_least("minimal tokens of an entry", config.min_tokens, 0));
  KVASIR_RETURN_IF_ERROR(at_least("cache entries", config.max_entries, 0));
  if (config.block_size < 16 || config.block_size > 1024 || config.block_size % 16 != 0) {
    return error(StatusCode::kInvalidArgument, "block size: expected a multiple of 16 up to 1024, got {}",
                 config.block_size);
  }
  return Status();
}

// What waits in the scheduler.
struct Waiting {
  int num_samples;
  std::int64_t num_prompt_tokens;
};

int num_prompt_logits(const EngineConfig& config, int vocab_size) {
  const std::size_t row_bytes = vocab_size * sizeof(float);
  return static_cast<int>(
      std::clamp<std::size_t>(kMaxPromptLogitsBytes / row_bytes, 1, config.max_batch_tokens));
}

}  // namespace

struct Engine::Impl {
  Impl(model::Model& model, const EngineConfig& config, const kv::KvCacheConfig& cache_config,
       backend::KvPool pool, const Clock& clock)
      : model(model),
        clock(clock),
        config(config),
        limits{model.config().vocab_size, model.config().max_position_embeddings,
               static_cast<std::int64_t>(cache_config.num_blocks) * cache_config.block_size,
               config.max_queued_requests},
        pool(std::move(pool)),
        cache(cache_config, clock),
        scheduler({config.max_batch_tokens, config.max_running_sequences, config.block_size,
                   config.min_tokens, limits.vocab_size, num_prompt_logits(config, limits.vocab_size)},
                  cache, this->pool, clock),
        masks(limits.vocab_size) {}

  Status enqueue(int num_samples, std::int64_t num_prompt_tokens);
  void dequeue(int num_samples, std::int64_t num_prompt_tokens);
  void run();
  void serve();
  void handle(Message message);
  void step();
  void publish();
  Waiting waiting() const { return {scheduler.num_waiting(), scheduler.num_waiting_tokens()}; }
  void count_queued_since(const Waiting& before);

  // Shared by all threads.
  model::Model& model;  // forward: the engine's thread only
  const Clock& clock;
  const EngineConfig config;
  const RequestLimits limits;
  Channel<Message> inbox{std::numeric_limits<std::size_t>::max()};  // bounded by num_queued
  // In the inbox or waiting in the scheduler: samples, and tokens of their prompts.
  std::atomic<int> num_queued{0};
  std::atomic<std::int64_t> num_queued_tokens{0};
  std::atomic<RequestId> last_id{0};
  std::atomic<std::uint64_t> seed_source{std::random_device{}()};
  std::atomic<bool> is_stopping{false};
  Published<Status> health;
  Published<EngineStats> stats;

  // The engine's thread only.
  backend::KvPool pool;
  kv::KvCache cache;
  Scheduler scheduler;
  MaskFiller masks;
  std::optional<TimePoint> cancel_at;  // set by Stop
  std::int64_t num_steps = 0;
  double forward_ms = 0, overhead_ms = 0;  // see EngineStats

  std::thread thread;  // last: it uses all of the above
};

Result<std::unique_ptr<Engine>> Engine::start(model::Model& model, const EngineConfig& config,
                                              const Clock& clock) {
  KVASIR_RETURN_IF_ERROR(check_config(config));
  const backend::KvLayout layout = model.kv_layout(config.block_size, config.kv_dtype);
  KVASIR_ASSIGN_OR_RETURN(
      const kv::KvCacheConfig cache_config,
      size_cache(config, layout.block_bytes() + ScoreTable::bytes_per_block(config.block_size),
                 model.config().vocab_size));
  KVASIR_ASSIGN_OR_RETURN(backend::KvPool pool, backend::KvPool::create(layout, cache_config.num_blocks));
  auto impl = std::make_unique<Impl>(model, config, cache_config, std::move(pool), clock);
  impl->publish();
  impl->thread = std::thread([impl = impl.get()] { impl->run(); });
  return std::unique_ptr<Engine>(new Engine(std::move(impl)));
}

Engine::Engine(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}

Engine::~Engine() {
  stop();
}

Result<RequestId> Engine::submit(Request request, EventSink sink) {
  KVASIR_RETURN_IF_ERROR(check_request(request, impl_->limits));
  const auto num_prompt_tokens = static_cast<std::int64_t>(request.prompt.size());
  const int num_samples = request.num_samples;
  const auto max_tokens = static_cast<int>(std::min<std::int64_t>(
      {impl_->limits.capacity_tokens, impl_->limits.context, num_prompt_tokens + request.max_new_tokens}));
  KVASIR_RETURN_IF_ERROR(impl_->health.load());
  if (impl_->is_stopping) return error(StatusCode::kUnavailable, "the engine is stopping");
  KVASIR_RETURN_IF_ERROR(impl_->enqueue(num_samples, num_prompt_tokens));

  const RequestId id = ++impl_->last_id;
  const std::uint64_t seed = request.sampling.seed.value_or(impl_->seed_source.fetch_add(num_samples));
  Message message =
      Submit{make_sequences(id, std::move(request), std::move(sink), seed, max_tokens, impl_->clock.now())};
  if (!impl_->inbox.try_send(message)) {
    impl_->dequeue(num_samples, num_prompt_tokens);
    return error(StatusCode::kUnavailable, "the engine is stopping");
  }
  return id;
}

// Takes a place in the queue for a request, if there is one.
Status Engine::Impl::enqueue(int num_samples, std::int64_t num_prompt_tokens) {
  const int num_before = num_queued.fetch_add(num_samples);
  const std::int64_t num_tokens_before = num_queued_tokens.fetch_add(num_prompt_tokens);
  Status status;
  if (num_before + num_samples > config.max_queued_requests) {
    status =
        error(StatusCode::kResourceExhausted, "the queue is full: {} requests are waiting, at most {} may",
              num_before, config.max_queued_requests);
  } else if (config.max_queued_tokens > 0 && num_tokens_before > 0 &&
             num_tokens_before + num_prompt_tokens > config.max_queued_tokens) {
    status = error(StatusCode::kResourceExhausted,
                   "the queue is full: prompts of {} tokens are waiting, with these {} at most {} may",
                   num_tokens_before, num_prompt_tokens, config.max_queued_tokens);
  }
  if (!status.ok()) dequeue(num_samples, num_prompt_tokens);
  return status;
}

void Engine::Impl::dequeue(int num_samples, std::int64_t num_prompt_tokens) {
  num_queued -= num_samples;
  num_queued_tokens -= num_prompt_tokens;
}

void Engine::cancel(RequestId id, std::optional<int> sample) {
  Message message = Cancel{id, sample};
  impl_->inbox.try_send(message);  // closed: all requests have ended
}

const EngineConfig& Engine::config() const {
  return impl_->config;
}

Status Engine::health() const {
  return impl_->health.load();
}

EngineStats Engine::stats() const {
  return impl_->stats.load();
}

kv::KvCache::Cleared Engine::clear_cache() {
  Clear clear;
  std::future<kv::KvCache::Cleared> done = clear.done.get_future();
  Message message = std::move(clear);
  if (!impl_->inbox.try_send(message)) return {};
  return done.get();
}

void Engine::stop(std::chrono::milliseconds drain_for) {
  impl_->is_stopping = true;
  Message message = Stop{impl_->clock.now() + drain_for};
  impl_->inbox.try_send(message);
  if (impl_->thread.joinable()) impl_->thread.join();
}

// The thread's top function: however it ends, each accepted request gets its last event.
void Engine::Impl::run() {
  Status outcome;
  try {
    serve();
  } catch (const std::exception& failure) {
    outcome = error(StatusCode::kInternal, "the engine has stopped: {}", failure.what());
    spdlog::critical("{}", outcome.message());
    health.store(outcome);
  }
  masks.wait();  // where a forward has failed
  is_stopping = true;
  inbox.close();
  while (std::optional<Message> message = inbox.try_receive()) handle(std::move(*message));
  scheduler.end_all(outcome.ok() ? FinishReason::kCancelled : FinishReason::kError, outcome);
  publish();
  scheduler.send_events();
  scheduler.check_integrity();
  cache.check_integrity();
}

void Engine::Impl::serve() {
  while (!(cancel_at && scheduler.idle())) {
    if (scheduler.idle()) {
      if (std::optional<Message> message = inbox.receive()) handle(std::move(*message));
    }
    while (std::optional<Message> message = inbox.try_receive()) handle(std::move(*message));
    if (cancel_at && clock.now() >= *cancel_at) scheduler.end_all(FinishReason::kCancelled, Status());
    step();
  }
}

void Engine::Impl::handle(Message message) {
  if (auto* submit = std::get_if<Submit>(&message)) {
    for (auto& sequence : submit->sequences) scheduler.add(std::move(sequence));
    return;  // counted as queued before and after
  }
  const Waiting before = waiting();
  if (auto* cancel = std::get_if<Cancel>(&message)) scheduler.cancel(cancel->id, cancel->sample);
  if (auto* clear = std::get_if<Clear>(&message)) {
    const kv::KvCache::Cleared cleared = cache.clear();
    publish();
    clear->done.set_value(cleared);
  }
  if (auto* stop = std::get_if<Stop>(&message)) cancel_at = stop->cancel_at;
  count_queued_since(before);
}

void Engine::Impl::count_queued_since(const Waiting& before) {
  const Waiting now = waiting();
  dequeue(before.num_samples - now.num_samples, before.num_prompt_tokens - now.num_prompt_tokens);
}

void Engine::Impl::step() {
  const TimePoint begin = clock.now();
  const Waiting before = waiting();
  const Batch& batch = scheduler.schedule();
  count_queued_since(before);
  if (scheduler.has_events()) {  // full hits do not wait for the forward of the others
    publish();
    scheduler.send_events();
  }
  if (batch.slices.empty()) return;
  const TimePoint forward_begin = clock.now();
  masks.start(batch.sequences);
  const std::span<const float> logits = model.forward(batch.slices, pool);
  const TimePoint forward_end = clock.now();
  masks.wait();
  const Waiting samples = waiting();  // which may start with their request's first token
  scheduler.commit(logits, model.hidden_states());
  count_queued_since(samples);
  ++num_steps;
  forward_ms += elapsed_ms(forward_begin, forward_end);
  publish();
  scheduler.send_events();
  overhead_ms += elapsed_ms(begin, forward_begin) + elapsed_ms(forward_end, clock.now());
}

void Engine::Impl::publish() {
  EngineStats snapshot;
  snapshot.cache = cache.stats();
  const SchedulerStats& counts = scheduler.stats();
  snapshot.prompt_tokens = counts.prompt_tokens;
  snapshot.prompt_tokens_computed = counts.prompt_tokens_computed;
  snapshot.generated_tokens = counts.generated_tokens;
  snapshot.requests_running = scheduler.num_running();
  snapshot.requests_waiting = scheduler.num_waiting();
  snapshot.requests_finished = counts.requests_finished;
  snapshot.finished_stop = counts.finished_stop;
  snapshot.finished_length = counts.finished_length;
  snapshot.cancelled = counts.cancelled;
  snapshot.failed = counts.failed;
  snapshot.tokens_waiting = scheduler.num_waiting_tokens();
  snapshot.prefix_cache_queries = snapshot.cache.tokens_looked_up;
  snapshot.prefix_cache_hits = snapshot.cache.cached_tokens_reused;
  snapshot.kv_cache_usage =
      static_cast<double>(snapshot.cache.blocks_pinned) / static_cast<double>(snapshot.cache.blocks_total);
  snapshot.preemptions = counts.preemptions;
  snapshot.steps = num_steps;
  snapshot.forward_ms = forward_ms;
  snapshot.overhead_ms = overhead_ms;
  stats.store(snapshot);
}

}  // namespace kvasir::engine
