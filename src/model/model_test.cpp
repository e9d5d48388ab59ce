#include "model/model.h"

#include <gtest/gtest.h>

#include <cstring>
#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>
#include <random>

#include "tests/shared_data.h"

namespace kvasir::model {
namespace {

using backend::KvDtype;
using backend::KvPool;

struct Loaded {
  std::unique_ptr<ThreadPool> pool;
  std::unique_ptr<format::ModelFiles> files;
  std::unique_ptr<Model> model;
};

Loaded load(const std::filesystem::path& folder, WeightDtype dtype = WeightDtype::kAuto,
            int num_threads = 2) {
  Loaded loaded;
  loaded.pool = std::make_unique<ThreadPool>(num_threads);
  auto files = format::ModelFiles::open(folder.string());
  EXPECT_TRUE(files.ok()) << files.status().message();
  loaded.files = std::make_unique<format::ModelFiles>(std::move(*files));
  auto model = Model::load(*loaded.files, dtype, *loaded.pool);
  EXPECT_TRUE(model.ok()) << model.status().message();
  if (model.ok()) loaded.model = std::move(*model);
  return loaded;
}

// A sequence's blocks in a pool of its own, in a shuffled order.
struct Blocks {
  Blocks(const Model& model, int num_tokens, KvDtype dtype, int block_size = 16) {
    const int num_blocks = num_tokens / block_size + 1;
    auto created = KvPool::create(model.kv_layout(block_size, dtype), num_blocks);
    EXPECT_TRUE(created.ok());
    pool = std::make_unique<KvPool>(std::move(*created));
    for (int i = 0; i < num_blocks; ++i) table.push_back(BlockId{i});
    std::shuffle(table.begin(), table.end(), std::minstd_rand(num_tokens));
  }

  std::unique_ptr<KvPool> pool;
  std::vector<BlockId> table;
};

std::vector<float> run(Model& model, Blocks& blocks, std::span<const TokenId> tokens, int from, int to) {
  const SequenceSlice slice = {tokens.subspan(from, to - from), from, blocks.table, true};
  const std::span<const float> logits = model.forward({&slice, 1}, *blocks.pool);
  return {logits.begin(), logits.end()};
}

nlohmann::json read_goldens(const std::filesystem::path& folder) {
  return nlohmann::json::parse(std::ifstream(folder / "goldens.json"));
}

TokenId argmax(const std::vector<float>& logits) {
  return static_cast<TokenId>(std::max_element(logits.begin(), logits.end()) - logits.begin());
}

// Last-position logits within 1e-4, and the golden's greedy tokens up to the first close call.
void expect_goldens(const std::filesystem::path& folder, KvDtype kv_dtype, double tolerance) {
  SCOPED_TRACE(folder.string());
  const Loaded loaded = load(folder, WeightDtype::kF32);
  ASSERT_TRUE(loaded.model);
  Model& model = *loaded.model;
  int num_cases = 0;
  const nlohmann::json goldens = read_goldens(folder);
  for (const auto& golden : goldens.at("cases")) {
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
    ++num_cases;
  }
  EXPECT_GT(num_cases, 0);
}

TEST(Model, GivesTheLogitsAndTokensOfTheReference) {
  KVASIR_REQUIRE_SHARED_DATA("models");
  for (const char* name : {"stories260K", "tiny-llama", "tiny-llama-bf16-sharded", "tiny-llama-rope3-tied"}) {
    expect_goldens(testing::shared_data_dir() / "models" / name, KvDtype::kF32, 1e-4);
  }
}

TEST(Model, GivesTheTokensOfATrainedModelWithHalfPrecisionKv) {
  KVASIR_REQUIRE_SHARED_DATA("models");
  expect_goldens(testing::shared_data_dir() / "models/stories260K", KvDtype::kF16, 0.05);
}

}  // namespace
}  // namespace kvasir::model
