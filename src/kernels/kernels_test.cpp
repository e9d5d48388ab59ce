#include "kernels/kernels.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstdint>
#include <cstring>
#include <limits>
#include <memory>
#include <numbers>
#include <string>
#include <vector>

#include "kernels/cpu_features.h"
#include "kernels/float_formats.h"
#include "kernels/kernel_harness.h"
#include "kernels/simd.h"

namespace kvasir::kernels {
namespace {

// An array that begins `offset` elements after an aligned address.
template <typename T>
class Misaligned {
 public:
  Misaligned(std::size_t size, std::size_t offset) : memory_(size + offset + 64), offset_(offset) {}
  T* data() { return memory_.data() + offset_; }

 private:
  std::vector<T> memory_;
  std::size_t offset_;
};

std::vector<float> scratch() {
  return std::vector<float>(kGemmScratchFloats + 16);
}

// ---- gemm

struct GemmCase {
  GemmCase(std::size_t m, std::size_t n, std::size_t k, WeightType type, bool has_bias, Random& random)
      : m(m),
        n(n),
        k(k),
        type(type),
        x_stride(k + random.below(5)),
        y_stride(n + random.below(5)),
        x(m * x_stride, random.below(16)),
        w32(n * k, random.below(16)),
        w16(n * k, random.below(16)),
        bias(has_bias ? n : 0) {
    for (std::size_t i = 0; i < m * x_stride; ++i) x.data()[i] = random.wide();
    for (std::size_t i = 0; i < n * k; ++i) {
      const float value = random.wide();
      w32.data()[i] = value;
      w16.data()[i] = type == WeightType::kF16 ? f32_to_f16(value) : f32_to_bf16(value);
    }
    for (float& b : bias) b = random.wide();
  }

  // y with its padding, which must stay 7.
  std::vector<float> run(const KernelTable& table) {
    std::vector<float> y(m * y_stride, 7.0f);
    std::vector<float> memory = scratch();
    GemmArgs args;
    args.x = x.data();
    args.x_stride = x_stride;
    args.w = type == WeightType::kF32 ? static_cast<const void*>(w32.data()) : w16.data();
    args.w_type = type;
    args.bias = bias.empty() ? nullptr : bias.data();
    args.y = y.data();
    args.y_stride = y_stride;
    args.m = m;
    args.n = n;
    args.k = k;
    args.scratch = aligned(memory);
    table.gemm(args);
    return y;
  }

  double weight(std::size_t i) {
    if (type == WeightType::kF32) return w32.data()[i];
    return type == WeightType::kF16 ? f16_to_f32(w16.data()[i]) : bf16_to_f32(w16.data()[i]);
  }

  std::size_t m, n, k;
  WeightType type;
  std::size_t x_stride, y_stride;
  Misaligned<float> x, w32;
  Misaligned<std::uint16_t> w16;
  std::vector<float> bias;
};

constexpr WeightType kWeightTypes[] = {WeightType::kF32, WeightType::kF16, WeightType::kBf16};

TEST(Gemm, TheReferenceIsADotProduct) {
  Random random(1);
  for (const WeightType type : kWeightTypes) {
    GemmCase gemm(3, 5, 77, type, true, random);
    const std::vector<float> y = gemm.run(scalar_kernels());
    for (std::size_t i = 0; i < gemm.m; ++i) {
      for (std::size_t j = 0; j < gemm.n; ++j) {
        double sum = gemm.bias[j], magnitude = std::abs(sum);
        for (std::size_t k = 0; k < gemm.k; ++k) {
          const double product = gemm.x.data()[i * gemm.x_stride + k] * gemm.weight(j * gemm.k + k);
          sum += product;
          magnitude += std::abs(product);
        }
        // At most 5 + 4 + 1 roundings of parts of the sum on the way of a product: 77 / 16 steps of a lane,
        // four levels of the tree, the bias.
        EXPECT_NEAR(y[i * gemm.y_stride + j], sum, 10 * 0x1p-24 * magnitude);
      }
    }
  }
}

TEST(Gemm, EachInstructionSetComputesTheBitsOfTheReference) {
  Random random(2);
  const std::size_t some_m[] = {1, 2, 3, 4, 5, 6, 7, 11, 12, 13, 47, 48, 49, 61};
  const std::size_t some_n[] = {1, 2, 3, 4, 5, 8, 11, 16, 48, 53, 97};
  const std::size_t some_k[] = {1, 15, 16, 17, 64, 100, 511, 512, 513, 1040};
  for (const std::size_t m : some_m) {
    for (int round = 0; round < 20; ++round) {
      GemmCase gemm(m, some_n[random.below(std::size(some_n))], some_k[random.below(std::size(some_k))],
                    kWeightTypes[random.below(3)], random.below(2) == 0, random);
      const std::vector<float> expected = gemm.run(scalar_kernels());
      for (const KernelTable* table : simd_kernels()) {
        ASSERT_TRUE(same_bits(gemm.run(*table), expected))
            << table->isa << ": m " << gemm.m << ", n " << gemm.n << ", k " << gemm.k << ", type "
            << static_cast<int>(gemm.type);
      }
    }
  }
}

TEST(Gemm, ARowDoesNotDependOnTheOthers) {
  Random random(3);
  for (const WeightType type : kWeightTypes) {
    GemmCase all(50, 30, 600, type, true, random);
    for (const KernelTable* table : simd_kernels()) {
      const std::vector<float> expected = all.run(*table);
      GemmCase one = all;
      one.m = 1;
      for (std::size_t row = 0; row < all.m; ++row) {
        std::copy_n(all.x.data() + row * all.x_stride, all.x_stride, one.x.data());
        const std::vector<float> y = one.run(*table);
        ASSERT_EQ(std::memcmp(y.data(), expected.data() + row * all.y_stride, all.n * sizeof(float)), 0)
            << table->isa << ": row " << row;
      }
    }
  }
}

TEST(Gemm, InfinitiesAndNansArriveWhereTheyBelong) {
  Random random(4);
  for (const std::size_t m : {std::size_t{1}, std::size_t{20}}) {
    GemmCase gemm(m, 6, 40, WeightType::kF32, false, random);
    gemm.w32.data()[1 * 40 + 39] = kInfinity;
    gemm.w32.data()[4 * 40] = std::numeric_limits<float>::quiet_NaN();
    for (std::size_t row = 0; row < m; ++row) gemm.x.data()[row * gemm.x_stride + 39] = 1.0f;
    for (const KernelTable* table : simd_kernels()) {
      const std::vector<float> y = gemm.run(*table);
      for (std::size_t row = 0; row < m; ++row) {
        for (std::size_t column = 0; column < 6; ++column) {
          const float value = y[row * gemm.y_stride + column];
          EXPECT_EQ(std::isnan(value), column == 4) << table->isa;
          EXPECT_EQ(std::isinf(value), column == 1) << table->isa;
        }
      }
    }
  }
}

// ---- functions of each element

double exact_activation(Activation activation, double x) {
  switch (activation) {
    case Activation::kSilu:
      return x / (1 + std::exp(-x));
    case Activation::kGelu:
      return x * std::erfc(-x / std::sqrt(2.0)) / 2;
    case Activation::kGeluTanh:
      return x / (1 + std::exp(-std::sqrt(8 / std::numbers::pi) * (x + 0.044715 * x * x * x)));
  }
  return 0;
}

TEST(Activate, EachInstructionSetComputesTheBitsOfTheReference) {
  Random random(7);
  std::vector<float> gate = {0.0f,  -0.0f,  1e-45f,  -1e-45f,  87.0f,     -87.0f, 88.8f, -88.8f,
                             104.f, -104.f, 3.4e38f, -3.4e38f, kInfinity, 0.5f,   -0.5f, -20.0f};
  while (gate.size() < 10007) gate.push_back(20 * random.wide());
  std::vector<float> up(gate.size());
  for (float& value : up) value = random.wide();
  for (const Activation activation : {Activation::kSilu, Activation::kGelu, Activation::kGeluTanh}) {
    std::vector<float> expected(gate.size());
    scalar_kernels().activate(activation, gate.data(), up.data(), expected.data(), gate.size());
    for (std::size_t i = 0; i < gate.size(); ++i) {
      const double exact = exact_activation(activation, gate[i]) * up[i];
      if (!std::isfinite(exact)) continue;
      // Where the exponential is beyond exp(88), or gelu's factor below exp(-87), the result is 0. That
      // factor is exp of x^2 / 2, which has been rounded: it is that much coarser far out.
      const double relative = activation == Activation::kSilu ? 1e-6 : 1e-6 + 2e-7 * gate[i] * gate[i];
      EXPECT_NEAR(expected[i], exact, relative * std::abs(exact) + 1e-30) << gate[i];
    }
    for (const KernelTable* table : simd_kernels()) {
      for (const std::size_t begin : {0, 1, 5}) {
        std::vector<float> out(gate.size() - begin);
        table->activate(activation, gate.data() + begin, up.data() + begin, out.data(), out.size());
        EXPECT_EQ(std::memcmp(out.data(), expected.data() + begin, out.size() * sizeof(float)), 0)
            << table->isa;
        std::vector<float> in_place(gate.begin() + static_cast<std::ptrdiff_t>(begin), gate.end());
        table->activate(activation, in_place.data(), up.data() + begin, in_place.data(), in_place.size());
        EXPECT_TRUE(same_bits(in_place, out)) << table->isa;
      }
      std::vector<float> alone(gate.size()), reference(gate.size());
      scalar_kernels().activate(activation, gate.data(), nullptr, reference.data(), gate.size());
      table->activate(activation, gate.data(), nullptr, alone.data(), gate.size());
      EXPECT_TRUE(same_bits(alone, reference)) << table->isa;
    }
  }
}

TEST(SoftCap, EachInstructionSetComputesTheBitsOfTheReference) {
  Random random(8);
  std::vector<float> x = {0.0f, -0.0f, 1e-30f, 3e4f, -3e4f, kInfinity, -kInfinity};
  while (x.size() < 1003) x.push_back(40 * random.wide());
  std::vector<float> expected = x;
  scalar_kernels().soft_cap(expected.data(), 30.0f, x.size());
  for (std::size_t i = 0; i < x.size(); ++i) EXPECT_NEAR(expected[i], 30 * std::tanh(x[i] / 30.0), 1e-5);
  for (const KernelTable* table : simd_kernels()) {
    std::vector<float> out = x;
    table->soft_cap(out.data(), 30.0f, out.size());
    EXPECT_TRUE(same_bits(out, expected)) << table->isa;
  }
}

// ---- formats and selection

TEST(FloatFormats, F16RoundsToTheNearestAndTiesToEven) {
  // All halves are floats, and neighbours decide for everything between them.
  for (std::uint32_t bits = 0; bits < 0x7c00; ++bits) {
    const auto half = static_cast<std::uint16_t>(bits);
    const float value = f16_to_f32(half);
    // (IEEE 754-2008, 3.4) 10 bits of significand, exponent bias 15.
    const double exact =
        bits < 0x400 ? bits * 0x1p-24 : std::ldexp(1.0 + (bits & 0x3ff) * 0x1p-10, int(bits >> 10) - 15);
    ASSERT_EQ(value, exact);
    ASSERT_EQ(f32_to_f16(value), half);
    ASSERT_EQ(f32_to_f16(-value), half | 0x8000);
    const float next = bits == 0x7bff ? 65536.0f : f16_to_f32(static_cast<std::uint16_t>(bits + 1));
    const float middle = (value + next) / 2;
    ASSERT_EQ(f32_to_f16(middle), bits + (bits & 1)) << value;
    ASSERT_EQ(f32_to_f16(std::nextafter(middle, 0.0f)), bits);
    ASSERT_EQ(f32_to_f16(std::nextafter(middle, kInfinity)), bits + 1);
  }
  EXPECT_EQ(f32_to_f16(kInfinity), 0x7c00);
  EXPECT_EQ(f32_to_f16(1e10f), 0x7c00);
  EXPECT_EQ(f16_to_f32(0xfc00), -kInfinity);
  EXPECT_TRUE(std::isnan(f16_to_f32(f32_to_f16(std::numeric_limits<float>::quiet_NaN()))));
}

TEST(FloatFormats, Bf16RoundsToTheNearestAndTiesToEven) {
  for (std::uint32_t bits = 0; bits < 0x7f80; ++bits) {
    const float value = std::bit_cast<float>(bits << 16);
    ASSERT_EQ(bf16_to_f32(static_cast<std::uint16_t>(bits)), value);
    ASSERT_EQ(f32_to_bf16(value), bits);
    ASSERT_EQ(f32_to_bf16(std::bit_cast<float>(bits << 16 | 0x8000)), bits + (bits & 1));
    ASSERT_EQ(f32_to_bf16(std::bit_cast<float>(bits << 16 | 0x7fff)), bits);
    ASSERT_EQ(f32_to_bf16(std::bit_cast<float>(bits << 16 | 0x8001)), bits + 1);
  }
  EXPECT_EQ(f32_to_bf16(-kInfinity), 0xff80);
  EXPECT_TRUE(std::isnan(bf16_to_f32(f32_to_bf16(std::bit_cast<float>(0x7fffffffu)))));
  EXPECT_TRUE(std::isnan(bf16_to_f32(f32_to_bf16(std::bit_cast<float>(0x7f800001u)))));
}

TEST(SelectKernels, GivesTheTableAskedForOrAnError) {
  EXPECT_EQ(*select_kernels("scalar"), &scalar_kernels());
  for (const KernelTable* table : simd_kernels()) EXPECT_EQ(*select_kernels(table->isa), table);
  for (const char* none : {static_cast<const char*>(nullptr), ""}) {
    EXPECT_EQ(*select_kernels(none), simd_kernels().empty() ? &scalar_kernels() : simd_kernels().front());
  }
  EXPECT_EQ(select_kernels("sse9").status().code(), StatusCode::kInvalidArgument);
  EXPECT_EQ(select_kernels("AVX2").status().code(), StatusCode::kInvalidArgument);
#if defined(__x86_64__)
  EXPECT_EQ(select_kernels("neon").status().code(), StatusCode::kUnsupported);
#elif defined(__aarch64__)
  EXPECT_EQ(select_kernels("avx2").status().code(), StatusCode::kUnsupported);
  EXPECT_FALSE(simd_kernels().empty());
#endif
}

#if defined(__x86_64__)
// So that the tests above test what they claim to on a machine that has it.
TEST(SimdKernels, AreThereWhereTheCpuHasThem) {
  std::vector<std::string> isas;
  for (const KernelTable* table : simd_kernels()) isas.emplace_back(table->isa);
  std::vector<std::string> expected;
  const CpuFeatures features = cpu_features();
  if (__builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512vl")) {
    const bool has_vnni = __builtin_cpu_supports("avx512vnni");
    if (has_vnni && features.amx_int8) expected.emplace_back("amx");
    if (has_vnni) expected.emplace_back("avx512vnni");
    expected.emplace_back("avx512");
  }
  if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma")) {
    if (features.avx_vnni) expected.emplace_back("avxvnni");
    expected.emplace_back("avx2");
  }
  EXPECT_EQ(isas, expected);
}
#endif

// Says in the log which tables this machine cannot test.
TEST(SimdKernels, ThoseThatThisMachineLacksAreSkipped) {
  std::string missing;
  for (const char* isa : known_isas()) {
    if (!select_kernels(isa).ok()) missing += std::string(missing.empty() ? "" : ", ") + isa;
  }
  if (!missing.empty()) GTEST_SKIP() << "this machine has no " << missing;
}

}  // namespace
}  // namespace kvasir::kernels
