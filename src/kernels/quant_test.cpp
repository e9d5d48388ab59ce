#include "kernels/quant.h"

#include <gtest/gtest.h>

#include <cmath>
#include <cstring>
#include <fstream>
#include <iterator>
#include <limits>
#include <memory>
#include <random>
#include <string>
#include <vector>

#include "kernels/float_formats.h"
#include "kernels/kernels.h"
#include "kernels/quant_blocks.h"
#include "kernels/simd.h"
#include "tests/shared_data.h"

namespace kvasir::kernels {
namespace {

constexpr QuantType kTypes[] = {QuantType::kQ8_0, QuantType::kQ4_0, QuantType::kQ4_K, QuantType::kQ5_K,
                                QuantType::kQ6_K};
constexpr QuantType kRoundedTypes[] = {QuantType::kQ8_0, QuantType::kQ4_0};  // that pack_panel makes
constexpr float kInfinity = std::numeric_limits<float>::infinity();

struct Free {
  void operator()(std::byte* memory) const { std::free(memory); }
};
using Memory = std::unique_ptr<std::byte[], Free>;

Memory allocate(std::size_t bytes) {
  return Memory(static_cast<std::byte*>(std::aligned_alloc(64, (bytes + 63) / 64 * 64)));
}

const char* name_of(QuantType type) {
  constexpr const char* kNames[] = {"Q8_0", "Q4_0", "Q4_K", "Q5_K", "Q6_K"};
  return kNames[static_cast<int>(type)];
}

// Blocks of a file: random bits, but for the f16 factors, which are small numbers.
std::vector<std::byte> random_blocks(QuantType type, std::size_t columns, std::size_t k, unsigned seed) {
  std::mt19937 random(seed);
  std::normal_distribution<float> normal;
  std::vector<std::byte> blocks(columns * k / block_weights(type) * block_bytes(type));
  for (std::byte& byte : blocks) byte = static_cast<std::byte>(random());
  for (std::size_t at = 0; at < blocks.size(); at += block_bytes(type)) {
    const std::size_t first = type == QuantType::kQ6_K ? block_bytes(type) - 2 : 0;
    for (std::size_t i = 0; i < (has_minimums(type) ? 2 : 1); ++i) {
      const std::uint16_t half = f32_to_f16(normal(random) * 0.001f);
      std::memcpy(&blocks[at + first + i * 2], &half, sizeof half);
    }
  }
  return blocks;
}

// Panels of n columns, of blocks or, in types that pack_panel makes, of random floats.
Memory random_panels(QuantType type, std::size_t n, std::size_t k, unsigned seed) {
  Memory panels = allocate(num_panels(n) * panel_bytes(type, k));
  std::mt19937 random(seed);
  std::normal_distribution<float> normal;
  for (std::size_t first = 0; first < n; first += kPanelColumns) {
    const std::size_t columns = std::min(kPanelColumns, n - first);
    std::byte* panel = panels.get() + first / kPanelColumns * panel_bytes(type, k);
    if (has_super_blocks(type)) {
      pack_blocks(random_blocks(type, columns, k, seed + first).data(), columns, k, type, panel);
    } else {
      std::vector<float> w(columns * k);
      for (float& value : w) value = normal(random) * 0.05f;
      scalar_kernels().quant.pack_panel(w.data(), columns, k, type, panel);
    }
  }
  return panels;
}

// k, or the next larger number of weights of whole blocks.
std::size_t possible_k(QuantType type, std::size_t k) {
  const std::size_t multiple = has_super_blocks(type) ? block_weights(type) : 1;
  return (k + multiple - 1) / multiple * multiple;
}

struct Case {
  Case(std::size_t rows, std::size_t columns, std::size_t wanted_k, QuantType w_type, unsigned seed)
      : m(rows), n(columns), k(possible_k(w_type, wanted_k)), type(w_type), x(m * k), bias(n) {
    std::mt19937 random(seed);
    std::normal_distribution<float> normal;
    for (float& value : x) value = normal(random) * std::exp2(static_cast<float>(random() % 12) - 6);
    for (float& value : bias) value = normal(random);
    panels = random_panels(type, n, k, seed);
  }

  // Whole rows of y, those of x from first_row on, with a gap between them, which must stay 7.
  std::vector<float> run(const QuantKernels& kernels, bool has_bias, std::size_t first_row,
                         std::size_t num_rows) const {
    std::vector<float> y(num_rows * (n + kGap), 7.0f);
    const Memory rows = allocate(num_rows * quantized_row_bytes(type, k));
    const Memory scratch = allocate(kGemmScratchFloats * sizeof(float));
    kernels.quantize_rows({x.data() + first_row * k, k, num_rows, k, type, rows.get()});
    kernels.gemm({rows.get(), panels.get(), type, has_bias ? bias.data() : nullptr, y.data(), n + kGap,
                  num_rows, n, k, reinterpret_cast<float*>(scratch.get())});
    return y;
  }
  std::vector<float> run(const QuantKernels& kernels, bool has_bias) const {
    return run(kernels, has_bias, 0, m);
  }

  static constexpr std::size_t kGap = 3;
  std::size_t m, n, k;
  QuantType type;
  std::vector<float> x, bias;
  Memory panels;
};

bool same_bits(const std::vector<float>& a, const std::vector<float>& b) {
  return a.size() == b.size() && std::memcmp(a.data(), b.data(), a.size() * sizeof(float)) == 0;
}

TEST(QuantGemm, TheReferenceIsADotProductOfRoundedNumbers) {
  for (const QuantType type : kTypes) {
    const Case gemm(3, 21, 100, type, 1);
    const std::vector<float> y = gemm.run(scalar_kernels().quant, true);
    std::vector<float> w(gemm.k);
    for (std::size_t j = 0; j < gemm.n; ++j) {
      unpack_column(gemm.panels.get() + j / kPanelColumns * panel_bytes(type, gemm.k), j % kPanelColumns,
                    gemm.k, type, w.data());
      for (std::size_t i = 0; i < gemm.m; ++i) {
        double sum = gemm.bias[j], largest_error = 1e-5;
        for (std::size_t at = 0; at < gemm.k; ++at) {
          const double x = gemm.x[i * gemm.k + at];
          sum += x * w[at];
          // x is rounded by at most half of its group's step.
          float maximum = 0;
          for (std::size_t other = at / 32 * 32; other < std::min(gemm.k, at / 32 * 32 + 32); ++other) {
            maximum = std::max(maximum, std::abs(gemm.x[i * gemm.k + other]));
          }
          largest_error += (maximum / 127 * 0.5 + 1e-6 * maximum) * std::abs(w[at]);
        }
        EXPECT_NEAR(y[i * (gemm.n + Case::kGap) + j], sum, largest_error);
      }
    }
  }
}

TEST(QuantGemm, EachInstructionSetComputesTheBitsOfTheReference) {
  unsigned seed = 100;
  for (const QuantType type : kTypes) {
    for (const std::size_t m : {1, 2, 3, 4, 5, 6, 7, 11, 12, 13, 16, 17, 31, 33, 48}) {
      for (const auto& [n, k] : {std::pair<std::size_t, std::size_t>{1, 1},
                                 {16, 32},
                                 {17, 33},
                                 {40, 64},
                                 {31, 172},
                                 {48, 512},
                                 {33, 544},
                                 {64, 1056}}) {
        const Case gemm(m, n, k, type, ++seed);
        const bool has_bias = seed % 2 == 0;
        const std::vector<float> expected = gemm.run(scalar_kernels().quant, has_bias);
        for (const KernelTable* table : simd_kernels()) {
          ASSERT_TRUE(same_bits(gemm.run(table->quant, has_bias), expected))
              << table->isa << ": m " << m << ", n " << n << ", k " << gemm.k << ", " << name_of(type);
        }
      }
    }
  }
}

// More rows than a block of rows holds, and rows so long that a block holds few of them.
TEST(QuantGemm, BlocksOfRowsMeetWithoutASeam) {
  for (const QuantType type : kTypes) {
    for (const auto& [m, n, k] :
         {std::tuple<std::size_t, std::size_t, std::size_t>{531, 20, 64}, {23, 5, 20000}}) {
      const Case gemm(m, n, k, type, 7);
      const std::vector<float> expected = gemm.run(scalar_kernels().quant, true);
      for (const KernelTable* table : simd_kernels()) {
        ASSERT_TRUE(same_bits(gemm.run(table->quant, true), expected)) << table->isa << ": m " << m;
      }
    }
  }
}

TEST(QuantGemm, ARowDoesNotDependOnTheOthers) {
  for (const QuantType type : kTypes) {
    const Case all(37, 30, 600, type, 8);
    for (const KernelTable* table : simd_kernels()) {
      const std::vector<float> expected = all.run(table->quant, true);
      for (std::size_t row = 0; row < all.m; ++row) {
        const std::vector<float> y = all.run(table->quant, true, row, 1);
        ASSERT_EQ(std::memcmp(y.data(), expected.data() + row * y.size(), y.size() * sizeof(float)), 0)
            << table->isa << ": row " << row << ", " << name_of(type);
      }
    }
  }
}

// The largest sums that there can be: all weights and activations at the ends of their ranges, also -128,
// which our own rounding never gives but a file may have.
TEST(QuantGemm, ExtremesDoNotOverflow) {
  for (const QuantType type : kTypes) {
    for (const int byte : {0x00, 0xFF, 0x80, 0x0F, 0xF0}) {
      for (const float sign : {-1.0f, 1.0f}) {
        for (const std::size_t m : {1, 7, 16}) {
          Case gemm(m, 16, 128, type, 9);
          // Scales of q6_k have their extremes where the weights have theirs.
          const std::size_t num_filled =
              type == QuantType::kQ6_K ? panel_bytes(type, gemm.k) : num_groups(gemm.k) * group_bytes(type);
          std::fill_n(gemm.panels.get(), num_filled, static_cast<std::byte>(byte));
          for (float& value : gemm.x) value = sign;
          const std::vector<float> expected = gemm.run(scalar_kernels().quant, false);
          for (const KernelTable* table : simd_kernels()) {
            ASSERT_TRUE(same_bits(gemm.run(table->quant, false), expected))
                << table->isa << ": byte " << byte;
          }
        }
      }
    }
  }
}

TEST(QuantGemm, WhatIsNotFiniteArrivesWhereItBelongs) {
  for (const float bad : {kInfinity, -kInfinity, std::numeric_limits<float>::quiet_NaN()}) {
    for (const QuantType type : kTypes) {
      Case gemm(7, 6, 64, type, 10);
      gemm.x[3 * gemm.k + 40] = bad;
      std::vector<const KernelTable*> tables(simd_kernels().begin(), simd_kernels().end());
      tables.push_back(&scalar_kernels());
      for (const KernelTable* table : tables) {
        const std::vector<float> y = gemm.run(table->quant, true);
        for (std::size_t i = 0; i < gemm.m; ++i) {
          EXPECT_EQ(std::isfinite(y[i * (gemm.n + Case::kGap)]), i != 3)
              << table->isa << ", " << name_of(type);
        }
      }
    }
  }
}

TEST(QuantizeRows, EachInstructionSetComputesTheBitsOfTheReference) {
  std::mt19937 random(11);
  std::normal_distribution<float> normal;
  for (const std::size_t k : {1, 31, 32, 33, 64, 172, 2048}) {
    std::vector<float> x(3 * k);
    for (std::size_t i = 0; i < x.size(); ++i) {
      // Groups of all magnitudes, of zeros, and ties between two integers.
      const int kind = static_cast<int>(i / 32 % 5);
      x[i] = kind == 0   ? normal(random) * 1e-38f
             : kind == 1 ? 0.0f
             : kind == 2 ? 127.0f * static_cast<float>(random() % 255) / 254.0f
                         : normal(random) * std::exp2(static_cast<float>(random() % 60) - 30);
    }
    for (const QuantType type : kTypes) {
      const std::size_t bytes = 3 * quantized_row_bytes(type, k);
      const Memory expected = allocate(bytes), rows = allocate(bytes);
      std::memset(expected.get(), 0, bytes);
      scalar_kernels().quant.quantize_rows({x.data(), k, 3, k, type, expected.get()});
      for (const KernelTable* table : simd_kernels()) {
        std::memset(rows.get(), 0, bytes);
        table->quant.quantize_rows({x.data(), k, 3, k, type, rows.get()});
        ASSERT_EQ(std::memcmp(rows.get(), expected.get(), bytes), 0)
            << table->isa << ": k " << k << ", " << name_of(type);
      }
    }
  }
}

TEST(PackPanel, RoundsToTheNearestStep) {
  std::mt19937 random(12);
  std::normal_distribution<float> normal;
  for (const QuantType type : kRoundedTypes) {
    const std::size_t k = 172;
    std::vector<float> w(5 * k), back(k);
    for (float& value : w) value = normal(random);
    const Memory panel = allocate(panel_bytes(type, k));
    scalar_kernels().quant.pack_panel(w.data(), 5, k, type, panel.get());
    for (std::size_t column = 0; column < 5; ++column) {
      unpack_column(panel.get(), column, k, type, back.data());
      for (std::size_t at = 0; at < k; ++at) {
        float maximum = 0;
        for (std::size_t i = at / 32 * 32; i < std::min(k, at / 32 * 32 + 32); ++i) {
          maximum = std::max(maximum, std::abs(w[column * k + i]));
        }
        // q4_0's steps end at 7 on one side: there the error is up to a whole step. 2^-11: the scale is an
        // f16.
        const float step = type == QuantType::kQ8_0 ? maximum / 127 : maximum / 8;
        const float error = (type == QuantType::kQ8_0 ? 0.5f : 1.0f) * step + maximum * 0x1p-11f;
        EXPECT_NEAR(back[at], w[column * k + at], error);
      }
    }
    for (std::size_t column = 5; column < kPanelColumns; ++column) {
      unpack_column(panel.get(), column, k, type, back.data());
      for (const float value : back) EXPECT_EQ(value, 0.0f);
    }
  }
}

TEST(PackPanel, EachInstructionSetPacksTheSame) {
  std::mt19937 random(13);
  std::normal_distribution<float> normal;
  for (const QuantType type : kRoundedTypes) {
    for (const std::size_t k : {1, 31, 32, 100, 512}) {
      for (const std::size_t columns : {1, 7, 16}) {
        std::vector<float> w(columns * k);
        for (float& value : w) value = normal(random) * std::exp2(static_cast<float>(random() % 40) - 20);
        if (k > 40) std::fill_n(w.begin(), 40, 0.0f);
        const std::size_t bytes = panel_bytes(type, k);
        const Memory expected = allocate(bytes), panel = allocate(bytes);
        scalar_kernels().quant.pack_panel(w.data(), columns, k, type, expected.get());
        for (const KernelTable* table : simd_kernels()) {
          table->quant.pack_panel(w.data(), columns, k, type, panel.get());
          ASSERT_EQ(std::memcmp(panel.get(), expected.get(), bytes), 0) << table->isa << ": k " << k;
        }
      }
    }
  }
}

TEST(PackPanel, HostileWeightsDoNoHarm) {
  for (const QuantType type : kRoundedTypes) {
    for (const float bad : {kInfinity, std::numeric_limits<float>::quiet_NaN(), 3e38f, 1e-44f}) {
      std::vector<float> w(32, 0.5f), back(32);
      w[7] = bad;
      w[8] = -bad;
      const Memory panel = allocate(panel_bytes(type, 32));
      scalar_kernels().quant.pack_panel(w.data(), 1, 32, type, panel.get());
      unpack_column(panel.get(), 0, 32, type, back.data());
      EXPECT_EQ(std::isfinite(back[7]), bad == 1e-44f);
    }
  }
}

// One weight of a block by the format's definition, in the order of the f32 operations that everyone has, and
// the size of what it is a difference of.
struct Weight {
  float value;
  float size;
};

Weight weight_of_k(const std::uint8_t* block, QuantType type, std::size_t at) {
  const std::size_t group = at / 32, in_group = at % 32;
  const std::uint8_t* scales = block + 4;
  int scale = scales[group % 4] & 63, minimum = scales[4 + group % 4] & 63;
  if (group >= 4) {
    scale = (scales[4 + group] & 15) + 16 * (scales[group - 4] >> 6);
    minimum = (scales[4 + group] >> 4) + 16 * (scales[group] >> 6);
  }
  const std::uint8_t* high = block + 16;
  const std::uint8_t* low = type == QuantType::kQ5_K ? high + 32 : high;
  int q = low[group / 2 * 32 + in_group] >> group % 2 * 4 & 15;
  if (type == QuantType::kQ5_K) q += 16 * (high[in_group] >> group & 1);
  std::uint16_t d, dmin;
  std::memcpy(&d, block, 2);
  std::memcpy(&dmin, block + 2, 2);
  const float product = f16_to_f32(d) * static_cast<float>(scale) * static_cast<float>(q);
  const float less = f16_to_f32(dmin) * static_cast<float>(minimum);
  return {product - less, std::abs(product) + std::abs(less)};
}

Weight weight_of(const std::uint8_t* block, QuantType type, std::size_t at) {
  if (has_minimums(type)) return weight_of_k(block, type, at);
  std::uint16_t d;
  std::memcpy(&d, block + (type == QuantType::kQ6_K ? 208 : 0), 2);
  float scale = f16_to_f32(d);
  int q;
  if (type == QuantType::kQ8_0) {
    q = static_cast<std::int8_t>(block[2 + at]);
  } else if (type == QuantType::kQ4_0) {
    q = (block[2 + at % 16] >> at / 16 * 4 & 15) - 8;
  } else {
    const std::size_t half = at / 128, in_half = at % 128;
    q = block[half * 64 + in_half % 64] >> in_half / 64 * 4 & 15;
    q += 16 * (block[128 + half * 32 + in_half % 32] >> in_half / 32 * 2 & 3);
    q -= 32;
    scale *= static_cast<float>(static_cast<std::int8_t>(block[192 + at / 16]));
  }
  const float value = scale * static_cast<float>(q);
  return {value, std::abs(value)};
}

// The weights of n columns of k.
std::vector<Weight> weights_of(const std::vector<std::byte>& blocks, QuantType type, std::size_t n,
                               std::size_t k) {
  std::vector<Weight> weights(n * k);
  for (std::size_t i = 0; i < weights.size(); ++i) {
    const std::byte* block = blocks.data() + i / block_weights(type) * block_bytes(type);
    weights[i] = weight_of(reinterpret_cast<const std::uint8_t*>(block), type, i % block_weights(type));
  }
  return weights;
}

TEST(PackBlocks, KeepsEveryWeightOfTheFileBitForBit) {
  for (const QuantType type : kTypes) {
    for (const std::size_t columns : {1, 7, 16}) {
      const std::size_t k = 3 * block_weights(type);
      const std::vector<std::byte> blocks = random_blocks(type, columns, k, 14);
      const std::vector<Weight> expected = weights_of(blocks, type, columns, k);
      const Memory panel = allocate(panel_bytes(type, k));
      pack_blocks(blocks.data(), columns, k, type, panel.get());
      std::vector<float> column(k);
      for (std::size_t i = 0; i < kPanelColumns; ++i) {
        unpack_column(panel.get(), i, k, type, column.data());
        for (std::size_t at = 0; at < k; ++at) {
          ASSERT_EQ(column[at], i < columns ? expected[i * k + at].value : 0.0f)
              << name_of(type) << ": column " << i << ", k " << at;
        }
      }
    }
  }
}

std::vector<char> read_file(const std::filesystem::path& path) {
  std::ifstream file(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(file), {}};
}

// Goldens of four rows, made by the gguf package.
TEST(PackBlocks, GivesTheWeightsThatTheReferenceReads) {
  KVASIR_REQUIRE_SHARED_DATA("quant_goldens");
  const std::filesystem::path folder = testing::shared_data_dir() / "quant_goldens";
  for (const QuantType type : kTypes) {
    const std::vector<char> blocks = read_file(folder / fmt::format("{}.blocks.bin", name_of(type)));
    const std::vector<char> floats = read_file(folder / fmt::format("{}.f32.bin", name_of(type)));
    const std::size_t k = floats.size() / 4 / sizeof(float);
    ASSERT_EQ(blocks.size(), 4 * k / block_weights(type) * block_bytes(type));
    const Memory panel = allocate(panel_bytes(type, k));
    pack_blocks(reinterpret_cast<const std::byte*>(blocks.data()), 4, k, type, panel.get());
    std::vector<float> column(k);
    for (std::size_t i = 0; i < 4; ++i) {
      unpack_column(panel.get(), i, k, type, column.data());
      EXPECT_EQ(std::memcmp(column.data(), floats.data() + i * k * sizeof(float), k * sizeof(float)), 0)
          << name_of(type) << ": row " << i;
    }
  }
}

// With the activations as they were rounded, only f32's own error is left: a rounding for each scale and for
// each addition to the sum.
TEST(QuantGemm, OnlyTheActivationsOfAProductWithAFilesWeightsAreRounded) {
  for (const QuantType type : kTypes) {
    const std::size_t m = 3, n = kPanelColumns, k = 1024;
    const std::vector<std::byte> blocks = random_blocks(type, n, k, 15);
    const std::vector<Weight> w = weights_of(blocks, type, n, k);
    Case gemm(m, n, k, type, 16);
    pack_blocks(blocks.data(), n, k, type, gemm.panels.get());
    const std::vector<float> y = gemm.run(scalar_kernels().quant, false);
    const std::size_t row_bytes = quantized_row_bytes(type, k);
    const Memory rows = allocate(m * row_bytes);
    scalar_kernels().quant.quantize_rows({gemm.x.data(), k, m, k, type, rows.get()});
    for (std::size_t i = 0; i < m; ++i) {
      const std::byte* row = rows.get() + i * row_bytes;
      const auto* x_scales = reinterpret_cast<const float*>(row + k);
      for (std::size_t j = 0; j < n; ++j) {
        double sum = 0, size = 0;
        for (std::size_t at = 0; at < k; ++at) {
          const double x = static_cast<double>(x_scales[at / 32]) * static_cast<std::int8_t>(row[at]);
          sum += w[j * k + at].value * x;
          size += w[j * k + at].size * std::abs(x);
        }
        const double num_roundings = 2.0 * static_cast<double>(k / 32 * scales_per_group(type)) + 2;
        EXPECT_NEAR(y[i * (n + Case::kGap) + j], sum, size * num_roundings * 0x1p-24) << name_of(type);
        EXPECT_NEAR(y[i * (n + Case::kGap) + j], sum, size * 1e-6) << name_of(type);
      }
    }
  }
}

}  // namespace
}  // namespace kvasir::kernels
