#include "backend/block_types.h"

#include <gtest/gtest.h>

#include <cmath>
#include <cstring>
#include <fstream>
#include <limits>
#include <random>
#include <string>
#include <vector>

#include "tests/shared_data.h"

namespace kvasir::backend {
namespace {

constexpr const char* kNames[] = {"F32",  "F16",  "BF16", "Q4_0", "Q4_1", "Q5_0", "Q5_1",
                                  "Q8_0", "Q2_K", "Q3_K", "Q4_K", "Q5_K", "Q6_K", "IQ4_NL"};

std::string read_file(const std::filesystem::path& path) {
  std::ifstream file(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(file), {}};
}

std::vector<float> expand_all(BlockType type, const std::string& blocks) {
  const BlockSize size = block_size(type);
  std::vector<float> out(blocks.size() / size.bytes * size.weights);
  expand(type, reinterpret_cast<const std::byte*>(blocks.data()), blocks.size() / size.bytes, out.data());
  return out;
}

// Blocks of each type, made and expanded by gguf-py: tools/make_gguf_goldens.py.
void expect_goldens(const std::filesystem::path& folder) {
  int num_types = 0;
  for (const char* name : kNames) {
    const std::string blocks = read_file(folder / (std::string(name) + ".blocks.bin"));
    const std::string floats = read_file(folder / (std::string(name) + ".f32.bin"));
    if (blocks.empty()) continue;
    const std::vector<float> out = expand_all(*block_type_of(name), blocks);
    ASSERT_EQ(out.size() * sizeof(float), floats.size()) << name;
    EXPECT_EQ(std::memcmp(out.data(), floats.data(), floats.size()), 0) << name;
    ++num_types;
  }
  EXPECT_GE(num_types, 13);  // F32 has no goldens
}

TEST(BlockTypes, ExpandToTheBitsOfTheReference) {
  expect_goldens(kvasir::testing::test_data_dir() / "gguf" / "blocks");
}

TEST(BlockTypes, ExpandToTheBitsOfTheReferenceOnSharedData) {
  KVASIR_REQUIRE_SHARED_DATA("quant_goldens");
  expect_goldens(kvasir::testing::shared_data_dir() / "quant_goldens");
}

TEST(BlockTypes, HaveTheNamesOfTheFormat) {
  for (const char* name : kNames) EXPECT_TRUE(block_type_of(name)) << name;
  for (const char* name : {"", "q4_0", "IQ1_S", "MXFP4"}) EXPECT_FALSE(block_type_of(name)) << name;
}

TEST(BlockTypes, RoundToTheBitsOfTheReference) {
  const auto folder = kvasir::testing::test_data_dir() / "gguf/blocks";
  const std::string bytes = read_file(folder / "weights.f32.bin");
  std::vector<float> weights(bytes.size() / sizeof(float));
  std::memcpy(weights.data(), bytes.data(), bytes.size());
  for (const BlockType type : {BlockType::kQ8_0, BlockType::kQ4_0}) {
    const std::string name = type == BlockType::kQ8_0 ? "Q8_0" : "Q4_0";
    const std::string expected = read_file(folder / (name + ".rounded.bin"));
    const BlockSize size = block_size(type);
    std::string blocks(weights.size() / size.weights * size.bytes, '\0');
    compress(type, weights.data(), weights.size() / size.weights,
             reinterpret_cast<std::byte*>(blocks.data()));
    EXPECT_EQ(blocks, expected) << name;
  }
}

// Root of the mean squared error, in units of the values' own.
double relative_error(BlockType type, const std::vector<float>& values) {
  const BlockSize size = block_size(type);
  std::string blocks(values.size() / size.weights * size.bytes, '\0');
  compress(type, values.data(), values.size() / size.weights, reinterpret_cast<std::byte*>(blocks.data()));
  const std::vector<float> out = expand_all(type, blocks);
  double error = 0, total = 0;
  for (std::size_t i = 0; i < values.size(); ++i) {
    error += (out[i] - values[i]) * (out[i] - values[i]);
    total += values[i] * values[i];
  }
  return std::sqrt(error / total);
}

// The types that hold their errors below what their bits allow for normal weights: a uniform step of s has an
// error of s / sqrt(12); a group of 32 spans about 4.1 sigma, so 8 bits give 0.005 and 4 bits 0.08.
TEST(BlockTypes, CompressWithSmallErrors) {
  std::mt19937 random(7);
  std::normal_distribution<float> normal(0, 0.02f);
  std::vector<float> values(64 * 256);
  for (float& value : values) value = normal(random);
  EXPECT_EQ(relative_error(BlockType::kF32, values), 0);
  EXPECT_LT(relative_error(BlockType::kF16, values), 5e-4);
  EXPECT_LT(relative_error(BlockType::kBf16, values), 4e-3);
  EXPECT_LT(relative_error(BlockType::kQ8_0, values), 6e-3);
  EXPECT_LT(relative_error(BlockType::kQ4_0, values), 0.1);
  EXPECT_LT(relative_error(BlockType::kQ4_K, values), 0.08);
}

TEST(BlockTypes, CompressWhatTheyExpand) {
  std::mt19937 random(8);
  for (const BlockType type : {BlockType::kQ8_0, BlockType::kQ4_0}) {
    const BlockSize size = block_size(type);
    std::vector<float> values(size.weights), again(size.weights);
    for (std::size_t i = 0; i < values.size(); ++i) {
      values[i] = static_cast<float>(static_cast<int>(random() % 15) - 7) / 8;
    }
    values[3] = -1;  // the extreme value, of which Q4_0 makes -8
    std::vector<std::byte> block(size.bytes);
    compress(type, values.data(), 1, block.data());
    expand(type, block.data(), 1, again.data());
    for (std::size_t i = 0; i < values.size(); ++i) EXPECT_NEAR(again[i], values[i], 1e-2);
  }
}

// Zeros stay zeros, and what is not a number does not become one.
TEST(BlockTypes, CompressZerosAndNonFinites) {
  for (const BlockType type : {BlockType::kQ8_0, BlockType::kQ4_0, BlockType::kQ4_K}) {
    const BlockSize size = block_size(type);
    std::vector<float> values(size.weights, 0.0f), again(size.weights);
    std::vector<std::byte> block(size.bytes);
    compress(type, values.data(), 1, block.data());
    expand(type, block.data(), 1, again.data());
    for (const float value : again) EXPECT_EQ(value, 0);
    for (const float bad :
         {std::numeric_limits<float>::infinity(), std::numeric_limits<float>::quiet_NaN()}) {
      values[5] = bad;
      compress(type, values.data(), 1, block.data());
      expand(type, block.data(), 1, again.data());
      EXPECT_FALSE(std::isfinite(again[5]));
    }
  }
}

}  // namespace
}  // namespace kvasir::backend
