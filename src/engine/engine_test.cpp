#include "engine/engine.h"

#include <gtest/gtest.h>

#include <atomic>
#include <cmath>
#include <filesystem>
#include <future>
#include <stdexcept>
#include <thread>

#include "engine/constraint_harness.h"
#include "tests/shared_data.h"

namespace kvasir::engine {
namespace {

class EngineTest : public ::testing::Test {
 protected:
  EngineTest() : pool_(2) {
    auto files = format::ModelFiles::open((kvasir::testing::test_data_dir() / "models/llama-gqa").string());
    EXPECT_TRUE(files.ok());
    files_ = std::make_unique<format::ModelFiles>(std::move(*files));
    auto model = model::Model::load(*files_, {model::WeightDtype::kAuto}, pool_);
    EXPECT_TRUE(model.ok()) << model.status().message();
    model_ = std::move(*model);
    config_.kv_cache_memory = 4 << 20;
  }

  std::unique_ptr<Engine> start() {
    auto engine = Engine::start(*model_, config_, clock_);
    EXPECT_TRUE(engine.ok()) << engine.status().message();
    return std::move(*engine);
  }

  static Request request(int num_tokens, int max_new_tokens) {
    Request result;
    for (int i = 0; i < num_tokens; ++i) result.prompt.push_back(i * 7 % 131);
    result.max_new_tokens = max_new_tokens;
    return result;
  }

  // The request's last event, and the tokens before it.
  struct Reply {
    std::vector<TokenId> tokens;
    TokenEvent last;
  };
  static std::future<Reply> send(Engine& engine, const Request& request, RequestId* id = nullptr) {
    struct State {
      Reply reply;
      std::promise<Reply> promise;
    };
    auto state = std::make_shared<State>();
    const auto submitted = engine.submit(request, [state](TokenEvent event) {
      if (event.token) state->reply.tokens.push_back(*event.token);
      if (!event.finish) return;
      state->reply.last = std::move(event);
      state->promise.set_value(std::move(state->reply));
    });
    EXPECT_TRUE(submitted.ok()) << submitted.status().message();
    if (id != nullptr) *id = *submitted;
    return state->promise.get_future();
  }

  ThreadPool pool_;
  std::unique_ptr<format::ModelFiles> files_;
  std::unique_ptr<model::Model> model_;
  EngineConfig config_;
  SteadyClock clock_;
};

TEST_F(EngineTest, EndsEachRequestOnce) {
  const auto engine = start();
  std::vector<std::future<Reply>> replies;
  for (int i = 0; i < 20; ++i) replies.push_back(send(*engine, request(30 + i, 10)));
  for (auto& reply : replies) {
    const Reply got = reply.get();
    EXPECT_EQ(got.last.finish, FinishReason::kLength);
    EXPECT_EQ(got.tokens.size(), 10u);
  }
  EXPECT_EQ(engine->stats().requests_finished, 20);
}

// Whoever has a reply finds it in the counters.
TEST_F(EngineTest, CountersAreNeverBehindAReply) {
  const auto engine = start();
  for (int i = 1; i <= 50; ++i) {
    send(*engine, request(25, 2)).get();
    EXPECT_EQ(engine->stats().requests_finished, i);
    EXPECT_EQ(engine->stats().cache.hits, i - 1);
  }
}

TEST_F(EngineTest, RefusesWhatCanNeverRun) {
  config_.kv_cache_memory = 256 << 10;
  const auto engine = start();
  const auto refuse = [&](const Request& wrong) {
    return engine->submit(wrong, [](TokenEvent) { FAIL() << "an event of a refused request"; }).status();
  };
  EXPECT_EQ(refuse(request(0, 1)).code(), StatusCode::kInvalidArgument);
  EXPECT_EQ(refuse(request(5, -1)).code(), StatusCode::kInvalidArgument);
  Request wrong = request(5, 1);
  wrong.prompt[2] = 131;
  EXPECT_EQ(refuse(wrong).message(), "prompt: expected token ids below 131, got 131");
  wrong.prompt[2] = -1;
  EXPECT_FALSE(refuse(wrong).ok());
  EXPECT_NE(refuse(request(256, 1)).message().find("context of 256"), std::string::npos);
}

TEST_F(EngineTest, ARefusalNamesTheField) {
  const auto engine = start();
  const auto expect_refused = [&](const char* field, auto change) {
    Request wrong = request(5, 3);
    change(wrong);
    const Status status =
        engine->submit(wrong, [](TokenEvent) { FAIL() << "an event of a refused request"; }).status();
    EXPECT_EQ(status.code(), StatusCode::kInvalidArgument);
    EXPECT_EQ(status.message().rfind(std::string(field) + ": expected", 0), 0u) << status.message();
  };
  expect_refused("max_new_tokens", [](Request& r) { r.max_new_tokens = -1; });
  expect_refused("max_new_tokens", [](Request& r) { r.wants_embedding = true; });
  expect_refused("min_new_tokens", [](Request& r) { r.min_new_tokens = 4; });
  expect_refused("num_samples", [](Request& r) { r.num_samples = 0; });
  expect_refused("num_samples", [](Request& r) { r.num_samples = 1'000'000; });
  expect_refused("num_samples", [](Request& r) { r.max_new_tokens = 0, r.num_samples = 2; });
  expect_refused("num_logprobs", [](Request& r) { r.num_logprobs = -1; });
  expect_refused("num_prompt_logprobs", [](Request& r) { r.num_prompt_logprobs = 132; });
  expect_refused("stop_token_ids", [](Request& r) { r.stop_token_ids = {131}; });
  expect_refused("allowed_token_ids", [](Request& r) { r.sampling.allowed_token_ids = {-1}; });
  expect_refused("logit_bias", [](Request& r) { r.sampling.logit_bias = {{131, 1.0f}}; });
  expect_refused("logit_bias", [](Request& r) { r.sampling.logit_bias = {{1, std::nanf("")}}; });
}

TEST_F(EngineTest, APromptWithoutAReplyMayFillTheContext) {
  const auto engine = start();
  Request whole = request(256, 0);
  whole.wants_embedding = true;
  const Reply reply = send(*engine, whole).get();
  EXPECT_EQ(reply.last.finish, FinishReason::kLength);
  EXPECT_EQ(reply.last.embedding.size(), static_cast<std::size_t>(model_->config().hidden_size));
}

TEST_F(EngineTest, MasksAreFilledWhileTheModelRuns) {
  const auto engine = start();
  std::vector<std::future<Reply>> replies;
  for (int i = 0; i < 8; ++i) {
    Request constrained = request(30 + i, 40);
    constrained.constraint = std::make_unique<SumConstraint>(7, 20);
    replies.push_back(send(*engine, constrained));
  }
  for (auto& reply : replies) {
    const Reply got = reply.get();
    EXPECT_EQ(got.last.finish, FinishReason::kStop);
    EXPECT_EQ(got.tokens.size(), 20u);
  }
}

class BrokenConstraint final : public TokenConstraint {
 public:
  std::unique_ptr<TokenConstraint> clone() const override { return std::make_unique<BrokenConstraint>(); }
  void fill_mask(std::span<std::uint32_t>) override { throw std::runtime_error("a defect"); }
  void accept(TokenId) override {}
  bool is_finished() const override { return false; }
};

TEST_F(EngineTest, SaysWhyItHasStopped) {
  const auto engine = start();
  EXPECT_TRUE(engine->health().ok());
  Request broken = request(30, 5);
  broken.constraint = std::make_unique<BrokenConstraint>();
  const TokenEvent event = send(*engine, broken).get().last;
  EXPECT_EQ(event.finish, FinishReason::kError);
  EXPECT_EQ(event.status.message(), "the engine has stopped: a defect");
  EXPECT_EQ(engine->health().message(), event.status.message());
  EXPECT_EQ(engine->submit(request(30, 5), [](TokenEvent) {}).status().code(), StatusCode::kInternal);
}

TEST_F(EngineTest, SamplesAndTokensOfTheQueueAreBounded) {
  config_.max_running_sequences = 1;
  config_.max_queued_requests = 10;
  config_.max_queued_tokens = 300;
  const auto engine = start();
  std::atomic<int> num_ended{0};
  const auto submit = [&](Request next) {
    return engine->submit(std::move(next), [&](TokenEvent event) { num_ended += event.finish.has_value(); });
  };
  Request slow = request(200, 50);
  slow.use_cache = false;
  slow.num_samples = 10;
  ASSERT_TRUE(submit(slow).ok());
  // Nine of its samples wait at least, and its prompt until it runs.
  const Status samples = submit(slow).status();
  EXPECT_EQ(samples.code(), StatusCode::kResourceExhausted);
  EXPECT_NE(samples.message().find("at most 10"), std::string::npos) << samples.message();
  engine->cancel(1);
  while (engine->stats().cancelled < 10) std::this_thread::yield();
  slow.num_samples = 1;
  int num_accepted = 10;
  Status tokens;
  for (int i = 0; i < 5; ++i) {
    const auto id = submit(slow);
    num_accepted += id.ok();
    if (!id.ok()) tokens = id.status();
  }
  // One runs, one waits; a third is too much.
  EXPECT_EQ(tokens.code(), StatusCode::kResourceExhausted);
  EXPECT_NE(tokens.message().find("at most 300"), std::string::npos) << tokens.message();
  engine->stop();
  EXPECT_EQ(num_ended, num_accepted);
}

TEST_F(EngineTest, EveryEndIsCounted) {
  const auto engine = start();
  Request prompt = request(40, 5);
  prompt.num_samples = 2;
  std::atomic<int> num_ended{0};
  const auto count = [&](TokenEvent event) { num_ended += event.finish.has_value(); };
  ASSERT_TRUE(engine->submit(prompt, count).ok());
  Request failing = request(40, 5);
  failing.constraint = std::make_unique<DeadEnd>();
  ASSERT_TRUE(engine->submit(failing, count).ok());
  Request stopping = request(40, 5);
  stopping.constraint = std::make_unique<SumConstraint>(1, 2);
  ASSERT_TRUE(engine->submit(stopping, count).ok());
  engine->stop(std::chrono::minutes(10));
  const EngineStats stats = engine->stats();
  EXPECT_EQ(num_ended, 4);
  EXPECT_EQ(stats.finished_length, 2);
  EXPECT_EQ(stats.failed, 1);
  EXPECT_EQ(stats.finished_stop, 1);
  EXPECT_EQ(stats.cancelled, 0);
  EXPECT_EQ(stats.requests_finished, 4);
  EXPECT_EQ(stats.prefix_cache_queries, 120);
  EXPECT_EQ(stats.prefix_cache_hits, 80);
  EXPECT_EQ(stats.tokens_waiting, 0);
  EXPECT_EQ(stats.kv_cache_usage, 0);
}

TEST_F(EngineTest, RefusesABudgetThatIsTooSmall) {
  config_.kv_cache_memory = 1000;
  const Status status = Engine::start(*model_, config_, clock_).status();
  EXPECT_EQ(status.code(), StatusCode::kInvalidArgument);
  EXPECT_NE(status.message().find("got 1000"), std::string::npos) << status.message();
}

TEST_F(EngineTest, AReplyEndsWithTheContext) {
  const auto engine = start();
  const Reply reply = send(*engine, request(250, 100)).get();
  EXPECT_EQ(reply.last.finish, FinishReason::kLength);
  EXPECT_EQ(reply.tokens.size(), 6u);
}

TEST_F(EngineTest, AFullQueueRefuses) {
  config_.max_running_sequences = 1;
  config_.max_queued_requests = 3;
  const auto engine = start();
  std::vector<std::future<Reply>> replies;
  std::atomic<int> num_ended{0};
  int num_accepted = 0, num_refused = 0;
  for (int i = 0; i < 50; ++i) {
    Request slow = request(200, 50);
    slow.use_cache = false;
    const auto id = engine->submit(slow, [&](TokenEvent event) { num_ended += event.finish.has_value(); });
    num_accepted += id.ok();
    if (id.ok()) continue;
    EXPECT_EQ(id.status().code(), StatusCode::kResourceExhausted);
    ++num_refused;
  }
  EXPECT_GT(num_refused, 0);
  EXPECT_GE(num_accepted, 3);
  engine->stop();
  EXPECT_EQ(num_ended, num_accepted);
}

TEST_F(EngineTest, CancelEndsARequestAndLeavesTheOthers) {
  const auto engine = start();
  RequestId id = 0;
  Request slow = request(200, 50);
  slow.use_cache = false;
  auto cancelled = send(*engine, slow, &id);
  auto other = send(*engine, request(40, 5));
  engine->cancel(id);
  engine->cancel(12345);
  EXPECT_EQ(cancelled.get().last.finish, FinishReason::kCancelled);
  EXPECT_EQ(other.get().last.finish, FinishReason::kLength);
  engine->cancel(id);
}

TEST_F(EngineTest, StoppingDrainsOrCancels) {
  auto engine = start();
  auto reply = send(*engine, request(100, 20));
  engine->stop(std::chrono::minutes(10));
  EXPECT_EQ(reply.get().last.finish, FinishReason::kLength);
  EXPECT_EQ(engine->submit(request(5, 1), [](TokenEvent) {}).status().code(), StatusCode::kUnavailable);
  EXPECT_EQ(engine->clear_cache().blocks, 0);

  engine = start();
  Request slow = request(200, 50);
  slow.use_cache = false;
  reply = send(*engine, slow);
  engine.reset();
  EXPECT_EQ(reply.get().last.finish, FinishReason::kCancelled);
}

TEST_F(EngineTest, ClearingEmptiesTheCache) {
  const auto engine = start();
  send(*engine, request(50, 5)).get();
  const auto cleared = engine->clear_cache();
  EXPECT_EQ(cleared.entries, 1);
  EXPECT_GT(cleared.blocks, 0);
  EXPECT_EQ(engine->stats().cache.num_entries, 0);
  EXPECT_EQ(send(*engine, request(50, 5)).get().last.timings.num_cached_tokens, 0);
}

TEST_F(EngineTest, AnyThreadMaySubmitCancelAndAsk) {
  const auto engine = start();
  std::atomic<int> num_ended{0};
  std::vector<std::thread> threads;
  for (int t = 0; t < 4; ++t) {
    threads.emplace_back([&, t] {
      for (int i = 0; i < 50; ++i) {
        const auto id = engine->submit(request(20 + (t * 50 + i) % 60, 4),
                                       [&](TokenEvent event) { num_ended += event.finish.has_value(); });
        ASSERT_TRUE(id.ok());
        if (i % 5 == 0) engine->cancel(*id);
        if (i % 10 == 0) engine->clear_cache();
        EXPECT_GE(engine->stats().requests_running, 0);
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  engine->stop(std::chrono::minutes(10));
  EXPECT_EQ(num_ended, 200);
}

}  // namespace
}  // namespace kvasir::engine
