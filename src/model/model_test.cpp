#include "model/model.h"

#include <gtest/gtest.h>

#include <cstring>
#include <filesystem>
#include <fstream>
#include <map>
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
    expect_goldens(kvasir::testing::shared_data_dir() / "models" / name, KvDtype::kF32, 1e-4);
  }
}

TEST(Model, GivesTheTokensOfATrainedModelWithHalfPrecisionKv) {
  KVASIR_REQUIRE_SHARED_DATA("models");
  expect_goldens(kvasir::testing::shared_data_dir() / "models/stories260K", KvDtype::kF16, 0.05);
}

TEST(Model, GivesTheLogitsOfOwnModelsOfOddShapes) {
  int num_models = 0;
  for (const auto& folder :
       std::filesystem::directory_iterator(kvasir::testing::test_data_dir() / "models")) {
    expect_goldens(folder.path(), KvDtype::kF32, 1e-4);
    ++num_models;
  }
  EXPECT_EQ(num_models, 7);
}

// P1: the same bits for a token however its sequence is cut, whatever shares the batch, with any number of
// threads, instruction set and block size.
TEST(Model, ATokensBitsDependOnItsSequenceAlone) {
  std::minstd_rand random(1);
  const auto below = [&](int limit) { return static_cast<int>(random() % limit); };
  for (const char* name : {"llama-gqa", "llama-bf16-sharded", "llama-wide-heads"}) {
    const auto folder = kvasir::testing::test_data_dir() / "models" / name;
    const Loaded one_thread = load(folder, WeightDtype::kAuto, 1);
    const Loaded two_threads = load(folder, WeightDtype::kAuto, 2);
    setenv("KVASIR_ISA", "scalar", 1);
    const Loaded scalar = load(folder, WeightDtype::kAuto, 2);
    unsetenv("KVASIR_ISA");
    const int vocab_size = one_thread.model->config().vocab_size;
    for (int round = 0; round < 20; ++round) {
      const KvDtype dtype = below(2) == 0 ? KvDtype::kF16 : KvDtype::kF32;
      // Three sequences, each alone and whole.
      std::vector<std::vector<TokenId>> sequences(3);
      std::vector<std::vector<float>> expected;
      for (auto& tokens : sequences) {
        tokens.resize(1 + below(90));
        for (TokenId& token : tokens) token = below(vocab_size);
        Blocks blocks(*one_thread.model, 100, dtype);
        expected.push_back(run(*one_thread.model, blocks, tokens, 0, static_cast<int>(tokens.size())));
      }
      // All three together, in random pieces.
      const Loaded* loaded[] = {&one_thread, &two_threads, &scalar};
      Model& model = *loaded[below(3)]->model;
      const int block_size = 16 * (1 + below(3));
      auto pool = KvPool::create(model.kv_layout(block_size, dtype), 30);
      ASSERT_TRUE(pool.ok());
      std::vector<std::vector<BlockId>> tables(3);
      for (int i = 0; i < 30; ++i) tables[i % 3].push_back(BlockId{i});
      std::vector<int> computed(3);
      for (int num_done = 0; num_done < 3;) {
        std::vector<SequenceSlice> slices;
        std::vector<int> finishing;
        for (int i = 0; i < 3; ++i) {
          const int left = static_cast<int>(sequences[i].size()) - computed[i];
          if (left == 0 || below(4) == 0) continue;
          const int count = 1 + below(left);
          slices.push_back({std::span<const TokenId>(sequences[i]).subspan(computed[i], count), computed[i],
                            tables[i], count == left});
          computed[i] += count;
          if (count == left) finishing.push_back(i);
        }
        if (slices.empty()) continue;
        std::span<const float> logits = model.forward(slices, *pool);
        for (const int i : finishing) {
          ASSERT_EQ(std::memcmp(logits.data(), expected[i].data(), vocab_size * sizeof(float)), 0);
          logits = logits.subspan(vocab_size);
        }
        num_done += static_cast<int>(finishing.size());
      }
    }
  }
}

// A model folder in memory, changed by the test.
class BrokenModel : public ::testing::Test {
 protected:
  BrokenModel() {
    const auto folder = kvasir::testing::test_data_dir() / "models/llama-gqa";
    for (const char* name : {"config.json", "model.safetensors"}) {
      std::ifstream file(folder / name, std::ios::binary);
      files_[name] = std::string(std::istreambuf_iterator<char>(file), {});
    }
  }

  void set_config(const char* key, const nlohmann::json& value) {
    nlohmann::json config = nlohmann::json::parse(files_["config.json"]);
    config[key] = value;
    files_["config.json"] = config.dump();
  }

  Status load_status() {
    std::vector<format::ModelFiles::MemoryFile> views;
    for (const auto& [name, text] : files_) views.push_back({name, std::as_bytes(std::span(text))});
    format::ModelFiles files = format::ModelFiles::from_memory("m", views);
    ThreadPool pool(1);
    return Model::load(files, WeightDtype::kAuto, pool).status();
  }

  std::map<std::string, std::string> files_;
};

TEST_F(BrokenModel, LoadsWhole) {
  EXPECT_TRUE(load_status().ok()) << load_status().message();
}

TEST_F(BrokenModel, NamesTensorAndBothShapes) {
  set_config("intermediate_size", 101);
  EXPECT_EQ(load_status().message(),
            "m/model.safetensors: tensor 'model.layers.0.mlp.gate_proj.weight': shape [100,48], expected "
            "[101,48] by "
            "config.json");
}

TEST_F(BrokenModel, NamesAMissingTensor) {
  set_config("num_hidden_layers", 3);
  EXPECT_EQ(load_status().message(),
            "m: tensor 'model.layers.2.input_layernorm.weight' is missing; config.json calls for one of "
            "shape [48]");
}

TEST_F(BrokenModel, RefusesWhatItDoesNotKnow) {
  struct Case {
    const char* key;
    nlohmann::json value;
    StatusCode code;
  };
  const Case cases[] = {
      {"architectures", {"GPT2LMHeadModel"}, StatusCode::kUnsupported},
      {"hidden_act", "gelu", StatusCode::kUnsupported},
      {"rope_scaling", {{"rope_type", "yarn"}, {"factor", 2}}, StatusCode::kUnsupported},
      {"rope_scaling", {{"rope_type", "linear"}}, StatusCode::kCorrupt},
      {"rope_scaling", {{"rope_type", "linear"}, {"factor", -1}}, StatusCode::kCorrupt},
      {"rope_scaling", 3, StatusCode::kCorrupt},
      {"rope_theta", "big", StatusCode::kCorrupt},
      {"sliding_window", 10, StatusCode::kUnsupported},
      {"quantization_config", nlohmann::json::object(), StatusCode::kUnsupported},
      {"vocab_size", nullptr, StatusCode::kCorrupt},
      {"vocab_size", -1, StatusCode::kCorrupt},
      {"vocab_size", 1e30, StatusCode::kCorrupt},
      {"vocab_size", 18446744073709551615u, StatusCode::kCorrupt},
      {"hidden_size", 0, StatusCode::kCorrupt},
      {"num_attention_heads", 5, StatusCode::kCorrupt},
      {"num_key_value_heads", 3, StatusCode::kCorrupt},
      {"head_dim", 7, StatusCode::kCorrupt},
      {"head_dim", 0, StatusCode::kCorrupt},
      {"rms_norm_eps", -1, StatusCode::kCorrupt},
      {"tie_word_embeddings", "yes", StatusCode::kCorrupt},
      {"eos_token_id", 131, StatusCode::kCorrupt},
      {"eos_token_id", {2, "x"}, StatusCode::kCorrupt},
      {"max_position_embeddings", 0, StatusCode::kCorrupt},
  };
  const std::string whole = files_["config.json"];
  for (const Case& broken : cases) {
    files_["config.json"] = whole;
    set_config(broken.key, broken.value);
    const Status status = load_status();
    EXPECT_EQ(status.code(), broken.code) << broken.key << " " << broken.value << ": " << status.message();
    EXPECT_EQ(status.message().find('\n'), std::string::npos);
    EXPECT_NE(status.message().find("config.json"), std::string::npos) << status.message();
  }
}

}  // namespace
}  // namespace kvasir::model
