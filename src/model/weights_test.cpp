#include "model/weights.h"

#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>
#include <string>
#include <vector>

#include "model/model_harness.h"
#include "tests/shared_data.h"

namespace kvasir::model {
namespace {

using backend::KvDtype;

TEST(Weights, ConvertsWeightsToTheDtypeAskedFor) {
  // Exact: f16 and bf16 weights as f32. Near: f32 weights rounded.
  const auto models = kvasir::testing::test_data_dir() / "models";
  const std::vector<TokenId> tokens = {1, 17, 42, 9, 77, 3, 100, 5, 64};
  const auto logits_of = [&](const char* name, WeightDtype dtype) {
    const Loaded loaded = load(models / name, dtype);
    Blocks blocks(*loaded.model, 16, KvDtype::kF32);
    return run(*loaded.model, blocks, tokens, 0, static_cast<int>(tokens.size()));
  };
  for (const char* name : {"llama-f16-tied", "llama-bf16-sharded"}) {
    EXPECT_EQ(logits_of(name, WeightDtype::kAuto), logits_of(name, WeightDtype::kF32)) << name;
  }
  EXPECT_EQ(logits_of("llama-bf16-sharded", WeightDtype::kBf16),
            logits_of("llama-bf16-sharded", WeightDtype::kAuto));
  const std::vector<float> exact = logits_of("llama-gqa", WeightDtype::kAuto);
  for (const auto& [dtype, tolerance] : {std::pair(WeightDtype::kF16, 0.02f), {WeightDtype::kBf16, 0.15f}}) {
    const std::vector<float> rounded = logits_of("llama-gqa", dtype);
    EXPECT_NE(rounded, exact);
    for (std::size_t i = 0; i < exact.size(); ++i) EXPECT_NEAR(rounded[i], exact[i], tolerance);
  }
}

TEST(Weights, LargeModelsAreQuantizedWhereNothingElseIsAskedFor) {
  ModelConfig config;
  config.vocab_size = 32000;
  config.hidden_size = 512;
  config.intermediate_size = 2048;
  config.num_heads = config.num_kv_heads = 8;
  config.head_dim = 64;
  format::TensorMap tensors;
  config.layers.resize(16);  // 16 * 4.2 million weights, and twice 16.4 million
  EXPECT_EQ(resolve_dtype(WeightDtype::kAuto, config, tensors), WeightDtype::kAuto);
  config.layers.resize(17);
  EXPECT_EQ(resolve_dtype(WeightDtype::kAuto, config, tensors), WeightDtype::kQ8_0);
  EXPECT_EQ(resolve_dtype(WeightDtype::kBf16, config, tensors), WeightDtype::kBf16);
  tensors["w"].dtype_name = "Q4_0";
  EXPECT_EQ(resolve_dtype(WeightDtype::kAuto, config, tensors), WeightDtype::kAuto);
  tensors.clear();
  config.tie_word_embeddings = true;
  EXPECT_EQ(resolve_dtype(WeightDtype::kAuto, config, tensors), WeightDtype::kAuto);
}

// Kept converted weights give the same model; those that are another's, cut short or changed are made anew.
TEST(Weights, TheWeightCacheIsUsedOnlyWhenItIsWhole) {
  const auto folder = kvasir::testing::test_data_dir() / "models/llama-gqa";
  const auto cache = std::filesystem::path(::testing::TempDir()) / "kvasir_weight_cache_test";
  std::filesystem::remove_all(cache);
  const std::vector<TokenId> tokens = {1, 17, 42, 9, 77, 3, 100, 5, 64};
  ThreadPool pool(2);
  std::vector<std::string> warnings;
  const auto logits_of = [&](const std::filesystem::path& weight_cache) {
    auto files = format::ModelFiles::open(folder.string());
    EXPECT_TRUE(files.ok());
    LoadOptions options{.dtype = WeightDtype::kQ8_0, .weight_cache = weight_cache.string()};
    options.on_warning = [&](const std::string& warning) { warnings.push_back(warning); };
    auto model = Model::load(*files, options, pool);
    EXPECT_TRUE(model.ok());
    Blocks blocks(**model, 16, KvDtype::kF32);
    return run(**model, blocks, tokens, 0, static_cast<int>(tokens.size()));
  };
  const std::vector<float> expected = logits_of("");
  EXPECT_FALSE(std::filesystem::exists(cache));
  EXPECT_EQ(logits_of(cache), expected);
  EXPECT_EQ(logits_of(cache), expected);
  EXPECT_TRUE(warnings.empty());

  const std::filesystem::path file = std::filesystem::directory_iterator(cache)->path();
  EXPECT_EQ(std::filesystem::status(file).permissions(),
            std::filesystem::perms::owner_read | std::filesystem::perms::owner_write);
  const auto whole_size = std::filesystem::file_size(file);
  const auto change = [&](std::streamoff at) {
    std::fstream stream(file, std::ios::in | std::ios::out | std::ios::binary);
    stream.seekg(at);
    const char old = static_cast<char>(stream.get());
    stream.seekp(at);
    stream.put(static_cast<char>(old ^ 1));
  };
  for (const std::streamoff at : {0, 9, 30, 80, 90, 4096, 5000, static_cast<int>(whole_size) - 1}) {
    change(at);
    EXPECT_EQ(logits_of(cache), expected) << at;
    EXPECT_EQ(warnings.size(), 1u) << at;
    warnings.clear();
    EXPECT_EQ(logits_of(cache), expected) << at;  // written anew
    EXPECT_TRUE(warnings.empty());
  }
  for (const std::uintmax_t size :
       {std::uintmax_t{0}, std::uintmax_t{4096}, whole_size - 1, whole_size + 4096}) {
    std::filesystem::resize_file(file, size);
    EXPECT_EQ(logits_of(cache), expected) << size;
    EXPECT_EQ(warnings.size(), 1u) << size;
    warnings.clear();
  }
  // A folder that cannot be: a file lies there.
  EXPECT_EQ(logits_of(file / "below"), expected);
  EXPECT_FALSE(warnings.empty());
  std::filesystem::remove_all(cache);
}

}  // namespace
}  // namespace kvasir::model
