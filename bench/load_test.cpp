#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>

#include "bench/completion.h"
#include "bench/load_client.h"
#include "bench/prompts.h"
#include "bench/serve_report.h"

namespace kvasir::bench {
namespace {

using nlohmann::json;
using std::chrono::milliseconds;
using testing::ElementsAre;
using testing::HasSubstr;

TEST(ParseUrl, TakesHostPortAndPath) {
  const Result<ServerUrl> url = parse_url("http://localhost:8000/v2/");
  ASSERT_TRUE(url.ok());
  EXPECT_EQ(url->host, "localhost");
  EXPECT_EQ(url->port, "8000");
  EXPECT_EQ(url->path, "/v2");
  EXPECT_EQ(parse_url("http://[::1]:81")->host, "::1");
  EXPECT_EQ(parse_url("http://[::1]:81")->port, "81");
  EXPECT_EQ(parse_url("http://host")->port, "80");
}

TEST(ParseUrl, RefusesWhatItIsNot) {
  for (const char* text :
       {"", "localhost:8000", "http://", "http://:80", "http://h:", "http://h:port", "http://h:123456"}) {
    EXPECT_EQ(parse_url(text).status().code(), StatusCode::kInvalidArgument) << text;
  }
  EXPECT_EQ(parse_url("https://h").status().code(), StatusCode::kUnsupported);
}

// A reply whose parts came one millisecond after the other.
RawReply reply_of(const std::vector<std::string>& parts) {
  RawReply reply;
  reply.status = 200;
  for (const std::string& part : parts) {
    reply.body += part;
    reply.arrivals.push_back({reply.body.size(), reply.sent + milliseconds(reply.arrivals.size() + 1)});
  }
  return reply;
}

std::vector<double> times_of(const Completion& completion) {
  std::vector<double> times;
  for (const TimePoint at : completion.token_times) times.push_back(elapsed_ms(completion.sent, at));
  return times;
}

TEST(ReadCompletion, GenerateTokensHaveTheTimeOfTheirLastByte) {
  const RawReply reply =
      reply_of({"data: {\"te", "xt\":\"a\"}\n\ndata: {\"text\":\"\"}\n\n", "data: {\"text\":\"b\"}\n\n",
                "data: {\"text\":\"ab\",\"finish_reason\":\"length\",\"prompt_tokens\":7,"
                "\"generated_tokens\":3,\"timings\":{\"cached_tokens\":5}}\n\n"});
  const Result<Completion> completion = read_completion(Api::kGenerate, reply);
  ASSERT_TRUE(completion.ok()) << completion.status().message();
  EXPECT_THAT(times_of(*completion), ElementsAre(2, 2, 3));
  EXPECT_EQ(completion->num_output_tokens, 3);
  EXPECT_EQ(completion->num_prompt_tokens, 7);
  EXPECT_EQ(completion->num_cached_tokens, 5);
  EXPECT_EQ(completion->text, "ab");
  EXPECT_EQ(completion->ttft_ms(), 2);
  EXPECT_EQ(elapsed_ms(completion->sent, completion->ended), 4);
}

TEST(ReadCompletion, OpenAiCountsTokensByUsage) {
  const RawReply reply =
      reply_of({"data: {\"choices\":[{\"text\":\"a\",\"finish_reason\":null}]}\r\n\r\n",
                ": a comment\n\ndata: {\"choices\":[{\"text\":\"b\",\"finish_reason\":null}]}\n\n",
                "data: {\"choices\":[{\"text\":\"\",\"finish_reason\":\"length\"}]}\n\n"
                "data: {\"choices\":[],\"usage\":{\"prompt_tokens\":9,\"completion_tokens\":2,"
                "\"prompt_tokens_details\":{\"cached_tokens\":4}}}\n\ndata: [DONE]\n\n"});
  const Result<Completion> completion = read_completion(Api::kOpenAi, reply);
  ASSERT_TRUE(completion.ok()) << completion.status().message();
  EXPECT_THAT(times_of(*completion), ElementsAre(1, 2));
  EXPECT_EQ(completion->num_output_tokens, 2);
  EXPECT_EQ(completion->num_prompt_tokens, 9);
  EXPECT_EQ(completion->num_cached_tokens, 4);
  EXPECT_EQ(completion->text, "ab");
}

TEST(ReadCompletion, WithoutUsageItCountsEvents) {
  const RawReply reply =
      reply_of({"data: {\"choices\":[{\"text\":\"a\"}]}\n\n", "data: {\"choices\":[{\"text\":\"b\"}]}\n\n"});
  const Result<Completion> completion = read_completion(Api::kOpenAi, reply);
  ASSERT_TRUE(completion.ok());
  EXPECT_EQ(completion->num_output_tokens, 2);
  EXPECT_FALSE(completion->num_prompt_tokens || completion->num_cached_tokens);
}

TEST(ReadCompletion, SaysWhatCameInstead) {
  RawReply busy = reply_of({"{\"error\":\"the queue is full\"}"});
  busy.status = 429;
  const Status refused = read_completion(Api::kGenerate, busy).status();
  EXPECT_EQ(refused.code(), StatusCode::kUnavailable);
  EXPECT_THAT(refused.message(), HasSubstr("429"));
  EXPECT_THAT(refused.message(), HasSubstr("the queue is full"));

  const RawReply page = reply_of({"<html>"});
  EXPECT_THAT(read_completion(Api::kOpenAi, page).status().message(), HasSubstr("<html>"));
  const RawReply broken = reply_of({"data: {\"text\n\n"});
  EXPECT_EQ(read_completion(Api::kGenerate, broken).status().code(), StatusCode::kCorrupt);
  const RawReply failing =
      reply_of({"data: {\"text\":\"a\"}\n\nevent: error\ndata: {\"error\":{\"message\":\"no\"}}\n\n"});
  EXPECT_EQ(read_completion(Api::kGenerate, failing).status().code(), StatusCode::kUnavailable);
  // Nothing at all, and values of other types than expected.
  EXPECT_FALSE(read_completion(Api::kOpenAi, reply_of({})).ok());
  EXPECT_FALSE(read_completion(Api::kOpenAi, reply_of({"data: {\"choices\":3,\"usage\":[]}\n\n"})).ok());
  EXPECT_FALSE(read_completion(Api::kOpenAi, reply_of({"data: 3\n\n"})).ok());
}

TEST(Dialect, RequestsAskForAFixedLengthStream) {
  Dialect dialect;
  const json generate = json::parse(dialect.request("p", 5));
  EXPECT_EQ(generate, (json{{"prompt", "p"},
                            {"max_new_tokens", 5},
                            {"stream", true},
                            {"temperature", 0},
                            {"ignore_eos", true}}));
  dialect.api = Api::kOpenAi;
  dialect.model = "m";
  dialect.request_fields = {{"ignore_eos", nullptr}, {"min_tokens", 5}};
  const json openai = json::parse(dialect.request("p", 5));
  EXPECT_EQ(openai, (json{{"prompt", "p"},
                          {"max_tokens", 5},
                          {"stream", true},
                          {"temperature", 0},
                          {"model", "m"},
                          {"min_tokens", 5},
                          {"stream_options", {{"include_usage", true}}}}));
}

// A tokenizer with BOS that makes a token of every three bytes.
Result<int> count_thirds(const std::string& text) {
  return static_cast<int>(1 + (text.size() + 2) / 3);
}

TEST(Prompts, FillTheWantedTokensAndNeverExceedThem) {
  Prompts prompts = Prompts::counted(count_thirds);
  prompts.seed(1);
  for (const int wanted : {10, 30, 470, 2048}) {
    const Result<std::string> text = prompts.text(wanted);
    ASSERT_TRUE(text.ok());
    const int count = *count_thirds(*text);
    EXPECT_LE(count, wanted);
    EXPECT_GE(count, wanted - 3) << "a word more would have fit";
    const Result<std::string> more = prompts.more_text(wanted);
    ASSERT_TRUE(more.ok());
    EXPECT_LE(*count_thirds(*more) - 1, wanted);
    EXPECT_GE(*count_thirds(*more) - 1, wanted - 3);
  }
}

TEST(Prompts, FollowFromTheSeed) {
  Prompts prompts = Prompts::estimated(1, 1.5);
  prompts.seed(1);
  const std::string first = *prompts.text(31), second = *prompts.text(31);
  EXPECT_EQ(std::count(first.begin(), first.end(), ' '), 20);
  EXPECT_NE(first, second);
  prompts.seed(2);
  EXPECT_NE(*prompts.text(31), first);
  prompts.seed(1);
  EXPECT_EQ(*prompts.text(31), first);
}

TEST(Prompts, ReportATokenizerThatFails) {
  Prompts prompts =
      Prompts::counted([](const std::string&) -> Result<int> { return error(StatusCode::kCorrupt, "bad"); });
  EXPECT_EQ(prompts.text(5).status().message(), "bad");
}

// Tokens at these milliseconds after the request, which was sent at `sent_ms`.
Completion completion_of(int sent_ms, const std::vector<int>& token_ms) {
  Completion completion;
  completion.sent = TimePoint(milliseconds(sent_ms));
  for (const int ms : token_ms) completion.token_times.push_back(completion.sent + milliseconds(ms));
  completion.ended = completion.token_times.back();
  completion.num_output_tokens = static_cast<int>(token_ms.size());
  completion.num_prompt_tokens = 10;
  completion.num_cached_tokens = 4;
  return completion;
}

TEST(ServeReport, MeasuresAPhase) {
  const PhaseMetrics m = measure({"", {completion_of(0, {10, 12, 15}), completion_of(5, {20, 95})}});
  EXPECT_EQ(m.requests, 2);
  EXPECT_DOUBLE_EQ(*m.seconds, 0.1);
  EXPECT_EQ(m.ttft_p50_ms, 20);
  EXPECT_EQ(m.inter_token_p50_ms, 3);
  EXPECT_EQ(m.inter_token_max_ms, 75);
  EXPECT_DOUBLE_EQ(*m.output_tokens_per_s, 50);
  EXPECT_DOUBLE_EQ(*m.requests_per_s, 20);
  EXPECT_EQ(m.prompt_tokens, 20);
  EXPECT_EQ(m.cached_tokens, 8);
  EXPECT_EQ(m.computed_tokens, 12);
}

TEST(ServeReport, WhatTheServerDoesNotSayIsMissing) {
  Completion silent = completion_of(0, {10});
  silent.num_cached_tokens.reset();
  const PhaseMetrics m = measure({"", {silent}});
  EXPECT_TRUE(m.prompt_tokens);
  EXPECT_FALSE(m.cached_tokens || m.computed_tokens || m.inter_token_max_ms);
}

TEST(ServeReport, TakesMediansAndNotesWideRuns) {
  ServeReport report;
  report.num_runs = 3;
  for (const int ms : {10, 40, 12}) {
    report.add(Workload::kRag,
               {0.1, {{"cold", {completion_of(0, {ms, 50})}}, {"warm", {completion_of(0, {5, 50})}}}});
  }
  ASSERT_EQ(report.phases.size(), 2u);
  EXPECT_EQ(report.phases[0].median().ttft_p50_ms, 12);
  EXPECT_DOUBLE_EQ(report.phases[0].spread(), 30.0 / 12);
  EXPECT_EQ(report.phases[1].spread(), 0);
  EXPECT_THAT(report.table(), HasSubstr("runs differ by 250%"));
  const auto json = report.json();
  EXPECT_EQ(json["workloads"][0]["workload"], "rag");
  EXPECT_EQ(json["workloads"][0]["phase"], "cold");
  EXPECT_EQ(json["workloads"][0]["median"]["ttft_p50_ms"], 12);
  EXPECT_EQ(json["workloads"][0]["runs"].size(), 3u);
  EXPECT_FALSE(json.contains("streams"));
}

TEST(Workloads, HaveNames) {
  for (const Workload workload : kAllWorkloads) EXPECT_EQ(find_workload(name_of(workload)), workload);
  EXPECT_FALSE(find_workload("all"));
}

}  // namespace
}  // namespace kvasir::bench
