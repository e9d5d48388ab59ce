#include "server/metrics.h"

#include <gtest/gtest.h>

#include <map>
#include <set>
#include <sstream>
#include <thread>

namespace kvasir::server {
namespace {

using Reason = api::RequestOutcome::Reason;

// name{labels} -> value; comments left out.
std::map<std::string, double> samples(const std::string& text) {
  std::map<std::string, double> found;
  std::istringstream lines(text);
  for (std::string line; std::getline(lines, line);) {
    if (line.starts_with('#')) continue;
    const std::size_t space = line.rfind(' ');
    EXPECT_TRUE(found.emplace(line.substr(0, space), std::stod(line.substr(space + 1))).second) << line;
  }
  return found;
}

// Labels come in alphabetical order; `le` last.
double sample(const Metrics& metrics, const std::string& name, const std::string& before = "",
              const std::string& after = "") {
  const auto all = samples(metrics.scrape({}));
  const auto found = all.find("vllm:" + name + "{" + before + "model_name=\"m\"" + after + "}");
  EXPECT_NE(found, all.end()) << name;
  return found == all.end() ? -1 : found->second;
}

double num_ended(const Metrics& metrics, const std::string& reason) {
  return sample(metrics, "request_success_total", "finished_reason=\"" + reason + "\",");
}

api::RequestOutcome outcome(Reason reason, int num_tokens) {
  api::RequestOutcome outcome;
  outcome.reason = reason;
  outcome.num_generated_tokens = num_tokens;
  outcome.total_ms = 900;
  outcome.timings.queue_ms = 10;
  outcome.timings.cache_lookup_ms = 1;
  outcome.timings.prefill_ms = 31;
  outcome.timings.decode_ms = 800;
  return outcome;
}

TEST(Metrics, HaveVllmsNamesBeforeAnythingHasHappened) {
  const std::string text = Metrics("m").scrape({});
  std::set<std::string> names;
  std::istringstream lines(text);
  for (std::string line; std::getline(lines, line);) {
    if (line.starts_with("# TYPE ")) names.insert(line.substr(7, line.rfind(' ') - 7));
  }
  const std::set<std::string> expected = {
      "vllm:num_requests_running",        "vllm:num_requests_waiting",
      "vllm:num_preemptions_total",       "vllm:kv_cache_usage_perc",
      "vllm:prefix_cache_queries_total",  "vllm:prefix_cache_hits_total",
      "vllm:prompt_tokens_total",         "vllm:generation_tokens_total",
      "vllm:request_success_total",       "vllm:time_to_first_token_seconds",
      "vllm:inter_token_latency_seconds", "vllm:e2e_request_latency_seconds",
      "vllm:request_queue_time_seconds",  "vllm:request_prefill_time_seconds",
      "vllm:request_decode_time_seconds"};
  EXPECT_EQ(names, expected);
  for (const auto& [name, value] : samples(text)) EXPECT_EQ(value, 0) << name;
}

TEST(Metrics, OfTheEngineAreThoseOfTheScrape) {
  engine::EngineStats stats;
  stats.requests_running = 1;
  stats.requests_waiting = 2;
  stats.kv_cache_usage = 0.25;
  stats.preemptions = 3;
  stats.prefix_cache_queries = 4'000'000'000'000;
  stats.prefix_cache_hits = 5;
  stats.prompt_tokens = 6;
  stats.generated_tokens = 7;
  const Metrics metrics("m");
  for (int scrape = 0; scrape < 2; ++scrape) {
    const auto all = samples(metrics.scrape(stats));
    EXPECT_EQ(all.at("vllm:num_requests_running{model_name=\"m\"}"), 1);
    EXPECT_EQ(all.at("vllm:num_requests_waiting{model_name=\"m\"}"), 2);
    EXPECT_EQ(all.at("vllm:kv_cache_usage_perc{model_name=\"m\"}"), 0.25);
    EXPECT_EQ(all.at("vllm:num_preemptions_total{model_name=\"m\"}"), 3);
    EXPECT_EQ(all.at("vllm:prefix_cache_queries_total{model_name=\"m\"}"), 4e12);
    EXPECT_EQ(all.at("vllm:prefix_cache_hits_total{model_name=\"m\"}"), 5);
    EXPECT_EQ(all.at("vllm:prompt_tokens_total{model_name=\"m\"}"), 6);
    EXPECT_EQ(all.at("vllm:generation_tokens_total{model_name=\"m\"}"), 7);
  }
}

TEST(Metrics, AReplyIsInEachHistogram) {
  Metrics metrics("m");
  metrics.on_finished(outcome(Reason::kLength, 5));
  EXPECT_EQ(num_ended(metrics, "length"), 1);
  EXPECT_EQ(num_ended(metrics, "stop"), 0);
  EXPECT_DOUBLE_EQ(sample(metrics, "time_to_first_token_seconds_sum"), 0.042);
  EXPECT_EQ(sample(metrics, "time_to_first_token_seconds_bucket", "", ",le=\"0.04\""), 0);
  EXPECT_EQ(sample(metrics, "time_to_first_token_seconds_bucket", "", ",le=\"0.06\""), 1);
  EXPECT_DOUBLE_EQ(sample(metrics, "e2e_request_latency_seconds_sum"), 0.9);
  EXPECT_DOUBLE_EQ(sample(metrics, "request_queue_time_seconds_sum"), 0.01);
  EXPECT_DOUBLE_EQ(sample(metrics, "request_prefill_time_seconds_sum"), 0.031);
  EXPECT_DOUBLE_EQ(sample(metrics, "request_decode_time_seconds_sum"), 0.8);
  // Four intervals of 0.2 seconds: a bucket holds its upper bound.
  EXPECT_EQ(sample(metrics, "inter_token_latency_seconds_count"), 4);
  EXPECT_DOUBLE_EQ(sample(metrics, "inter_token_latency_seconds_sum"), 0.8);
  EXPECT_EQ(sample(metrics, "inter_token_latency_seconds_bucket", "", ",le=\"0.15\""), 0);
  EXPECT_EQ(sample(metrics, "inter_token_latency_seconds_bucket", "", ",le=\"0.2\""), 4);
}

TEST(Metrics, RepliesOfOneTokenOrNoneHaveNoIntervals) {
  Metrics metrics("m");
  metrics.on_finished(outcome(Reason::kStop, 1));
  metrics.on_finished(outcome(Reason::kLength, 0));
  EXPECT_EQ(sample(metrics, "inter_token_latency_seconds_count"), 0);
  EXPECT_EQ(sample(metrics, "time_to_first_token_seconds_count"), 1);
  EXPECT_EQ(sample(metrics, "e2e_request_latency_seconds_count"), 2);
}

TEST(Metrics, WhatFailedOrWasAbortedHasNoTimes) {
  Metrics metrics("m");
  metrics.on_finished(outcome(Reason::kAbort, 5));
  metrics.on_finished(outcome(Reason::kError, 5));
  EXPECT_EQ(num_ended(metrics, "abort"), 1);
  EXPECT_EQ(num_ended(metrics, "error"), 1);
  EXPECT_EQ(sample(metrics, "e2e_request_latency_seconds_count"), 0);
}

TEST(Metrics, AModelsNameIsEscaped) {
  const std::string text = Metrics("a\"b\\c\nd").scrape({});
  EXPECT_NE(text.find("vllm:num_requests_running{model_name=\"a\\\"b\\\\c\\nd\"} 0\n"), std::string::npos);
}

TEST(Metrics, AreCountedFromManyThreads) {
  Metrics metrics("m");
  constexpr int kThreads = 4, kReplies = 500;
  std::vector<std::thread> threads;
  for (int i = 0; i < kThreads; ++i) {
    threads.emplace_back([&] {
      for (int reply = 0; reply < kReplies; ++reply) metrics.on_finished(outcome(Reason::kStop, 3));
    });
  }
  for (int scrape = 0; scrape < 20; ++scrape) metrics.scrape({});
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(num_ended(metrics, "stop"), kThreads * kReplies);
  EXPECT_EQ(sample(metrics, "inter_token_latency_seconds_count"), kThreads * kReplies * 2);
  EXPECT_NEAR(sample(metrics, "e2e_request_latency_seconds_sum"), kThreads * kReplies * 0.9, 1e-6);
}

}  // namespace
}  // namespace kvasir::server
