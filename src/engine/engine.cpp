#include "engine/engine.h"

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
#include "engine/scheduler.h"

namespace kvasir::engine {
namespace {

// The smallest cache is twice these blocks and one prompt's logits; the logits of all entries take at most
// this share of a budget.
constexpr int kMinBlocks = 4;
constexpr std::size_t kLogitsShare = 16;
constexpr std::size_t kMaxLogits = 4096;

struct Submit {
  std::unique_ptr<Sequence> sequence;
};
struct Cancel {
  RequestId id;
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
  KVASIR_RETURN_IF_ERROR(at_least("minimal tokens of an entry", config.min_tokens, 0));
  KVASIR_RETURN_IF_ERROR(at_least("cache entries", config.max_entries, 0));
  if (config.block_size < 16 || config.block_size > 1024 || config.block_size % 16 != 0) {
    return error(StatusCode::kInvalidArgument, "block size: expected a multiple of 16 up to 1024, got {}",
                 config.block_size);
  }
  return Status();
}

}  // namespace

struct Engine::Impl {
  Impl(model::Model& model, const EngineConfig& config, const kv::KvCacheConfig& cache_config,
       backend::KvPool pool, const Clock& clock)
      : model(model),
        clock(clock),
        config(config),
        capacity_tokens(static_cast<std::int64_t>(cache_config.num_blocks) * cache_config.block_size),
        pool(std::move(pool)),
        cache(cache_config, clock),
        scheduler({config.max_batch_tokens, config.max_running_sequences, config.block_size,
                   config.min_tokens, model.config().vocab_size},
                  cache, this->pool, clock) {}

  Status check(const Request& request) const;
  void run();
  void serve();
  void handle(Message message);
  void step();
  void publish();

  // Shared by all threads.
  model::Model& model;  // forward: the engine's thread only
  const Clock& clock;
  const EngineConfig config;
  const std::int64_t capacity_tokens;
  Channel<Message> inbox{std::numeric_limits<std::size_t>::max()};  // bounded by num_queued
  std::atomic<int> num_queued{0};  // in the inbox or waiting in the scheduler
  std::atomic<RequestId> last_id{0};
  std::atomic<std::uint64_t> seed_source{std::random_device{}()};
  std::atomic<bool> is_stopping{false};
  Published<EngineStats> stats;

  // The engine's thread only.
  backend::KvPool pool;
  kv::KvCache cache;
  Scheduler scheduler;
  std::optional<TimePoint> cancel_at;  // set by Stop
  std::int64_t num_steps = 0;
  double forward_ms = 0, overhead_ms = 0;  // see EngineStats

  std::thread thread;  // last: it uses all of the above
};

Result<std::unique_ptr<Engine>> Engine::start(model::Model& model, const EngineConfig& config,
                                              const Clock& clock) {
  KVASIR_RETURN_IF_ERROR(check_config(config));
  const backend::KvLayout layout = model.kv_layout(config.block_size, config.kv_dtype);
  KVASIR_ASSIGN_OR_RETURN(const kv::KvCacheConfig cache_config,
                          size_cache(config, layout.block_bytes(), model.config().vocab_size));
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

Status Engine::Impl::check(const Request& request) const {
  const auto num_prompt_tokens = static_cast<std::int64_t>(request.prompt.size());
  const int vocab_size = model.config().vocab_size;
  const int context = model.config().max_position_embeddings;
  if (num_prompt_tokens == 0)
    return error(StatusCode::kInvalidArgument, "prompt: expected at least one token");
  if (request.max_new_tokens < 1) {
    return error(StatusCode::kInvalidArgument, "max_new_tokens: expected at least 1, got {}",
                 request.max_new_tokens);
  }
  for (const TokenId token : request.prompt) {
    if (token < 0 || token >= vocab_size) {
      return error(StatusCode::kInvalidArgument, "prompt: expected token ids below {}, got {}", vocab_size,
                   token);
    }
  }
  if (num_prompt_tokens + 1 > context) {
    return error(StatusCode::kInvalidArgument,
                 "prompt: has {} tokens, but the model's context of {} has room for a prompt of {} at most",
                 num_prompt_tokens, context, context - 1);
  }
  if (num_prompt_tokens + 1 > capacity_tokens) {
    return error(StatusCode::kInvalidArgument,
                 "prompt: has {} tokens, but the KV cache has room for {} in all; give it more memory",
                 num_prompt_tokens, capacity_tokens);
  }
  return Status();
}

Result<RequestId> Engine::submit(Request request, EventSink sink) {
  KVASIR_RETURN_IF_ERROR(impl_->check(request));
  auto sequence = std::make_unique<Sequence>();
  const RequestId id = ++impl_->last_id;
  sequence->id = id;
  sequence->tokens = std::move(request.prompt);
  sequence->num_prompt_tokens = sequence->num_tokens();
  sequence->max_tokens = static_cast<int>(
      std::min<std::int64_t>({impl_->capacity_tokens, impl_->model.config().max_position_embeddings,
                              std::int64_t{sequence->num_prompt_tokens} + request.max_new_tokens}));
  sequence->tokens.reserve(sequence->max_tokens);
  sequence->seed = request.sampling.seed.value_or(++impl_->seed_source);
  sequence->request = std::move(request);
  sequence->sink = std::move(sink);
  sequence->submitted_at = impl_->clock.now();

  if (impl_->is_stopping) return error(StatusCode::kUnavailable, "the engine is stopping");
  if (impl_->num_queued.fetch_add(1) >= impl_->config.max_queued_requests) {
    --impl_->num_queued;
    return error(StatusCode::kResourceExhausted, "the queue is full: {} requests are waiting",
                 impl_->config.max_queued_requests);
  }
  Message message = Submit{std::move(sequence)};
  if (!impl_->inbox.try_send(message)) {
    --impl_->num_queued;
    return error(StatusCode::kUnavailable, "the engine is stopping");
  }
  return id;
}

void Engine::cancel(RequestId id) {
  Message message = Cancel{id};
  impl_->inbox.try_send(message);  // closed: all requests have ended
}

const EngineConfig& Engine::config() const {
  return impl_->config;
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
  }
  is_stopping = true;
  inbox.close();
  while (std::optional<Message> message = inbox.try_receive()) handle(std::move(*message));
  scheduler.end_all(outcome.ok() ? FinishReason::kCancelled : FinishReason::kError, outcome);
  publish();
  scheduler.send_events();
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
  const int num_waiting = scheduler.num_waiting();
  if (auto* submit = std::get_if<Submit>(&message)) {
    scheduler.add(std::move(submit->sequence));
    return;  // counted as queued before and after
  }
  if (auto* cancel = std::get_if<Cancel>(&message)) scheduler.cancel(cancel->id);
  if (auto* clear = std::get_if<Clear>(&message)) {
    const kv::KvCache::Cleared cleared = cache.clear();
    publish();
    clear->done.set_value(cleared);
  }
  if (auto* stop = std::get_if<Stop>(&message)) cancel_at = stop->cancel_at;
  num_queued += scheduler.num_waiting() - num_waiting;
}

void Engine::Impl::step() {
  const TimePoint begin = clock.now();
  const int num_waiting = scheduler.num_waiting();
  const Batch& batch = scheduler.schedule();
  num_queued += scheduler.num_waiting() - num_waiting;
  if (scheduler.has_events()) {  // full hits do not wait for the forward of the others
    publish();
    scheduler.send_events();
  }
  if (batch.slices.empty()) return;
  const TimePoint forward_begin = clock.now();
  const std::span<const float> logits = model.forward(batch.slices, pool);
  const TimePoint forward_end = clock.now();
  scheduler.commit(logits);
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
  snapshot.preemptions = counts.preemptions;
  snapshot.steps = num_steps;
  snapshot.forward_ms = forward_ms;
  snapshot.overhead_ms = overhead_ms;
  stats.store(snapshot);
}

}  // namespace kvasir::engine
