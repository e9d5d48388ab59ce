#pragma once

// What tests of the model share: a model loaded from a folder, and a sequence that runs alone.

#include <gtest/gtest.h>

#include <algorithm>
#include <filesystem>
#include <memory>
#include <random>
#include <span>
#include <string>
#include <vector>

#include "model/model.h"

namespace kvasir::model {

struct Loaded {
  std::unique_ptr<ThreadPool> pool;
  std::unique_ptr<format::ModelFiles> files;
  std::unique_ptr<Model> model;
};

inline Loaded load(format::ModelFiles files, const LoadOptions& options, int num_threads = 2) {
  Loaded loaded;
  loaded.pool = std::make_unique<ThreadPool>(num_threads);
  loaded.files = std::make_unique<format::ModelFiles>(std::move(files));
  auto model = Model::load(*loaded.files, options, *loaded.pool);
  EXPECT_TRUE(model.ok()) << model.status().message();
  if (model.ok()) loaded.model = std::move(*model);
  return loaded;
}

inline Loaded load(const std::filesystem::path& folder, const LoadOptions& options, int num_threads = 2) {
  auto files = format::ModelFiles::open(folder.string());
  EXPECT_TRUE(files.ok()) << files.status().message();
  return load(std::move(*files), options, num_threads);
}

inline Loaded load(const std::filesystem::path& folder, WeightDtype dtype = WeightDtype::kAuto,
                   int num_threads = 2) {
  return load(folder, LoadOptions{dtype}, num_threads);
}

// The folders in `folder`, for tests of each.
inline std::vector<std::string> models_in(const std::filesystem::path& folder) {
  std::vector<std::string> names;
  for (const auto& entry : std::filesystem::directory_iterator(folder)) {
    names.push_back(entry.path().filename().string());
  }
  std::sort(names.begin(), names.end());
  return names;
}

// A test's name has no signs.
inline std::string name_of_model(const ::testing::TestParamInfo<std::string>& info) {
  std::string name = info.param;
  std::replace(name.begin(), name.end(), '-', '_');
  return name;
}

// A sequence's blocks in a pool of its own, in a shuffled order.
struct Blocks {
  Blocks(const Model& model, int num_tokens, backend::KvDtype dtype, int block_size = 16) {
    const int num_blocks = num_tokens / block_size + 1;
    auto created = backend::KvPool::create(model.kv_layout(block_size, dtype), num_blocks);
    EXPECT_TRUE(created.ok());
    pool = std::make_unique<backend::KvPool>(std::move(*created));
    for (int i = 0; i < num_blocks; ++i) table.push_back(BlockId{i});
    std::shuffle(table.begin(), table.end(), std::minstd_rand(num_tokens));
  }

  std::unique_ptr<backend::KvPool> pool;
  std::vector<BlockId> table;
};

inline std::vector<float> run(Model& model, Blocks& blocks, std::span<const TokenId> tokens, int from,
                              int to) {
  const SequenceSlice slice = {tokens.subspan(from, to - from), from, blocks.table, 1};
  const std::span<const float> logits = model.forward({&slice, 1}, *blocks.pool);
  return {logits.begin(), logits.end()};
}

}  // namespace kvasir::model
