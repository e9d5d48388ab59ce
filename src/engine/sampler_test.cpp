#include "engine/sampler.h"

#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <map>
#include <set>

namespace kvasir::engine {
namespace {

constexpr float kInfinity = std::numeric_limits<float>::infinity();

class Sampler : public ::testing::Test {
 protected:
  TokenId sample_one(const std::vector<float>& logits, const SamplingParams& params, std::uint64_t seed = 1,
                     const std::vector<TokenId>& tokens = {0}, int num_prompt_tokens = 1) {
    return sample(logits, params, tokens, num_prompt_tokens, seed, scratch_).value_or(-1);
  }

  // How often each token comes in 20,000 draws.
  std::map<TokenId, double> shares(const std::vector<float>& logits, const SamplingParams& params) {
    constexpr int kDraws = 20'000;
    std::map<TokenId, double> counts;
    for (int seed = 0; seed < kDraws; ++seed) counts[sample_one(logits, params, seed)] += 1.0 / kDraws;
    return counts;
  }

  SamplerScratch scratch_;
};

TEST_F(Sampler, GreedyTakesTheLargestAndOfEqualOnesTheFirst) {
  EXPECT_EQ(sample_one({0, 3, 1}, {}), 1);
  EXPECT_EQ(sample_one({2, 5, 5, 5}, {}), 1);
  EXPECT_EQ(sample_one({-kInfinity, -1}, {}), 1);
}

TEST_F(Sampler, DrawsTokensAsOftenAsTheSoftmaxSays) {
  // Standard deviation of a share in 20,000 draws: at most 0.0036. Four of them are allowed.
  const std::vector<float> logits = {0, 1, 2, -kInfinity};
  const auto drawn = shares(logits, {.temperature = 0.7f});
  double total = 0;
  for (const float logit : logits) total += std::exp(logit / 0.7);
  EXPECT_FALSE(drawn.contains(3));
  for (const TokenId token : {0, 1, 2})
    EXPECT_NEAR(drawn.at(token), std::exp(logits[token] / 0.7) / total, 0.0145);
}

TEST_F(Sampler, TopKLeavesTheLikeliestK) {
  const auto drawn = shares({1, 2, 2, 0}, {.temperature = 1, .top_k = 2});
  EXPECT_EQ(drawn.size(), 2u);
  EXPECT_NEAR(drawn.at(1), 0.5, 0.0145);
  EXPECT_NEAR(drawn.at(2), 0.5, 0.0145);
  EXPECT_EQ(shares({1, 2, 2, 0}, {.temperature = 1, .top_k = 100}).size(), 4u);
}

TEST_F(Sampler, TopPLeavesTheFewestThatReachIt) {
  const std::vector<float> logits = {std::log(0.5f), std::log(0.3f), std::log(0.15f), std::log(0.05f)};
  EXPECT_EQ(shares(logits, {.temperature = 1, .top_p = 0.45f}).size(), 1u);
  EXPECT_EQ(shares(logits, {.temperature = 1, .top_p = 0.7f}).size(), 2u);
  EXPECT_EQ(shares(logits, {.temperature = 1, .top_p = 0.9f}).size(), 3u);
  EXPECT_EQ(shares(logits, {.temperature = 1, .top_p = 0}).size(), 1u);
  // Of the two that top-k leaves, the first has 0.625 of the weight.
  EXPECT_EQ(shares(logits, {.temperature = 1, .top_k = 2, .top_p = 0.6f}).size(), 1u);
  EXPECT_EQ(shares(logits, {.temperature = 1, .top_k = 2, .top_p = 0.65f}).size(), 2u);
}

TEST_F(Sampler, MinPDropsWhatIsFarBelowTheLikeliest) {
  const std::vector<float> logits = {std::log(0.5f), std::log(0.3f), std::log(0.15f), std::log(0.05f)};
  EXPECT_EQ(shares(logits, {.temperature = 1, .min_p = 0.2f}).size(), 3u);
  EXPECT_EQ(shares(logits, {.temperature = 1, .min_p = 1}).size(), 1u);
}

TEST_F(Sampler, RepetitionPenaltyCountsPromptAndReplyOnce) {
  const SamplingParams params = {.repetition_penalty = 2};
  EXPECT_EQ(sample_one({4, 3, 1}, params, 1, {0}, 1), 1);              // 2, 3, 1
  EXPECT_EQ(sample_one({4, 3, 1}, params, 1, {0, 0, 1, 1}, 2), 0);     // 2, 1.5, 1
  EXPECT_EQ(sample_one({-1, -3, -5}, params, 1, {0, 0, 0}, 3), 0);     // -2, -3, -5
  EXPECT_EQ(sample_one({-1, -1.5f, -5}, params, 1, {0, 0, 0}, 3), 1);  // -2, -1.5, -5
}

TEST_F(Sampler, PresenceAndFrequencyPenaltyCountTheReplyAlone) {
  EXPECT_EQ(sample_one({2, 1.5f}, {.presence_penalty = 1}, 1, {0, 0}, 2), 0);
  EXPECT_EQ(sample_one({2, 1.5f}, {.presence_penalty = 1}, 1, {0, 0}, 1), 1);
  EXPECT_EQ(sample_one({2, 0.9f}, {.presence_penalty = 1}, 1, {0, 0, 0}, 1), 0);
  EXPECT_EQ(sample_one({2, 0.9f}, {.frequency_penalty = 0.6f}, 1, {0, 0}, 1), 0);
  EXPECT_EQ(sample_one({2, 0.9f}, {.frequency_penalty = 0.6f}, 1, {0, 0, 0}, 1), 1);
}

TEST_F(Sampler, TheSameSeedAndLengthGiveTheSameToken) {
  const std::vector<float> logits(1000, 1.0f);
  const SamplingParams params = {.temperature = 1};
  std::set<TokenId> by_seed, by_length;
  for (int i = 0; i < 50; ++i) {
    std::vector<TokenId> tokens(1 + i, 7);
    EXPECT_EQ(sample_one(logits, params, i), sample_one(logits, params, i));
    by_seed.insert(sample_one(logits, params, i));
    by_length.insert(sample_one(logits, params, 1, tokens, 1));
    // The prompt's length does not matter, the reply's does.
    EXPECT_EQ(sample_one(logits, params, 1, tokens, 1 + i), sample_one(logits, params, 1));
  }
  EXPECT_GT(by_seed.size(), 40u);
  EXPECT_GT(by_length.size(), 40u);
}

TEST_F(Sampler, SurvivesLogitsThatAreNotNumbers) {
  const float nan = std::numeric_limits<float>::quiet_NaN();
  EXPECT_EQ(sample_one({nan, nan}, {.temperature = 1}), 0);
  EXPECT_EQ(sample_one({-kInfinity, -kInfinity}, {.temperature = 1, .top_k = 1}), 0);
}

TEST_F(Sampler, BiasIsAddedBeforeAllElse) {
  EXPECT_EQ(sample_one({1, 2, 3}, {.logit_bias = {{0, 3.0f}}}), 0);
  EXPECT_EQ(sample_one({1, 2, 3}, {.logit_bias = {{2, -100.0f}}}), 1);
  // 1 + 3 is halved by the penalty, 3 is not.
  EXPECT_EQ(sample_one({1, 2, 3}, {.repetition_penalty = 2, .logit_bias = {{0, 3.0f}}}), 2);
  EXPECT_EQ(shares({0, 0, 0}, {.temperature = 1, .logit_bias = {{1, -100.0f}}}).count(1), 0u);
}

TEST_F(Sampler, OnlyAllowedTokensAreChosen) {
  EXPECT_EQ(sample_one({1, 2, 3, 0}, {.allowed_token_ids = {3, 0}}), 0);
  const auto drawn = shares({1, 2, 3, 0}, {.temperature = 2, .allowed_token_ids = {3, 0}});
  EXPECT_EQ(drawn.size(), 2u);
  EXPECT_TRUE(drawn.contains(0) && drawn.contains(3));
}

TEST_F(Sampler, WhatIsExcludedIsNeverChosen) {
  std::vector<float> logits(70, 1.0f);
  logits[69] = 9;
  logits[33] = 8;
  std::vector<std::uint32_t> mask = {~0u, ~0u, 0};
  const std::vector<TokenId> tokens = {0}, banned = {33};
  const auto choose = [&](float temperature, const Exclusions& exclusions) {
    const SamplingParams params = {.temperature = temperature, .logit_bias = {{69, 50.0f}}};
    return sample(logits, params, tokens, 1, 1, scratch_, exclusions);
  };
  EXPECT_EQ(choose(0, {}), 69);
  EXPECT_EQ(choose(0, {.mask = mask}), 33);
  EXPECT_EQ(choose(0, {.mask = mask, .banned = banned}), 0);
  mask = {0, 2, 0};
  EXPECT_EQ(choose(5, {.mask = mask}), 33);
  EXPECT_EQ(choose(5, {.mask = mask, .banned = banned}), std::nullopt);
  mask = {0, 0, 0};
  EXPECT_EQ(choose(0, {.mask = mask}), std::nullopt);
  // Nor where the model's logits are no numbers.
  logits.assign(70, std::nanf(""));
  mask = {8, 0, 0};
  EXPECT_EQ(choose(0, {.mask = mask}), std::nullopt);
  EXPECT_EQ(choose(1, {.mask = mask}), std::nullopt);
}

}  // namespace
}  // namespace kvasir::engine
