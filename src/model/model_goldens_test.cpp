// The logits and greedy tokens of transformers, for each folder of tests/data/models and of the shared data.

#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "model/model_harness.h"
#include "tests/shared_data.h"

namespace kvasir::model {
namespace {

using backend::KvDtype;

nlohmann::json read_goldens(const std::filesystem::path& folder) {
  return nlohmann::json::parse(std::ifstream(folder / "goldens.json"));
}

TokenId argmax(const std::vector<float>& logits) {
  return static_cast<TokenId>(std::max_element(logits.begin(), logits.end()) - logits.begin());
}

void expect_positions(Model& model, const std::vector<TokenId>& prompt, const nlohmann::json& columns,
                      const nlohmann::json& expected, double tolerance) {
  const int num_tokens = static_cast<int>(prompt.size());
  Blocks blocks(model, num_tokens, KvDtype::kF32);
  const SequenceSlice whole = {prompt, 0, blocks.table, num_tokens};
  const std::span<const float> logits = model.forward({&whole, 1}, *blocks.pool);
  ASSERT_EQ(expected.size(), prompt.size());
  for (std::size_t i = 0; i < prompt.size(); ++i) {
    for (std::size_t c = 0; c < columns.size(); ++c) {
      const std::size_t at = i * model.config().vocab_size + columns[c].get<TokenId>();
      ASSERT_NEAR(logits[at], expected[i][c].get<float>(), tolerance) << "position " << i;
    }
  }
}

// Logits of a prompt's last token and the golden's greedy tokens up to the first close call.
void expect_case(Model& model, const nlohmann::json& golden, KvDtype kv_dtype, double tolerance) {
  const auto prompt = golden.at("prompt").get<std::vector<TokenId>>();
  const auto greedy = golden.at("greedy").get<std::vector<TokenId>>();
  const auto margins = golden.at("greedy_margin").get<std::vector<double>>();
  const auto expected = golden.at("last_logits").get<std::vector<float>>();
  std::vector<TokenId> tokens = prompt;
  tokens.insert(tokens.end(), greedy.begin(), greedy.end());
  Blocks blocks(model, static_cast<int>(tokens.size()), kv_dtype);
  std::vector<float> logits = run(model, blocks, tokens, 0, static_cast<int>(prompt.size()));
  ASSERT_EQ(logits.size(), expected.size());
  for (std::size_t i = 0; i < logits.size(); ++i) ASSERT_NEAR(logits[i], expected[i], tolerance);
  for (std::size_t i = 0; i < greedy.size() && margins[i] > 1e-3; ++i) {
    ASSERT_EQ(argmax(logits), greedy[i]) << "token " << i;
    const int at = static_cast<int>(prompt.size() + i);
    logits = run(model, blocks, tokens, at, at + 1);
  }
}

// All cases, and of some columns the logits of all tokens of a prompt.
void expect_goldens(const std::filesystem::path& folder, KvDtype kv_dtype, double tolerance) {
  SCOPED_TRACE(folder.string());
  const Loaded loaded = load(folder, WeightDtype::kF32);
  ASSERT_TRUE(loaded.model);
  Model& model = *loaded.model;
  const nlohmann::json goldens = read_goldens(folder);
  EXPECT_FALSE(goldens.at("cases").empty());
  for (const auto& golden : goldens.at("cases")) {
    if (golden.contains("position_logits")) {
      const auto prompt = golden.at("prompt").get<std::vector<TokenId>>();
      expect_positions(model, prompt, goldens.at("column_ids"), golden.at("position_logits"), tolerance);
    }
    expect_case(model, golden, kv_dtype, tolerance);
  }
}

TEST(SharedModel, GivesTheLogitsAndTokensOfTheReference) {
  KVASIR_REQUIRE_SHARED_DATA("models");
  for (const char* name : {"stories260K", "tiny-llama", "tiny-llama-bf16-sharded", "tiny-llama-rope3-tied",
                           "tiny-gpt2", "tiny-mistral", "tiny-qwen2", "tiny-qwen3"}) {
    expect_goldens(kvasir::testing::shared_data_dir() / "models" / name, KvDtype::kF32, 3e-4);
  }
}

TEST(SharedModel, GivesTheTokensOfATrainedModelWithHalfPrecisionKv) {
  KVASIR_REQUIRE_SHARED_DATA("models");
  expect_goldens(kvasir::testing::shared_data_dir() / "models/stories260K", KvDtype::kF16, 0.05);
}

class ModelGoldens : public ::testing::TestWithParam<std::string> {};
INSTANTIATE_TEST_SUITE_P(Models, ModelGoldens,
                         ::testing::ValuesIn(models_in(kvasir::testing::test_data_dir() / "models")),
                         name_of_model);

TEST_P(ModelGoldens, AreTheLogitsAndTokens) {
  expect_goldens(kvasir::testing::test_data_dir() / "models" / GetParam(), KvDtype::kF32, 3e-4);
}

// Where all texts are short, longrope has its short factors, as in transformers.
TEST(LongropeGoldens, IsThatOfShortTextsInAShortContext) {
  const auto folder = kvasir::testing::test_data_dir() / "models/phi3-longrope-long";
  const nlohmann::json limited = read_goldens(folder).at("limited");
  const Loaded loaded =
      load(folder, {.dtype = WeightDtype::kF32, .max_model_len = limited.at("max_model_len").get<int>()});
  ASSERT_TRUE(loaded.model);
  EXPECT_EQ(loaded.model->config().max_position_embeddings, 16);
  EXPECT_NE(loaded.model->fingerprint(), load(folder, WeightDtype::kF32).model->fingerprint());
  EXPECT_FALSE(limited.at("cases").empty());
  for (const auto& golden : limited.at("cases")) expect_case(*loaded.model, golden, KvDtype::kF32, 3e-4);
}

}  // namespace
}  // namespace kvasir::model
