// What a forward gives and leaves beside the logits of a slice's last token.

#include <gtest/gtest.h>

#include <cstring>

#include "model/model_harness.h"
#include "tests/shared_data.h"

namespace kvasir::model {
namespace {

using backend::KvDtype;

std::vector<TokenId> random_tokens(const Model& model, int count, unsigned seed) {
  std::minstd_rand random(seed);
  std::vector<TokenId> tokens(count);
  for (TokenId& token : tokens) token = static_cast<TokenId>(random() % model.config().vocab_size);
  return tokens;
}

std::vector<float> copy(std::span<const float> values) {
  return {values.begin(), values.end()};
}

// Their logits come from the K and V in the blocks, which stay as they are: here they are those of other
// tokens, which the slice would replace by its own if it wrote them.
TEST(Model, TokensWhoseKvIsStoredAreRunAndNotWritten) {
  const Loaded loaded = load(kvasir::testing::test_data_dir() / "models/llama-gqa");
  Model& model = *loaded.model;
  constexpr int kNumTokens = 60, kNumStored = 45;
  const std::vector<TokenId> tokens = random_tokens(model, kNumTokens, 1);
  Blocks blocks(model, kNumTokens, KvDtype::kF16);
  const SequenceSlice whole = {tokens, 0, blocks.table, kNumTokens};
  const std::vector<float> expected = copy(model.forward({&whole, 1}, *blocks.pool));

  for (const int begin : {0, 10, 44}) {
    Blocks own(model, kNumTokens, KvDtype::kF16);
    run(model, own, tokens, 0, kNumStored);
    const std::span<const TokenId> rest = std::span(tokens).subspan(begin);
    const int count = static_cast<int>(rest.size());
    const SequenceSlice slice = {rest, begin, own.table, count, 0, kNumStored - begin};
    const std::span<const float> logits = model.forward({&slice, 1}, *own.pool);
    ASSERT_EQ(logits.size(), count * expected.size() / kNumTokens);
    EXPECT_EQ(
        std::memcmp(logits.data(), expected.data() + expected.size() - logits.size(), logits.size_bytes()), 0)
        << begin;
  }

  const std::vector<TokenId> others = random_tokens(model, 32, 2);
  run(model, blocks, others, 0, 32);
  const auto bytes_of = [&](int block) {
    const std::span<const std::byte> bytes = blocks.pool->block(blocks.table[block]);
    return std::vector<std::byte>(bytes.begin(), bytes.end());
  };
  const auto before = std::pair(bytes_of(0), bytes_of(1));
  const SequenceSlice stored = {std::span(tokens).first(40), 0, blocks.table, 1, 0, 32};
  model.forward({&stored, 1}, *blocks.pool);
  EXPECT_EQ(std::pair(bytes_of(0), bytes_of(1)), before);
}

TEST(Model, HiddenStatesAreTheSameInAnyPieces) {
  for (const char* name : {"llama-gqa", "llama-bf16-sharded"}) {
    const Loaded loaded = load(kvasir::testing::test_data_dir() / "models" / name);
    Model& model = *loaded.model;
    constexpr int kNumTokens = 50;
    const std::vector<TokenId> tokens = random_tokens(model, kNumTokens, 1);
    Blocks blocks(model, kNumTokens, KvDtype::kF16);
    const SequenceSlice whole = {tokens, 0, blocks.table, 0, kNumTokens};
    EXPECT_TRUE(model.forward({&whole, 1}, *blocks.pool).empty());
    const std::vector<float> expected = copy(model.hidden_states());
    ASSERT_EQ(expected.size(), std::size_t(kNumTokens) * model.config().hidden_size);

    std::vector<float> pieces;
    Blocks own(model, kNumTokens, KvDtype::kF16);
    for (int begin = 0, count = 1; begin < kNumTokens;
         begin += count, count = std::min(7, kNumTokens - begin)) {
      const SequenceSlice slice = {std::span(tokens).subspan(begin, count), begin, own.table, 1, count};
      model.forward({&slice, 1}, *own.pool);
      const std::span<const float> states = model.hidden_states();
      pieces.insert(pieces.end(), states.begin(), states.end());
    }
    EXPECT_EQ(pieces, expected) << name;

    run(model, own, tokens, 0, 1);
    EXPECT_TRUE(model.hidden_states().empty());
  }
}

}  // namespace
}  // namespace kvasir::model
