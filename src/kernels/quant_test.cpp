#include "kernels/quant.h"

#include <gtest/gtest.h>

#include <cmath>
#include <cstring>
#include <limits>
#include <memory>
#include <random>
#include <string>
#include <vector>

#include "kernels/float_formats.h"
#include "kernels/kernels.h"
#include "kernels/simd.h"

namespace kvasir::kernels {
namespace {

constexpr QuantType kTypes[] = {QuantType::kQ8_0, QuantType::kQ4_0};
constexpr float kInfinity = std::numeric_limits<float>::infinity();

struct Free {
  void operator()(std::byte* memory) const { std::free(memory); }
};
using Memory = std::unique_ptr<std::byte[], Free>;

Memory allocate(std::size_t bytes) {
  return Memory(static_cast<std::byte*>(std::aligned_alloc(64, (bytes + 63) / 64 * 64)));
}

struct Case {
  Case(std::size_t m, std::size_t n, std::size_t k, QuantType type, unsigned seed)
      : m(m), n(n), k(k), type(type), x(m * k), w(n * k), bias(n) {
    std::mt19937 random(seed);
    std::normal_distribution<float> normal;
    for (float& value : x) value = normal(random) * std::exp2(static_cast<float>(random() % 12) - 6);
    for (float& value : w) value = normal(random) * 0.05f;
    for (float& value : bias) value = normal(random);
    pack();
  }

  void pack() {
    panels = allocate(num_panels(n) * panel_bytes(type, k));
    for (std::size_t p = 0; p < num_panels(n); ++p) {
      scalar_kernels().quant.pack_panel(w.data() + p * kPanelColumns * k,
                                        std::min(kPanelColumns, n - p * kPanelColumns), k, type,
                                        panels.get() + p * panel_bytes(type, k));
    }
  }

  // Whole rows of y with a gap between them, which must stay 7.
  std::vector<float> run(const QuantKernels& kernels, bool has_bias) const {
    constexpr std::size_t kGap = 3;
    std::vector<float> y(m * (n + kGap), 7.0f);
    const Memory rows = allocate(m * quantized_row_bytes(k));
    const Memory scratch = allocate(kGemmScratchFloats * sizeof(float));
    kernels.quantize_rows({x.data(), k, m, k, type, rows.get()});
    kernels.gemm({rows.get(), panels.get(), type, has_bias ? bias.data() : nullptr, y.data(), n + kGap, m, n,
                  k, reinterpret_cast<float*>(scratch.get())});
    return y;
  }

  std::size_t m, n, k;
  QuantType type;
  std::vector<float> x, w, bias;
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
        EXPECT_NEAR(y[i * (gemm.n + 3) + j], sum, largest_error);
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
              << table->isa << ": m " << m << ", n " << n << ", k " << k << ", type "
              << static_cast<int>(type);
        }
      }
    }
  }
}

// More rows than a block of rows holds, and rows so long that a block holds few of them.
TEST(QuantGemm, BlocksOfRowsMeetWithoutASeam) {
  for (const QuantType type : kTypes) {
    for (const auto& [m, n, k] :
         {std::tuple<std::size_t, std::size_t, std::size_t>{531, 20, 64}, {23, 5, 90000}}) {
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
        Case one(1, all.n, all.k, type, 8);
        one.x.assign(all.x.begin() + row * all.k, all.x.begin() + (row + 1) * all.k);
        one.w = all.w;
        one.bias = all.bias;
        one.pack();
        const std::vector<float> y = one.run(table->quant, true);
        ASSERT_EQ(std::memcmp(y.data(), expected.data() + row * (all.n + 3), all.n * sizeof(float)), 0)
            << table->isa << ": row " << row;
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
          std::fill_n(gemm.panels.get(), num_groups(gemm.k) * group_bytes(type),
                      static_cast<std::byte>(byte));
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
    Case gemm(7, 6, 64, QuantType::kQ8_0, 10);
    gemm.x[3 * gemm.k + 40] = bad;
    std::vector<const KernelTable*> tables(simd_kernels().begin(), simd_kernels().end());
    tables.push_back(&scalar_kernels());
    for (const KernelTable* table : tables) {
      const std::vector<float> y = gemm.run(table->quant, true);
      for (std::size_t i = 0; i < gemm.m; ++i) {
        EXPECT_EQ(std::isfinite(y[i * (gemm.n + 3)]), i != 3) << table->isa;
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
      const std::size_t bytes = 3 * quantized_row_bytes(k);
      const Memory expected = allocate(bytes), rows = allocate(bytes);
      std::memset(expected.get(), 0, bytes);
      scalar_kernels().quant.quantize_rows({x.data(), k, 3, k, type, expected.get()});
      for (const KernelTable* table : simd_kernels()) {
        std::memset(rows.get(), 0, bytes);
        table->quant.quantize_rows({x.data(), k, 3, k, type, rows.get()});
        ASSERT_EQ(std::memcmp(rows.get(), expected.get(), bytes), 0) << table->isa << ": k " << k;
      }
    }
  }
}

TEST(PackPanel, RoundsToTheNearestStep) {
  std::mt19937 random(12);
  std::normal_distribution<float> normal;
  for (const QuantType type : kTypes) {
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
  for (const QuantType type : kTypes) {
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
  for (const QuantType type : kTypes) {
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

}  // namespace
}  // namespace kvasir::kernels
