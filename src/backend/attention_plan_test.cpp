#include "backend/attention_plan.h"

#include <gtest/gtest.h>

#include <array>
#include <cstring>
#include <numeric>
#include <random>
#include <utility>

#include "backend/cpu_backend.h"
#include "kernels/kernels.h"

namespace kvasir::backend {
namespace {

constexpr int kKvHeads = 2, kHeadDim = 12;

KvPool make_pool(int block_size, int num_blocks, KvDtype dtype = KvDtype::kF16) {
  auto kv = KvPool::create({1, kKvHeads, kHeadDim, block_size, dtype}, num_blocks);
  EXPECT_TRUE(kv.ok());
  return std::move(*kv);
}

std::vector<BlockId> blocks(std::initializer_list<std::pair<int, int>> ranges) {
  std::vector<BlockId> table;
  for (const auto& [first, end] : ranges) {
    for (int i = first; i < end; ++i) table.push_back(BlockId{i});
  }
  return table;
}

// The runs of keys of all items of the first KV head, as "rows:first-end" by rows of the step.
std::vector<std::string> describe(const AttentionPlan& plan) {
  std::vector<std::string> text;
  for (int i = 0; i < plan.num_items(); ++i) {
    const AttentionPlan::Item item = plan.item(i);
    if (item.kv_head > 0) continue;
    AttentionPlan::for_each_run(item.pieces, [&](auto pieces, int first_key, int end_key) {
      std::string line;
      for (const auto& piece : pieces) line += std::to_string(piece.first_row) + " ";
      text.push_back(line + std::to_string(first_key) + "-" + std::to_string(end_key));
    });
  }
  return text;
}

TEST(AttentionPlan, ReadsEachRunOfKeysOnceForAllThatShareIt) {
  const KvPool kv = make_pool(16, 100);
  // The picture of the header with 8 blocks for each of its blocks, and a sequence that shares nothing.
  const auto a = blocks({{0, 40}, {40, 42}}), b = blocks({{0, 40}, {50, 52}}),
             c = blocks({{0, 24}, {60, 80}});
  const auto d = blocks({{90, 92}});
  const std::vector<RowRun> runs = {
      {0, 1, 41 * 16, b}, {1, 1, 20, d}, {2, 1, 43 * 16, c}, {3, 1, 40 * 16 + 5, a}};
  AttentionPlan plan;
  plan.build(runs, kv, 4 * kKvHeads, 1);
  EXPECT_EQ(plan.num_items(), 2 * kKvHeads);
  EXPECT_EQ(describe(plan), (std::vector<std::string>{"3 0 2 0-384", "3 0 384-640", "3 640-646", "0 640-657",
                                                      "2 384-689", "1 0-21"}));
  EXPECT_EQ(plan.num_keys_read(), kKvHeads * (384 + 256 + 6 + 17 + 305 + 21));
}

TEST(AttentionPlan, SharesOnlyWholeSpansThatAllRowsSee) {
  const KvPool kv = make_pool(16, 100);
  const auto table = blocks({{0, 20}});
  // Two pieces of one prompt in a step, and the same position twice.
  const std::vector<RowRun> runs = {{0, 60, 100, table}, {60, 3, 160, table}, {63, 1, 163, table}};
  AttentionPlan plan;
  plan.build(runs, kv, kKvHeads, 1);
  EXPECT_EQ(describe(plan), (std::vector<std::string>{"0 60 63 0-64", "0 64-160", "60 63 64-128",
                                                      "60 128-163", "63 128-164"}));
  // 17 tokens of a block of 32: nothing whole is shared.
  const KvPool wide = make_pool(32, 10);
  const auto one = blocks({{0, 2}, {3, 4}}), other = blocks({{0, 1}, {4, 9}});
  const std::vector<RowRun> short_runs = {{0, 1, 80, one}, {1, 1, 100, other}};
  plan.build(short_runs, wide, kKvHeads, 1);
  EXPECT_EQ(describe(plan), (std::vector<std::string>{"0 0-81", "1 0-101"}));
}

TEST(AttentionPlan, GivesEveryThreadWork) {
  const KvPool kv = make_pool(16, 1000);
  const auto table = blocks({{0, 1000}});
  AttentionPlan plan;
  // One decoding sequence with 16 heads for each KV head, then a chunk of a prompt.
  for (const auto& [run, threads] : {std::pair(RowRun{0, 1, 9999, table}, 2),
                                     {{0, 1, 9999, table}, 4},
                                     {{0, 1, 9999, table}, 16},
                                     {{0, 300, 5000, table}, 8}}) {
    plan.build({&run, 1}, kv, 16 * kKvHeads, threads);
    EXPECT_GE(plan.num_items(), threads);
    int num_rows = 0;
    for (int i = 0; i < plan.num_items(); ++i) {
      const AttentionPlan::Item item = plan.item(i);
      int item_rows = 0;
      for (const auto& piece : item.pieces) item_rows += piece.num_rows * item.num_heads;
      EXPECT_LE(item_rows, kernels::kMaxAttentionRows);
      num_rows += item_rows;
    }
    EXPECT_EQ(num_rows, run.num_rows * 16 * kKvHeads);
  }
}

// P1: what a sequence gets does not depend on who shares its blocks, or on the number of threads.
TEST(AttentionPlan, SequencesThatShareBlocksGetTheBitsOfEachAlone) {
  std::mt19937 random(1);
  const auto below = [&](int limit) { return static_cast<int>(random() % static_cast<unsigned>(limit)); };
  constexpr int kNumBlocks = 200;
  for (int round = 0; round < 40; ++round) {
    const int block_size = 16 * (1 + below(4)), group = 1 + below(9);
    KvPool kv =
        make_pool(block_size, kNumBlocks, std::array{KvDtype::kF16, KvDtype::kF32, KvDtype::kQ8}[below(3)]);
    ThreadPool one_thread(1), three_threads(3);
    const auto one = std::move(*CpuBackend::create(one_thread));
    const auto three = std::move(*CpuBackend::create(three_threads));
    const auto random_floats = [&](std::size_t count) {
      std::vector<float> values(count);
      for (float& value : values) value = static_cast<float>(random()) * 0x1p-30f - 2.0f;
      return values;
    };
    std::vector<std::int64_t> slots(kNumBlocks * block_size);
    std::iota(slots.begin(), slots.end(), 0);
    const std::vector<float> k = random_floats(slots.size() * kKvHeads * kHeadDim);
    const std::vector<float> v = random_floats(k.size());
    one->store_kv(k.data(), v.data(), 0, slots, kv);

    // Each sequence goes on from some prefix of one before, or from that whole.
    std::vector<std::vector<BlockId>> tables;
    std::vector<RowRun> runs;
    int num_rows = 0, num_used = 0;
    const int num_sequences = 1 + below(12);
    tables.reserve(num_sequences);
    for (int s = 0; s < num_sequences; ++s) {
      std::vector<BlockId> table;
      if (s > 0) table = tables[below(s)];
      if (below(4) > 0) table.resize(below(static_cast<int>(table.size()) + 1));
      for (int own = below(12) + (table.empty() ? 1 : 0); own > 0; --own)
        table.push_back(BlockId{num_used++});
      const int num_tokens = static_cast<int>(table.size()) * block_size - below(block_size);
      const int count = below(2) == 0 ? 1 : 1 + below(std::min(num_tokens, 70));
      tables.push_back(std::move(table));
      runs.push_back({num_rows, count, num_tokens - count, tables.back()});
      num_rows += count;
    }
    const std::size_t row_floats = static_cast<std::size_t>(group) * kKvHeads * kHeadDim;
    const std::vector<float> q = random_floats(num_rows * row_floats);
    std::vector<float> expected(q.size()), out(q.size());
    const AttentionOptions options = {0.25f, below(3) == 0 ? 2.0f : 0.0f,
                                      below(2) == 0 ? 1 + below(3 * block_size) : 0};
    AttentionPlan plan;
    for (const RowRun& run : runs) {
      plan.build({&run, 1}, kv, group * kKvHeads, 1);
      one->attention(q.data(), plan, 0, kv, options, expected.data());
    }
    for (CpuBackend* backend : {one.get(), three.get()}) {
      plan.build(runs, kv, group * kKvHeads, backend->pool().num_threads());
      backend->attention(q.data(), plan, 0, kv, options, out.data());
      ASSERT_EQ(std::memcmp(out.data(), expected.data(), out.size() * sizeof(float)), 0) << round;
    }
  }
}

}  // namespace
}  // namespace kvasir::backend
