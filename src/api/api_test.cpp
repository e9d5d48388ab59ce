#include <gtest/gtest.h>

#include "api/generate_request.h"
#include "api/stop_text.h"

namespace kvasir::api {
namespace {

TEST(GenerateRequest, HasTheOriginalsDefaults) {
  const auto parsed = parse_generate_request(R"({"prompt":"Hi"})");
  const auto* request = std::get_if<GenerateRequest>(&parsed);
  ASSERT_TRUE(request);
  EXPECT_EQ(request->prompt, "Hi");
  EXPECT_EQ(request->max_new_tokens, 128);
  EXPECT_TRUE(request->use_cache && request->use_prefix_cache && !request->ignore_eos && !request->stream);
  EXPECT_EQ(request->sampling.temperature, 0);
  EXPECT_FALSE(request->sampling.seed);
}

TEST(GenerateRequest, ReadsEveryField) {
  const auto parsed = parse_generate_request(
      R"({"prompt":"p","max_new_tokens":5,"use_cache":false,"use_prefix_cache":false,"ignore_eos":true,)"
      R"("temperature":0.5,"top_p":0.9,)"
      R"("top_k":7,"min_p":0.1,"repetition_penalty":1.1,"presence_penalty":-1,"frequency_penalty":2,)"
      R"("seed":18446744073709551615,"stop":["a","b"],"cache_salt":"s","stream":true})");
  const auto* request = std::get_if<GenerateRequest>(&parsed);
  ASSERT_TRUE(request);
  EXPECT_EQ(request->max_new_tokens, 5);
  EXPECT_TRUE(!request->use_cache && !request->use_prefix_cache && request->ignore_eos && request->stream);
  EXPECT_EQ(request->sampling.temperature, 0.5f);
  EXPECT_EQ(request->sampling.top_p, 0.9f);
  EXPECT_EQ(request->sampling.top_k, 7);
  EXPECT_EQ(request->sampling.min_p, 0.1f);
  EXPECT_EQ(request->sampling.repetition_penalty, 1.1f);
  EXPECT_EQ(request->sampling.presence_penalty, -1);
  EXPECT_EQ(request->sampling.frequency_penalty, 2);
  EXPECT_EQ(request->sampling.seed, ~std::uint64_t{0});
  EXPECT_EQ(request->stop, (std::vector<std::string>{"a", "b"}));
  EXPECT_EQ(request->cache_salt, "s");
}

TEST(GenerateRequest, NullIsTheDefault) {
  const auto parsed = parse_generate_request(R"({"prompt":"p","seed":null,"stop":null,"top_k":null})");
  ASSERT_TRUE(std::holds_alternative<GenerateRequest>(parsed));
  EXPECT_FALSE(std::get<GenerateRequest>(parsed).sampling.seed);
}

TEST(GenerateRequest, ARefusalNamesTheField) {
  const std::pair<const char*, const char*> cases[] = {
      {R"({})", "prompt"},
      {R"({"prompt":null})", "prompt"},
      {R"({"prompt":"a","top_k":2.5})", "top_k"},
      {R"({"prompt":"a","top_p":null,"max_new_tokens":0})", "max_new_tokens"},
      {R"({"prompt":"a","seed":-1})", "seed"},
      {R"({"prompt":"a","stop":[[]]})", "stop"},
      {R"({"prompt":"a","n":2})", "n"},
      {R"(3)", ""},
  };
  for (const auto& [body, param] : cases) {
    const auto parsed = parse_generate_request(body);
    const auto* refusal = std::get_if<Refusal>(&parsed);
    ASSERT_TRUE(refusal) << body;
    EXPECT_EQ(refusal->param, param) << refusal->status.message();
    EXPECT_EQ(refusal->status.code(), StatusCode::kInvalidArgument);
  }
}

TEST(StopText, HoldsBackWhatMayBeAStop) {
  StopText text({"END", "\n\n"});
  EXPECT_EQ(text.push("abcE"), "abc");
  EXPECT_EQ(text.push("x"), "Ex");
  EXPECT_EQ(text.push("E"), "");
  EXPECT_EQ(text.push("N"), "");
  EXPECT_EQ(text.push("Q\n"), "ENQ");
  EXPECT_EQ(text.push("yEND and more"), "\ny");
  EXPECT_TRUE(text.stopped());
  EXPECT_EQ(text.push("more"), "");
  EXPECT_EQ(text.finish(), "");
}

TEST(StopText, TheFirstStopWinsAndTheEndIsShown) {
  StopText text({"cd", "bc"});
  EXPECT_EQ(text.push("abcd"), "a");
  EXPECT_TRUE(text.stopped());
  StopText open({"xyz"});
  EXPECT_EQ(open.push("wxy"), "w");
  EXPECT_EQ(open.finish(), "xy");
  StopText none({});
  EXPECT_EQ(none.push("all"), "all");
}

// However a text is cut into pieces, what is shown is the same.
TEST(StopText, PiecesDoNotMatter) {
  const std::string whole = "aabaabaaab";
  for (unsigned cuts = 0; cuts < 1u << (whole.size() - 1); ++cuts) {
    StopText text({"aaab", "baaa"});
    std::string shown, piece;
    for (std::size_t i = 0; i < whole.size(); ++i) {
      piece += whole[i];
      if ((cuts >> i & 1) == 0 && i + 1 < whole.size()) continue;
      shown += text.push(piece);
      piece.clear();
    }
    shown += text.finish();
    EXPECT_EQ(shown, "aabaa");
  }
}

// "abc" begins before "b", but "b" is there before "abc" is.
TEST(StopText, TheStopThatIsCompleteFirstCounts) {
  StopText whole({"abc", "b"});
  EXPECT_EQ(whole.push("abc"), "a");
  StopText pieces({"abc", "b"});
  EXPECT_EQ(pieces.push("a"), "");
  EXPECT_EQ(pieces.push("b"), "a");
  EXPECT_TRUE(pieces.stopped());
}

}  // namespace
}  // namespace kvasir::api
