// A step in which all sequences decode allocates nothing on the engine's thread, the sending of its events
// included.

#include <gtest/gtest.h>

#include <cstddef>
#include <cstdint>
#include <latch>
#include <memory>
#include <vector>

#include "base/channel.h"
#include "engine/engine.h"
#include "tests/count_allocations.h"
#include "tests/shared_data.h"

namespace kvasir::engine {
namespace {

using kvasir::testing::num_allocations_of_this_thread;

constexpr int kNumRequests = 16, kPromptTokens = 30, kNewTokens = 150;

// Runs requests at once. How often the engine's thread had allocated at each event of the first one.
std::vector<std::int64_t> allocations_at_events(Engine& engine, int first_prompt) {
  std::vector<std::int64_t> at_events;
  at_events.reserve(kNewTokens + 1);
  std::latch num_running(kNumRequests);
  std::vector<std::unique_ptr<Channel<TokenEvent>>> channels;
  for (int i = 0; i < kNumRequests; ++i) {
    Channel<TokenEvent>& events =
        *channels.emplace_back(std::make_unique<Channel<TokenEvent>>(kNewTokens + 1));
    Request request;
    for (int j = 0; j < kPromptTokens; ++j) request.prompt.push_back((first_prompt + i) * (j + 1) * 7 % 131);
    request.max_new_tokens = kNewTokens;
    request.sampling.temperature = i % 2 == 0 ? 0.0f : 1.0f;
    const auto id = engine.submit(request, [&events, &at_events, &num_running, i](TokenEvent event) {
      const bool is_last = event.finish.has_value();
      events.try_send(event);
      events.try_receive();  // as by a reader that keeps up
      if (i == 0) at_events.push_back(num_allocations_of_this_thread);
      if (is_last) num_running.count_down();
    });
    EXPECT_TRUE(id.ok()) << id.status().message();
    if (!id.ok()) num_running.count_down();
  }
  num_running.wait();
  return at_events;
}

TEST(Engine, ADecodeStepAllocatesNothing) {
  ThreadPool pool(2);
  auto files = format::ModelFiles::open((kvasir::testing::test_data_dir() / "models/llama-gqa").string());
  ASSERT_TRUE(files.ok());
  const auto model = model::Model::load(*files, {model::WeightDtype::kAuto}, pool);
  ASSERT_TRUE(model.ok()) << model.status().message();
  const SteadyClock clock;
  EngineConfig config;
  config.kv_cache_memory = std::size_t{16} << 20;
  const auto engine = Engine::start(**model, config, clock);
  ASSERT_TRUE(engine.ok()) << engine.status().message();

  allocations_at_events(**engine, 1);  // a step of each size has been seen
  const std::vector<std::int64_t> at_events = allocations_at_events(**engine, 1 + kNumRequests);
  ASSERT_EQ(at_events.size(), kNewTokens + 1);
  // By its 20th token the prompts of all are computed, and no reply ends before the first.
  EXPECT_EQ(at_events[kNewTokens - 1], at_events[20]);
}

}  // namespace
}  // namespace kvasir::engine
