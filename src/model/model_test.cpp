#include "model/model.h"

#include <gtest/gtest.h>

#include <array>
#include <cstring>
#include <filesystem>
#include <random>
#include <set>

#include "backend/cpu_backend.h"
#include "model/model_harness.h"
#include "tests/shared_data.h"

namespace kvasir::model {
namespace {

using backend::KvDtype;
using backend::KvPool;

// The model on each instruction set of this machine, with 1 and 2 threads; the scalar one first.
std::vector<Loaded> load_all_ways(const std::filesystem::path& folder, WeightDtype dtype) {
  std::vector<Loaded> models;
  for (const char* isa : {"scalar", "neon", "neondot", "avx2", "avxvnni", "avx512", "avx512vnni", "amx"}) {
    setenv("KVASIR_ISA", isa, 1);
    ThreadPool pool(1);
    if (backend::CpuBackend::create(pool).ok()) {
      for (const int num_threads : {1, 2}) models.push_back(load(folder, dtype, num_threads));
    }
  }
  unsetenv("KVASIR_ISA");
  return models;
}

// What one sequence leaves behind: the logits of its last token, and its blocks.
struct Outcome {
  std::vector<float> logits;
  std::vector<std::byte> blocks;

  bool operator==(const Outcome& other) const {
    return std::memcmp(logits.data(), other.logits.data(), logits.size() * sizeof(float)) == 0 &&
           blocks == other.blocks;
  }
};

std::vector<std::byte> bytes_of(const KvPool& pool, std::span<const BlockId> table) {
  std::vector<std::byte> bytes;
  for (const BlockId block : table) {
    const auto data = pool.block(block);
    bytes.insert(bytes.end(), data.begin(), data.end());
  }
  return bytes;
}

// Runs all sequences as one changing batch, each in random pieces.
std::vector<Outcome> run_together(Model& model, const std::vector<std::vector<TokenId>>& sequences,
                                  int num_blocks_each, int block_size, KvDtype dtype,
                                  std::minstd_rand& random) {
  const auto below = [&](std::size_t limit) { return static_cast<int>(random() % limit); };
  const int num_sequences = static_cast<int>(sequences.size());
  auto pool = KvPool::create(model.kv_layout(block_size, dtype), num_blocks_each * num_sequences);
  EXPECT_TRUE(pool.ok());
  std::vector<std::vector<BlockId>> tables(num_sequences);
  for (int i = 0; i < pool->num_blocks(); ++i) tables[i % num_sequences].push_back(BlockId{i});

  std::vector<Outcome> outcomes(num_sequences);
  std::vector<int> computed(num_sequences);
  for (int num_done = 0; num_done < num_sequences;) {
    std::vector<SequenceSlice> slices;
    std::vector<int> finishing;
    for (int i = 0; i < num_sequences; ++i) {
      const int left = static_cast<int>(sequences[i].size()) - computed[i];
      if (left == 0 || below(4) == 0) continue;
      const int count = below(2) == 0 ? 1 + below(std::min(left, 4)) : 1 + below(left);
      slices.push_back({std::span<const TokenId>(sequences[i]).subspan(computed[i], count), computed[i],
                        tables[i], count == left ? 1 : 0});
      computed[i] += count;
      if (count == left) finishing.push_back(i);
    }
    if (slices.empty()) continue;
    std::span<const float> logits = model.forward(slices, *pool);
    EXPECT_EQ(logits.size(), finishing.size() * model.config().vocab_size);
    for (const int i : finishing) {
      outcomes[i].logits.assign(logits.begin(), logits.begin() + model.config().vocab_size);
      logits = logits.subspan(model.config().vocab_size);
    }
    num_done += static_cast<int>(finishing.size());
  }
  for (int i = 0; i < num_sequences; ++i) outcomes[i].blocks = bytes_of(*pool, tables[i]);
  return outcomes;
}

class OwnModel : public ::testing::TestWithParam<std::string> {};
INSTANTIATE_TEST_SUITE_P(Models, OwnModel,
                         ::testing::ValuesIn(models_in(kvasir::testing::test_data_dir() / "models")),
                         name_of_model);

std::filesystem::path folder_of(const std::string& name) {
  return kvasir::testing::test_data_dir() / "models" / name;
}

// Two models with all instruction sets; the scalar one would take long for all of them, which
// EachInstructionSetGivesTheSameBits compares.
std::vector<Loaded> load_ways(const std::string& name, WeightDtype dtype) {
  if (name == "llama-gqa" || name == "llama-wide-heads") return load_all_ways(folder_of(name), dtype);
  std::vector<Loaded> models;
  for (const int num_threads : {1, 2}) models.push_back(load(folder_of(name), dtype, num_threads));
  return models;
}

// P1: the same bits for a token, and the same blocks, however its sequence was cut, whatever shared the
// batch, and with any number of threads.
TEST_P(OwnModel, ATokensBitsDependOnItsSequenceAlone) {
#ifdef NDEBUG
  constexpr int kRounds = 3;
#else
  constexpr int kRounds = 1;
#endif
  std::minstd_rand random(1);
  const auto below = [&](std::size_t limit) { return static_cast<int>(random() % limit); };
  for (const WeightDtype weight_dtype : {WeightDtype::kAuto, WeightDtype::kQ8_0, WeightDtype::kQ4_0}) {
    const std::vector<Loaded> models = load_ways(GetParam(), weight_dtype);
    Model& reference = *models.front().model;
    for (int round = 0; round < kRounds; ++round) {
      const int kind = (round + static_cast<int>(weight_dtype)) % 3;
      const KvDtype dtype = std::array{KvDtype::kF16, KvDtype::kF32, KvDtype::kQ8}[kind];
      const int block_size = 16 * (1 + below(3));
      const int num_blocks_each = 150 / block_size + 1;
      std::vector<std::vector<TokenId>> sequences(1 + below(4));
      std::vector<Outcome> expected;
      for (auto& tokens : sequences) {
        tokens.resize(1 + below(150));
        for (TokenId& token : tokens) token = below(reference.config().vocab_size);
        auto pool = KvPool::create(reference.kv_layout(block_size, dtype), num_blocks_each);
        ASSERT_TRUE(pool.ok());
        std::vector<BlockId> table;
        for (int i = 0; i < num_blocks_each; ++i) table.push_back(BlockId{i});
        const SequenceSlice whole = {tokens, 0, table, 1};
        const std::span<const float> logits = reference.forward({&whole, 1}, *pool);
        expected.push_back({{logits.begin(), logits.end()}, bytes_of(*pool, table)});
      }
      for (const Loaded& loaded : models) {
        EXPECT_TRUE(run_together(*loaded.model, sequences, num_blocks_each, block_size, dtype, random) ==
                    expected)
            << round;
      }
    }
  }
}

TEST_P(OwnModel, EachInstructionSetGivesTheSameBits) {
  for (const WeightDtype dtype : {WeightDtype::kAuto, WeightDtype::kQ8_0}) {
    std::vector<float> expected;
    for (const Loaded& loaded : load_all_ways(folder_of(GetParam()), dtype)) {
      std::vector<TokenId> tokens(31);
      std::minstd_rand random(7);
      for (TokenId& token : tokens) {
        token = static_cast<TokenId>(random() % loaded.model->config().vocab_size);
      }
      Blocks blocks(*loaded.model, 31, KvDtype::kF16);
      run(*loaded.model, blocks, tokens, 0, 23);
      const std::vector<float> logits = run(*loaded.model, blocks, tokens, 23, 31);
      if (expected.empty()) expected = logits;
      EXPECT_EQ(std::memcmp(logits.data(), expected.data(), expected.size() * sizeof(float)), 0);
    }
  }
}

// A prompt of many tiles and blocks of k, in pieces of each size, on each instruction set.
TEST(Model, QuantizedWeightsGiveTheSameBitsForEveryChunkSize) {
  const std::filesystem::path folder = std::filesystem::path(KVASIR_SOURCE_DIR) / "models/tiny";
#ifdef NDEBUG
  constexpr int kNumTokens = 550;
#else
  constexpr int kNumTokens = 150;  // sanitizers make it slow, and look at other things than bits
#endif
  for (const WeightDtype dtype : {WeightDtype::kQ8_0, WeightDtype::kQ4_0}) {
    std::vector<TokenId> tokens(kNumTokens);
    std::minstd_rand random(5);
    std::vector<Loaded> models = load_all_ways(folder, dtype);
    // The scalar reference would take long here, and is compared with the others elsewhere.
    models.erase(models.begin(), models.begin() + (models.size() > 2 ? 2 : 0));
    for (TokenId& token : tokens)
      token = static_cast<TokenId>(random() % models[0].model->config().vocab_size);
    const int num_tokens = static_cast<int>(tokens.size());
    std::vector<float> expected;
    for (const Loaded& loaded : models) {
      for (const int chunk : {512, 64, 16, 7, 1}) {
        Blocks blocks(*loaded.model, num_tokens, KvDtype::kF16);
        std::vector<float> logits;
        for (int from = 0; from < num_tokens; from += chunk) {
          logits = run(*loaded.model, blocks, tokens, from, std::min(num_tokens, from + chunk));
        }
        if (expected.empty()) expected = logits;
        ASSERT_EQ(std::memcmp(logits.data(), expected.data(), expected.size() * sizeof(float)), 0) << chunk;
      }
    }
  }
}

// The last tokens of a slice have the logits that a forward gives which ends at each of them; slices that ask
// for none, one and several lie in one batch.
TEST(Model, LogitsOfManyTokensAreThoseOfForwardsThatEndAtEach) {
  for (const char* name : {"llama-gqa", "llama-bf16-sharded", "llama-f16-tied"}) {
    const Loaded loaded = load(kvasir::testing::test_data_dir() / "models" / name);
    Model& model = *loaded.model;
    std::minstd_rand random(3);
    std::vector<TokenId> tokens(75);
    for (TokenId& token : tokens) token = static_cast<TokenId>(random() % model.config().vocab_size);
    const int num_tokens = static_cast<int>(tokens.size());

    Blocks one_by_one(model, num_tokens, KvDtype::kF16);
    std::vector<float> expected;  // (num_tokens, vocab_size)
    for (int i = 0; i < num_tokens; ++i) {
      const std::vector<float> logits = run(model, one_by_one, tokens, i, i + 1);
      expected.insert(expected.end(), logits.begin(), logits.end());
    }

    for (const int num_logits : {1, 2, 30, 75}) {
      auto pool = KvPool::create(model.kv_layout(16, KvDtype::kF16), 15);
      ASSERT_TRUE(pool.ok());
      std::vector<BlockId> tables[3];
      for (int i = 0; i < 15; ++i) tables[i % 3].push_back(BlockId{i});
      const SequenceSlice slices[] = {{tokens, 0, tables[0], num_logits},
                                      {std::span(tokens).first(9), 0, tables[1], 0},
                                      {std::span(tokens).first(40), 0, tables[2], 1}};
      const std::span<const float> logits = model.forward(slices, *pool);
      const std::size_t vocab_size = model.config().vocab_size;
      ASSERT_EQ(logits.size(), (num_logits + 1) * vocab_size);
      const std::size_t last = num_logits * vocab_size;
      EXPECT_EQ(std::memcmp(logits.data(), expected.data() + expected.size() - last, last * sizeof(float)), 0)
          << name << ", " << num_logits;
      EXPECT_EQ(
          std::memcmp(logits.data() + last, expected.data() + 39 * vocab_size, vocab_size * sizeof(float)), 0)
          << name << ", " << num_logits;
    }
  }
}

// P1 for sequences over the same blocks: a prefix that one of them has computed, then pieces of different
// sizes in one step, two of them the same.
TEST_P(OwnModel, SequencesThatShareBlocksGetTheBitsOfEachAlone) {
  constexpr int kPrefix = 144, kPrefixBlocks = kPrefix / 16, kBlocksEach = 14;
  std::minstd_rand random(3);
  for (const WeightDtype dtype : {WeightDtype::kAuto, WeightDtype::kQ8_0}) {
    for (const Loaded& loaded : load_ways(GetParam(), dtype)) {
      Model& model = *loaded.model;
      const int counts[] = {1, 1, 30, 7, 7, 60};
      constexpr int kNumSequences = std::size(counts);
      auto pool = KvPool::create(model.kv_layout(16, KvDtype::kF16), kNumSequences * kBlocksEach);
      ASSERT_TRUE(pool.ok());
      std::vector<TokenId> prefix(kPrefix);
      for (TokenId& token : prefix) token = static_cast<TokenId>(random() % model.config().vocab_size);
      std::vector<std::vector<TokenId>> sequences(kNumSequences, prefix);
      std::vector<std::vector<BlockId>> tables(kNumSequences);
      std::vector<SequenceSlice> slices;
      std::vector<float> expected;
      for (int s = 0; s < kNumSequences; ++s) {
        for (int i = 0; i < counts[s]; ++i) sequences[s].push_back((s == 4 ? 3 : s) + i);
        for (int b = 0; b < kBlocksEach; ++b) {
          tables[s].push_back(BlockId{b < kPrefixBlocks ? b : s * kBlocksEach + b});
        }
        slices.push_back({std::span<const TokenId>(sequences[s]).subspan(kPrefix), kPrefix, tables[s], 1});
        Blocks own(model, kBlocksEach * 16, KvDtype::kF16);
        const std::vector<float> alone =
            run(model, own, sequences[s], 0, static_cast<int>(sequences[s].size()));
        expected.insert(expected.end(), alone.begin(), alone.end());
      }
      const SequenceSlice first = {prefix, 0, tables[0], 0};
      model.forward({&first, 1}, *pool);
      const std::span<const float> logits = model.forward(slices, *pool);
      ASSERT_EQ(logits.size(), expected.size());
      EXPECT_EQ(std::memcmp(logits.data(), expected.data(), logits.size_bytes()), 0);
    }
  }
}

TEST(Model, FingerprintTellsModelsAndDtypesApart) {
  std::set<std::string> fingerprints;
  int num_models = 0;
  for (const auto& folder :
       std::filesystem::directory_iterator(kvasir::testing::test_data_dir() / "models")) {
    for (const WeightDtype dtype :
         {WeightDtype::kAuto, WeightDtype::kF16, WeightDtype::kQ8_0, WeightDtype::kQ4_0}) {
      const std::string fingerprint = load(folder.path(), dtype).model->fingerprint();
      EXPECT_EQ(fingerprint.size(), 32u);
      EXPECT_EQ(fingerprint, load(folder.path(), dtype, 1).model->fingerprint());
      fingerprints.insert(fingerprint);
      ++num_models;
    }
  }
  EXPECT_EQ(static_cast<int>(fingerprints.size()), num_models);
}

}  // namespace
}  // namespace kvasir::model
