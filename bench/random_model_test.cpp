#include "bench/random_model.h"

#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>

#include "base/bytes.h"
#include "bench/bench.h"
#include "format/model_files.h"
#include "format/safetensors.h"
#include "model/model.h"
#include "tokenizer/tokenizer.h"

namespace kvasir::bench {
namespace {

namespace fs = std::filesystem;

std::vector<std::byte> weights_of(const RandomModel& model, int num_threads) {
  ThreadPool pool(num_threads);
  std::vector<std::byte> weights;
  const Status status = model.write_weights(pool, [&](std::span<const std::byte> bytes) {
    weights.insert(weights.end(), bytes.begin(), bytes.end());
    return Status();
  });
  EXPECT_TRUE(status.ok()) << status.message();
  return weights;
}

TEST(RandomModel, WeightsDependOnTheSeedAlone) {
  const RandomModel model(model_shape("tiny"), backend::WeightDtype::kBf16, 7);
  const std::vector<std::byte> weights = weights_of(model, 1);
  EXPECT_EQ(weights.size(), model.weights_bytes());
  EXPECT_EQ(weights, weights_of(model, 3));
  EXPECT_NE(weights, weights_of(RandomModel(model_shape("tiny"), backend::WeightDtype::kBf16, 8), 1));
}

TEST(RandomModel, WeightsAreNormallyDistributed) {
  const std::vector<std::byte> weights =
      weights_of(RandomModel(model_shape("tiny"), backend::WeightDtype::kF32, 1), 2);
  const auto tensors = format::parse_safetensors("weights", weights);
  ASSERT_TRUE(tensors.ok()) << tensors.status().message();
  const std::span<const std::byte> data = tensors->at("model.layers.1.mlp.down_proj.weight").data;
  const std::span values(reinterpret_cast<const float*>(data.data()), data.size() / sizeof(float));
  double sum = 0, squares = 0, fourth = 0;
  for (const double x : values) {
    sum += x;
    squares += x * x;
    fourth += x * x * x * x;
  }
  const double n = static_cast<double>(values.size()), variance = squares / n;
  EXPECT_NEAR(sum / n, 0, 5 * 0.02 / std::sqrt(n));
  EXPECT_NEAR(std::sqrt(variance), 0.02, 0.02 * 5 / std::sqrt(2 * n));
  EXPECT_NEAR(fourth / n / (variance * variance), 3, 5 * std::sqrt(24 / n));
}

// The command's outcome for these arguments.
Status make_model(std::vector<std::string> arguments) {
  CLI::App app;
  const Command bench = add_bench(app);
  arguments.insert(arguments.begin(), {"bench", "make-model", "--shape", "tiny"});
  std::reverse(arguments.begin(), arguments.end());  // as CLI11 takes them
  app.parse(arguments);
  return bench.run();
}

TEST(MakeModel, WritesAModelThatCanBeServed) {
  const fs::path folder = fs::path(::testing::TempDir()) / "kvasir-made-model";
  fs::remove_all(folder);
  ASSERT_TRUE(make_model({"--out", folder.string() + "/"}).ok());
  auto files = format::ModelFiles::open(folder.string());
  ASSERT_TRUE(files.ok());
  ThreadPool pool(2);
  const auto model = model::Model::load(*files, {model::WeightDtype::kAuto}, pool);
  ASSERT_TRUE(model.ok()) << model.status().message();
  EXPECT_EQ((*model)->config().eos_token_ids, std::vector<TokenId>{kEndToken});

  const auto bytes = files->read("tokenizer.json");
  ASSERT_TRUE(bytes.ok());
  const auto tokenizer = tokenizer::Tokenizer::from_json("tokenizer.json", as_text(*bytes));
  ASSERT_TRUE(tokenizer.ok()) << tokenizer.status().message();
  EXPECT_EQ((*tokenizer)->vocab_size(), (*model)->config().vocab_size);
  const std::string text = "The quick brown fox, 42 na\u00efve \u732b\n</s>";
  const auto ids = (*tokenizer)->encode(text);
  ASSERT_TRUE(ids.ok());
  EXPECT_EQ(ids->back(), kEndToken);
  EXPECT_EQ((*tokenizer)->decode(*ids, {.skip_special_tokens = false}), text);

  const Status again = make_model({"--out", folder.string()});
  EXPECT_EQ(again.code(), StatusCode::kInvalidArgument);
  EXPECT_NE(again.message().find("exists already"), std::string::npos) << again.message();
  fs::remove_all(folder);
}

TEST(MakeModel, LeavesNothingBehindWhenItFails) {
  const fs::path parent = fs::path(::testing::TempDir()) / "kvasir-not-a-folder";
  std::ofstream(parent) << "a file";
  const Status status = make_model({"--out", (parent / "model").string()});
  EXPECT_EQ(status.code(), StatusCode::kIo);
  EXPECT_NE(status.message().find("Not a directory"), std::string::npos) << status.message();
  fs::remove_all(parent);
}

}  // namespace
}  // namespace kvasir::bench
