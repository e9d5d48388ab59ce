// A step allocates nothing once a step of its size has been seen.

#include <gtest/gtest.h>

#include "model/model.h"
#include "tests/count_allocations.h"
#include "tests/shared_data.h"

namespace kvasir::model {
namespace {

using kvasir::testing::num_allocations;

class AllocatingModel : public ::testing::TestWithParam<const char*> {};
INSTANTIATE_TEST_SUITE_P(Models, AllocatingModel,
                         ::testing::Values("llama-gqa", "gemma3", "falcon-multi-query", "qwen3-moe"));

TEST_P(AllocatingModel, AllocatesNothingInAStep) {
  ThreadPool pool(2);
  auto files = format::ModelFiles::open((kvasir::testing::test_data_dir() / "models" / GetParam()).string());
  ASSERT_TRUE(files.ok());
  auto loaded = Model::load(*files, {WeightDtype::kAuto}, pool);
  ASSERT_TRUE(loaded.ok());
  Model& model = **loaded;
  auto kv = backend::KvPool::create(model.kv_layout(16, backend::KvDtype::kF16), 16);
  ASSERT_TRUE(kv.ok());
  std::vector<BlockId> table;
  for (int i = 0; i < 16; ++i) table.push_back(BlockId{i});
  const std::vector<TokenId> tokens(200, 5);
  const auto step = [&](int from, int count) {
    const SequenceSlice slice = {std::span(tokens).subspan(from, count), from, table, 1};
    model.forward({&slice, 1}, *kv);
  };
  // Three that share 128 tokens of it: two decode, one is in its prompt.
  std::vector<BlockId> other = table;
  std::swap(other[8], other[13]);
  const SequenceSlice shared[] = {{std::span(tokens).subspan(199, 1), 199, table, 1},
                                  {std::span(tokens).subspan(150, 1), 150, other, 1},
                                  {std::span(tokens).subspan(128, 20), 128, other, 0}};
  step(0, 200);
  model.forward(shared, *kv);
  const int before = num_allocations;
  for (int i = 100; i < 200; ++i) step(i, 1);
  step(0, 150);
  model.forward(shared, *kv);
  EXPECT_EQ(num_allocations, before);
}

}  // namespace
}  // namespace kvasir::model
