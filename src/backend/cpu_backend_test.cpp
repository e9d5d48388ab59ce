#include "backend/cpu_backend.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <random>
#include <utility>
#include <vector>

#include "kernels/float_formats.h"

namespace kvasir::backend {
namespace {

std::vector<float> random_floats(std::size_t count, unsigned seed) {
  std::mt19937 engine(seed);
  std::vector<float> values(count);
  for (float& value : values) value = static_cast<float>(engine()) / 2147483648.0f - 1.0f;
  return values;
}

struct Cpu {
  explicit Cpu(int num_threads) : pool(num_threads), backend(std::move(*CpuBackend::create(pool))) {}
  CpuBackend* operator->() { return backend.get(); }

  ThreadPool pool;
  std::unique_ptr<CpuBackend> backend;
};

TEST(Convert, KeepsWhatTheTargetHoldsAndRoundsTheRest) {
  ThreadPool pool(2);
  constexpr std::size_t kCount = 10001;
  const std::vector<float> values = random_floats(kCount, 1);
  for (const auto& [dtype, bits] : {std::pair(WeightDtype::kF16, 11), {WeightDtype::kBf16, 8}}) {
    std::vector<std::uint16_t> rounded(kCount), again(kCount);
    convert(values.data(), WeightDtype::kF32, rounded.data(), dtype, kCount, pool);
    std::vector<std::byte> misaligned(kCount * 2 + 1);
    std::memcpy(misaligned.data() + 1, rounded.data(), kCount * 2);
    std::vector<float> widened(kCount);
    convert(misaligned.data() + 1, dtype, widened.data(), WeightDtype::kF32, kCount, pool);
    for (std::size_t i = 0; i < kCount; ++i) {
      // Half a unit in the last place; denormals of f16 are 2^-24 apart.
      ASSERT_LE(std::abs(widened[i] - values[i]), std::ldexp(std::abs(values[i]), -bits) + 0x1p-25f);
    }
    convert(widened.data(), WeightDtype::kF32, again.data(), dtype, kCount, pool);
    EXPECT_EQ(again, rounded);
  }
}

TEST(CpuBackend, EmbedTakesRowsOfTheTable) {
  Cpu cpu(2);
  const std::vector<float> table = random_floats(7 * 5, 2);
  const std::vector<TokenId> tokens = {6, 0, 3, 3};
  std::vector<float> out(tokens.size() * 5);
  cpu->embed({table.data(), WeightDtype::kF32, 7, 5}, tokens, out.data());
  for (std::size_t i = 0; i < out.size(); ++i) EXPECT_EQ(out[i], table[tokens[i / 5] * 5 + i % 5]);
}

TEST(CpuBackend, RmsNormDividesByTheRootOfTheMeanSquare) {
  Cpu cpu(2);
  for (const int columns : {1, 15, 16, 50}) {
    const int rows = 40;
    const std::vector<float> x = random_floats(rows * columns, 3), weight = random_floats(columns, 4);
    std::vector<float> out(x.size());
    cpu->rms_norm(x.data(), rows, columns, weight.data(), 1e-3f, out.data());
    for (int row = 0; row < rows; ++row) {
      double sum = 0;
      for (int c = 0; c < columns; ++c) sum += std::pow(x[row * columns + c], 2);
      for (int c = 0; c < columns; ++c) {
        const int i = row * columns + c;
        EXPECT_NEAR(out[i], x[i] / std::sqrt(sum / columns + 1e-3) * weight[c], 1e-5);
      }
    }
  }
}

TEST(CpuBackend, LayerNormHasMeanZeroAndVarianceOne) {
  Cpu cpu(2);
  for (const int columns : {2, 15, 16, 50}) {
    const int rows = 40;
    std::vector<float> x = random_floats(rows * columns, 3);
    for (float& value : x) value += 2;
    const std::vector<float> weight = random_floats(columns, 4), bias = random_floats(columns, 5);
    for (const bool has_bias : {false, true}) {
      std::vector<float> out(x.size());
      cpu->layer_norm(x.data(), rows, columns, weight.data(), has_bias ? bias.data() : nullptr, 1e-3f,
                      out.data());
      for (int row = 0; row < rows; ++row) {
        double mean = 0, variance = 0;
        for (int c = 0; c < columns; ++c) mean += 1.0 * x[row * columns + c] / columns;
        for (int c = 0; c < columns; ++c) variance += std::pow(x[row * columns + c] - mean, 2) / columns;
        for (int c = 0; c < columns; ++c) {
          const int i = row * columns + c;
          const double expected =
              (x[i] - mean) / std::sqrt(variance + 1e-3) * weight[c] + (has_bias ? bias[c] : 0);
          EXPECT_NEAR(out[i], expected, 1e-5);
        }
      }
    }
  }
}

TEST(CpuBackend, RopeTurnsPairsByTheAngleOfTheirPositionAndKeepsTheRest) {
  Cpu cpu(2);
  constexpr int kNumHeads = 3, kHeadDim = 8, kPairs = 3, kNumPositions = 50;
  RopeTable table;
  table.num_pairs = kPairs;
  for (int i = 0; i < kNumPositions * kPairs; ++i) {
    table.cos.push_back(std::cos(0.37f * static_cast<float>(i)));
    table.sin.push_back(std::sin(0.37f * static_cast<float>(i)));
  }
  std::vector<int> positions;
  for (int i = 0; i < 40; ++i) positions.push_back(i * 11 % kNumPositions);
  const std::vector<float> x = random_floats(positions.size() * kNumHeads * kHeadDim, 5);
  std::vector<float> y = x;
  cpu->rope(y.data(), kNumHeads, kHeadDim, positions, table);
  for (std::size_t row = 0; row < positions.size(); ++row) {
    for (int head = 0; head < kNumHeads; ++head) {
      const std::size_t first = (row * kNumHeads + head) * kHeadDim;
      for (int i = 0; i < kPairs; ++i) {
        const std::size_t a = first + i, b = a + kPairs;
        const double angle = 0.37 * (positions[row] * kPairs + i);
        EXPECT_NEAR(y[a], x[a] * std::cos(angle) - x[b] * std::sin(angle), 1e-5);
        EXPECT_NEAR(y[b], x[b] * std::cos(angle) + x[a] * std::sin(angle), 1e-5);
      }
      for (int d = 2 * kPairs; d < kHeadDim; ++d) EXPECT_EQ(y[first + d], x[first + d]);
    }
  }
}

// Each row through its experts gives the bits that it gives alone, however many rows share them.
TEST(CpuBackend, ExpertsGiveARowTheSameBitsWhateverIsBesideIt) {
  Cpu cpu(3);
  constexpr int kRows = 30, kExperts = 7, kChosen = 3, kColumns = 40, kOutputs = 24;
  const std::vector<float> x = random_floats(kRows * kColumns, 20),
                           w = random_floats(kExperts * kOutputs * kColumns, 21);
  std::vector<float> scores = random_floats(kRows * kExperts, 22);
  std::fill_n(scores.begin(), kExperts, 0.5f);  // of equals the first
  for (const WeightDtype dtype : {WeightDtype::kF32, WeightDtype::kQ8_0}) {
    const std::size_t bytes = matrix_bytes(dtype, kOutputs, kColumns);
    std::vector<std::byte> memory(kExperts * bytes + 64);
    void* begin = memory.data();
    std::size_t room = memory.size();
    auto* aligned = static_cast<std::byte*>(std::align(64, 1, begin, room));
    std::vector<Matrix> matrices;
    for (int e = 0; e < kExperts; ++e) {
      matrices.push_back({aligned + e * bytes, dtype, kOutputs, kColumns});
      convert_rows(w.data() + e * kOutputs * kColumns, WeightDtype::kF32, aligned + e * bytes, dtype,
                   kOutputs, kColumns, 0, kOutputs);
    }
    for (const bool normalizes : {false, true}) {
      const auto run = [&](int first, int rows) {
        ExpertRouting routing;
        cpu->route(scores.data() + first * kExperts, rows, kExperts, kChosen, normalizes, routing);
        EXPECT_EQ(routing.first_copy.back(), rows * kChosen);
        std::vector<float> copies(rows * kChosen * kColumns), y(rows * kChosen * kOutputs);
        std::vector<float> out(rows * kOutputs);
        cpu->copy_to_experts(x.data() + first * kColumns, kColumns, routing, copies.data());
        std::vector<Projection> products;
        for (int e = 0; e < kExperts; ++e) {
          const int from = routing.first_copy[e];
          products.push_back(
              {&matrices[e], nullptr, y.data() + from * kOutputs, from, routing.first_copy[e + 1] - from});
        }
        cpu->linear(copies.data(), rows * kChosen, products);
        cpu->add_experts(y.data(), kOutputs, routing, out.data());
        return std::pair(out, routing);
      };
      const auto [together, routing] = run(0, kRows);
      EXPECT_EQ(std::vector<int>(routing.experts.begin(), routing.experts.begin() + kChosen),
                (std::vector<int>{0, 1, 2}));
      for (int row = 0; row < kRows; ++row) {
        const std::vector<float> alone = run(row, 1).first;
        EXPECT_EQ(std::memcmp(alone.data(), together.data() + row * kOutputs, kOutputs * sizeof(float)), 0);
        double all = 0, chosen = 0;
        for (int e = 0; e < kExperts; ++e) all += std::exp(scores[row * kExperts + e]);
        for (int r = 0; r < kChosen; ++r) {
          chosen += std::exp(scores[row * kExperts + routing.experts[row * kChosen + r]]);
        }
        std::vector<double> expected(kOutputs);
        for (int r = 0; r < kChosen; ++r) {
          const int expert = routing.experts[row * kChosen + r];
          const double weight = std::exp(scores[row * kExperts + expert]) / (normalizes ? chosen : all);
          for (int o = 0; o < kOutputs; ++o) {
            for (int c = 0; c < kColumns; ++c) {
              expected[o] += weight * x[row * kColumns + c] * w[(expert * kOutputs + o) * kColumns + c];
            }
          }
        }
        const double tolerance = dtype == WeightDtype::kF32 ? 1e-5 : 0.15;
        for (int o = 0; o < kOutputs; ++o) EXPECT_NEAR(together[row * kOutputs + o], expected[o], tolerance);
      }
    }
  }
}

TEST(CpuBackend, LinearGivesTheSameBitsWithAnyNumberOfThreadsAndRows) {
  Cpu one(1), three(3);
  constexpr int kColumns = 70, kOutputs = 333, kMaxRows = 30;
  const std::vector<float> x = random_floats(kMaxRows * kColumns, 6);
  const std::vector<float> w = random_floats(kOutputs * kColumns, 7), bias = random_floats(kOutputs, 8);
  const Matrix matrix = {w.data(), WeightDtype::kF32, kOutputs, kColumns};
  std::vector<float> expected(kMaxRows * kOutputs);
  one->linear(x.data(), kMaxRows, {{&matrix, bias.data(), expected.data()}});
  for (int i = 0; i < kOutputs; ++i) {
    double sum = bias[i];
    for (int c = 0; c < kColumns; ++c) sum += 1.0 * x[c] * w[i * kColumns + c];
    EXPECT_NEAR(expected[i], sum, 1e-5);
  }
  for (const int rows : {1, 5, 12, kMaxRows}) {
    std::vector<float> y(rows * kOutputs);
    three->linear(x.data(), rows, {{&matrix, bias.data(), y.data()}});
    EXPECT_EQ(std::memcmp(y.data(), expected.data(), y.size() * sizeof(float)), 0) << rows;
  }
}

// A matrix of random weights, in memory that is aligned as panels want it.
struct RandomMatrix {
  RandomMatrix(WeightDtype dtype, int rows, int columns, unsigned seed) {
    memory.resize(matrix_bytes(dtype, rows, columns));
    if (dtype >= WeightDtype::kQ4_K) {
      // Enough for blocks of any type; of bytes that make finite numbers wherever they lie.
      std::vector<std::byte> blocks(static_cast<std::size_t>(rows) * columns);
      std::mt19937 random(seed);
      for (std::byte& byte : blocks) byte = static_cast<std::byte>(random() & 0x3F);
      pack_block_rows(blocks.data(), dtype, memory.data(), rows, columns, 0, rows);
    } else {
      const std::vector<float> w = random_floats(static_cast<std::size_t>(rows) * columns, seed);
      convert_rows(w.data(), WeightDtype::kF32, memory.data(), dtype, rows, columns, 0, rows);
    }
    matrix = {memory.data(), dtype, rows, columns};
  }
  AlignedBytes memory;
  Matrix matrix;
};

// Products of one x with matrices of all kinds at once: each is what it is alone.
TEST(CpuBackend, SeveralProjectionsGiveTheBitsOfEachAlone) {
  Cpu one(1), three(3);
  constexpr int kColumns = 256, kRows = 9;
  const std::vector<float> x = random_floats(kRows * kColumns, 31);
  const std::pair<WeightDtype, int> shapes[] = {{WeightDtype::kQ8_0, 70},  {WeightDtype::kQ8_0, 1},
                                                {WeightDtype::kQ4_0, 333}, {WeightDtype::kF32, 40},
                                                {WeightDtype::kQ4_K, 90},  {WeightDtype::kQ5_K, 17},
                                                {WeightDtype::kQ6_K, 100}, {WeightDtype::kQ8_0, 64}};
  std::vector<std::unique_ptr<RandomMatrix>> w;
  std::vector<std::vector<float>> y, expected;
  for (const auto& [dtype, rows] : shapes) {
    w.push_back(std::make_unique<RandomMatrix>(dtype, rows, kColumns, 32));
    y.emplace_back(kRows * rows);
    expected.emplace_back(kRows * rows);
    one->linear(x.data(), kRows, {{&w.back()->matrix, nullptr, expected.back().data()}});
  }
  three->linear(x.data(), kRows,
                {{&w[0]->matrix, nullptr, y[0].data()},
                 {&w[1]->matrix, nullptr, y[1].data()},
                 {&w[2]->matrix, nullptr, y[2].data()},
                 {&w[3]->matrix, nullptr, y[3].data()},
                 {&w[4]->matrix, nullptr, y[4].data()},
                 {&w[5]->matrix, nullptr, y[5].data()},
                 {&w[6]->matrix, nullptr, y[6].data()},
                 {&w[7]->matrix, nullptr, y[7].data()}});
  EXPECT_EQ(y, expected);
}

// A row that is read back is near what was put in, in every form.
TEST(Matrix, RowsAreReadBackAsTheyWereConverted) {
  constexpr int kRows = 37, kColumns = 50;
  const std::vector<float> w = random_floats(kRows * kColumns, 33);
  for (const auto& [dtype, tolerance] : {std::pair(WeightDtype::kF32, 0.0f),
                                         {WeightDtype::kF16, 0.001f},
                                         {WeightDtype::kBf16, 0.005f},
                                         {WeightDtype::kQ8_0, 0.006f},
                                         {WeightDtype::kQ4_0, 0.14f}}) {
    std::vector<std::byte> whole(matrix_bytes(dtype, kRows, kColumns)), pieces(whole.size());
    convert_rows(w.data(), WeightDtype::kF32, whole.data(), dtype, kRows, kColumns, 0, kRows);
    convert_rows(w.data(), WeightDtype::kF32, pieces.data(), dtype, kRows, kColumns, 32, kRows);
    convert_rows(w.data(), WeightDtype::kF32, pieces.data(), dtype, kRows, kColumns, 0, 32);
    EXPECT_EQ(whole, pieces);
    std::vector<float> row(kColumns);
    for (int i = 0; i < kRows; ++i) {
      read_row({whole.data(), dtype, kRows, kColumns}, i, row.data());
      for (int c = 0; c < kColumns; ++c) EXPECT_NEAR(row[c], w[i * kColumns + c], tolerance);
    }
  }
}

// A q8_0 block with the scale 0.5 and weights that count up from its number.
TEST(Matrix, RowsOfAFilesBlocksAreReadBackExactly) {
  constexpr int kRows = 37, kColumns = 96, kBlocks = kRows * kColumns / 32;
  std::vector<std::byte> blocks;
  for (int block = 0; block < kBlocks; ++block) {
    const std::uint16_t half = kernels::f32_to_f16(0.5f);
    for (int i = 0; i < 2; ++i) blocks.push_back(static_cast<std::byte>(half >> 8 * i));
    for (int i = 0; i < 32; ++i) blocks.push_back(static_cast<std::byte>(block + i));
  }
  EXPECT_EQ(block_columns(WeightDtype::kQ8_0), 32);
  EXPECT_EQ(block_columns(WeightDtype::kQ5_K), 256);
  std::vector<std::byte> whole(matrix_bytes(WeightDtype::kQ8_0, kRows, kColumns)), pieces(whole.size());
  pack_block_rows(blocks.data(), WeightDtype::kQ8_0, whole.data(), kRows, kColumns, 0, kRows);
  pack_block_rows(blocks.data(), WeightDtype::kQ8_0, pieces.data(), kRows, kColumns, 32, kRows);
  pack_block_rows(blocks.data(), WeightDtype::kQ8_0, pieces.data(), kRows, kColumns, 0, 32);
  EXPECT_EQ(whole, pieces);
  std::vector<float> row(kColumns);
  for (int i = 0; i < kRows; ++i) {
    read_row({whole.data(), WeightDtype::kQ8_0, kRows, kColumns}, i, row.data());
    for (int c = 0; c < kColumns; ++c) {
      const auto q = static_cast<std::int8_t>(i * (kColumns / 32) + c / 32 + c % 32);
      EXPECT_EQ(row[c], 0.5f * static_cast<float>(q)) << "row " << i << ", column " << c;
    }
  }
}

// Sequences of a step: some decoding far in, some in a first or later chunk. All keys and values are written
// through store_kv, in two steps.
TEST(CpuBackend, AttentionReadsWhatWasStored) {
  struct Shape {
    int num_heads, num_kv_heads;
  };
  for (const Shape shape : {Shape{4, 4}, Shape{6, 2}, Shape{11, 1}, Shape{1, 1}}) {
    const int head_dim = 10, block_size = 32, layer = 1, num_blocks_each = 4;
    struct Sequence {
      int start, count;
    };
    const std::vector<Sequence> sequences = {{90, 1}, {0, 40}, {33, 9}, {0, 1}};
    const int group = shape.num_heads / shape.num_kv_heads;
    const std::size_t kv_row = shape.num_kv_heads * head_dim, q_row = shape.num_heads * head_dim;

    std::vector<float> results[2];
    for (const int num_threads : {1, 4}) {
      Cpu cpu(num_threads);
      auto kv = KvPool::create({2, shape.num_kv_heads, head_dim, block_size, KvDtype::kF32},
                               num_blocks_each * static_cast<int>(sequences.size()));
      ASSERT_TRUE(kv.ok());
      std::vector<std::vector<BlockId>> tables(sequences.size());
      std::vector<std::vector<float>> keys, values;  // of each sequence: (tokens, num_kv_heads, head_dim)
      std::vector<RowRun> runs;
      int num_rows = 0;
      for (std::size_t s = 0; s < sequences.size(); ++s) {
        const auto [start, count] = sequences[s];
        for (int b = 0; b < num_blocks_each; ++b) {
          tables[s].push_back(BlockId{static_cast<int>((b * sequences.size() + s))});
        }
        const unsigned seed = static_cast<unsigned>(100 + s);
        keys.push_back(random_floats((start + count) * kv_row, seed));
        values.push_back(random_floats((start + count) * kv_row, seed + 50));
        std::vector<std::int64_t> slots;
        for (int i = 0; i < start + count; ++i) {
          slots.push_back(std::int64_t{index(tables[s][i / block_size])} * block_size + i % block_size);
        }
        const auto first = std::span(slots).first(start), rest = std::span(slots).subspan(start);
        cpu->store_kv(keys[s].data(), values[s].data(), layer, first, *kv);
        cpu->store_kv(keys[s].data() + start * kv_row, values[s].data() + start * kv_row, layer, rest, *kv);
        runs.push_back({num_rows, count, start, tables[s]});
        num_rows += count;
      }
      const std::vector<float> q = random_floats(num_rows * q_row, 9);
      std::vector<float> out(q.size());
      AttentionPlan plan;
      plan.build(runs, *kv, shape.num_heads, num_threads);
      const AttentionOptions options = {.scale = 1 / std::sqrt(static_cast<float>(head_dim))};
      cpu->attention(q.data(), plan, layer, *kv, options, out.data());

      for (std::size_t s = 0; s < sequences.size(); ++s) {
        for (int row = 0; row < sequences[s].count; ++row) {
          for (int head = 0; head < shape.num_heads; ++head) {
            const std::size_t at = (runs[s].first_row + row) * q_row + head * head_dim;
            std::vector<double> expected(head_dim);
            double sum = 0;
            for (int j = 0; j <= sequences[s].start + row; ++j) {
              const std::size_t from = j * kv_row + head / group * head_dim;
              double score = 0;
              for (int d = 0; d < head_dim; ++d) score += 1.0 * q[at + d] * keys[s][from + d];
              const double weight = std::exp(score / std::sqrt(head_dim));
              sum += weight;
              for (int d = 0; d < head_dim; ++d) expected[d] += weight * values[s][from + d];
            }
            for (int d = 0; d < head_dim; ++d) ASSERT_NEAR(out[at + d], expected[d] / sum, 1e-5);
          }
        }
      }
      results[num_threads == 1 ? 0 : 1] = out;
    }
    EXPECT_EQ(std::memcmp(results[0].data(), results[1].data(), results[0].size() * sizeof(float)), 0);
  }
}

TEST(CpuBackend, EightBitsAndAScaleAreWithinHalfAStepOfTheValue) {
  Cpu cpu(1);
  const int head_dim = 6;
  auto kv = KvPool::create({1, 2, head_dim, 16, KvDtype::kQ8}, 1);
  ASSERT_TRUE(kv.ok());
  const KvLayout f16 = {1, 2, head_dim, 16, KvDtype::kF16};
  EXPECT_EQ(kv->layout().block_bytes(), f16.block_bytes() / 2 + 4 * 16 * sizeof(std::uint16_t));

  std::vector<float> values = random_floats(2 * head_dim, 12);
  for (int d = 0; d < head_dim; ++d) values[head_dim + d] *= 1000;  // each head has a scale of its own
  for (const std::vector<float>& row :
       {values, std::vector<float>(2 * head_dim, 0.0f), std::vector<float>(2 * head_dim, 1e-8f)}) {
    const std::int64_t slot = 0;
    cpu->store_kv(row.data(), row.data(), 0, {&slot, 1}, *kv);
    AttentionPlan plan;
    const BlockId block{0};
    const RowRun run = {0, 1, 0, {&block, 1}};
    plan.build({&run, 1}, *kv, 2, 1);
    const std::vector<float> q(2 * head_dim, 1.0f);
    std::vector<float> out(2 * head_dim);
    // Of one key the weight is 1, so this is its value.
    cpu->attention(q.data(), plan, 0, *kv, {.scale = 1}, out.data());
    for (int i = 0; i < 2 * head_dim; ++i) {
      const float* head = &row[i / head_dim * head_dim];
      const float largest = std::abs(*std::max_element(
          head, head + head_dim, [](float a, float b) { return std::abs(a) < std::abs(b); }));
      // Half a step, and what the scale was rounded by: 2^-11 of it, or half of its smallest unit.
      EXPECT_NEAR(out[i], row[i], largest * (0.5f / 127 + 0x1p-11f) + 127 * 0x1p-25f);
    }
  }
}

TEST(CpuBackend, FunctionsOfEachElementCoverAll) {
  Cpu cpu(3);
  constexpr std::size_t kCount = 50001;
  const std::vector<float> a = random_floats(kCount, 10), b = random_floats(kCount, 11);
  std::vector<float> sum = a, product(kCount);
  cpu->add(sum.data(), b.data(), kCount);
  cpu->activate(Activation::kSilu, a.data(), b.data(), kCount, product.data());
  std::vector<float> scaled = a, capped = a;
  cpu->scale(scaled.data(), 3.0f, kCount);
  cpu->soft_cap(capped.data(), 0.5f, kCount);
  for (std::size_t i = 0; i < kCount; ++i) {
    ASSERT_EQ(sum[i], a[i] + b[i]);
    ASSERT_EQ(scaled[i], 3 * a[i]);
    ASSERT_NEAR(capped[i], 0.5 * std::tanh(2 * a[i]), 1e-6);
    ASSERT_NEAR(product[i], a[i] / (1 + std::exp(-a[i])) * b[i], 1e-6);
  }
}

TEST(CpuBackend, RefusesAnInstructionSetThatIsNotThere) {
  ThreadPool pool(1);
  setenv("KVASIR_ISA", "mmx", 1);
  const auto backend = CpuBackend::create(pool);
  setenv("KVASIR_ISA", "scalar", 1);
  EXPECT_STREQ((*CpuBackend::create(pool))->isa(), "scalar");
  unsetenv("KVASIR_ISA");
  ASSERT_FALSE(backend.ok());
  EXPECT_EQ(backend.status().code(), StatusCode::kInvalidArgument);
}

}  // namespace
}  // namespace kvasir::backend
