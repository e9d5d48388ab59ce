#include "engine/log_probability.h"

#include <gtest/gtest.h>

#include <cmath>
#include <vector>

namespace kvasir::engine {
namespace {

// Sums and differences of a few doubles of size 1e4 at most: 1e-11 is several of their ulps.
constexpr double kTolerance = 1e-11;

TEST(LogProbability, IsThatOfSoftmax) {
  const std::vector<float> logits = {0, std::log(2.0f), 0};  // shares 1, 2, 1
  EXPECT_NEAR(log_probability(logits, 0), std::log(0.25), 1e-7);
  EXPECT_NEAR(log_probability(logits, 1), std::log(0.5), 1e-7);
  EXPECT_EQ(log_probability(std::vector<float>{3}, 0), 0);
}

TEST(LogProbability, DoesNotDependOnACommonShift) {
  const std::vector<float> logits = {1, -2, 0.5f, 4};
  for (const float shift : {-8192.0f, 8192.0f}) {
    std::vector<float> shifted = logits;
    for (float& logit : shifted) logit += shift;
    for (TokenId token = 0; token < 4; ++token) {
      EXPECT_NEAR(log_probability(shifted, token), log_probability(logits, token), kTolerance);
    }
  }
}

TEST(LogProbability, KeepsWhatFloatWouldLose) {
  // Probabilities of exp(-1000) underflow; their logarithms do not.
  EXPECT_NEAR(log_probability(std::vector<float>{0, -1000}, 1), -1000, kTolerance);
  // 2^20 equal tokens: a sum in f32 of so many small shares would lose digits.
  EXPECT_NEAR(log_probability(std::vector<float>(1 << 20, 7.25f), 5), -20 * std::log(2.0), kTolerance);
}

TEST(LogProbability, TheLikeliestComeBestFirst) {
  const std::vector<float> logits = {1, 5, 3, 5, -2};
  const TokenLogprobs result = token_logprobs(logits, 2, 3);
  EXPECT_EQ(result.token, 2);
  EXPECT_EQ(result.rank, 3);
  EXPECT_EQ(result.logprob, static_cast<float>(log_probability(logits, 2)));
  ASSERT_EQ(result.top.size(), 3u);
  for (const std::size_t i : {0, 1, 2}) {
    const TokenId token = std::vector<TokenId>{1, 3, 2}[i];
    EXPECT_EQ(result.top[i], std::pair(token, static_cast<float>(log_probability(logits, token))));
  }
  EXPECT_EQ(token_logprobs(logits, 3, 0).rank, 1);
  EXPECT_TRUE(token_logprobs(logits, 3, 0).top.empty());
  EXPECT_EQ(token_logprobs(logits, 3, 100).top.size(), 5u);
}

}  // namespace
}  // namespace kvasir::engine
