#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <limits>
#include <string>
#include <tuple>
#include <vector>

#include "kernels/float_formats.h"
#include "kernels/kernel_harness.h"
#include "kernels/kernels.h"
#include "kernels/simd.h"

namespace kvasir::kernels {
namespace {

// Keys and values of one KV head, in blocks; what lies beyond the last position is NaN.
struct AttentionCase {
  AttentionCase(int num_rows, int last_position, int head_dim, int tiles_per_block, KvType type,
                Random& random)
      : head_dim(head_dim), type(type), q(num_rows * head_dim) {
    const int num_tokens = last_position + 1;
    const int block_size = tiles_per_block * kTileTokens;
    const std::size_t head_bytes = kv_tile_bytes(type, head_dim);
    args.tile_bytes = 3 * head_bytes;  // ours is the second of three heads
    args.k_offset = head_bytes;
    args.v_offset = args.tile_bytes * tiles_per_block + head_bytes;
    args.tiles_per_block = tiles_per_block;
    args.kv_type = type;
    args.head_dim = head_dim;
    args.scale = 1.0f / std::sqrt(static_cast<float>(head_dim));
    const int num_blocks = (num_tokens + block_size - 1) / block_size;
    blocks.assign(num_blocks, std::vector<float>(2 * args.tile_bytes * tiles_per_block / sizeof(float),
                                                 std::numeric_limits<float>::quiet_NaN()));
    for (int token = 0; token < num_tokens; ++token) {
      auto* block = reinterpret_cast<std::byte*>(blocks[token / block_size].data());
      std::byte* tile = block + token % block_size / kTileTokens * args.tile_bytes;
      const int lane = token % kTileTokens;
      const float k_scale = put_scale(tile + args.k_offset, lane, random);
      const float v_scale = put_scale(tile + args.v_offset, lane, random);
      for (int d = 0; d < head_dim; ++d) {
        const float key = 3 * random.near(), value = random.wide();
        k.push_back(put(tile + args.k_offset, d * kTileTokens + lane, key) * k_scale);
        v.push_back(put(tile + args.v_offset, lane * head_dim + d, value) * v_scale);
      }
    }
    for (const auto& block : blocks) pointers.push_back(reinterpret_cast<const std::byte*>(block.data()));
    for (float& value : q) value = 3 * random.near();
    for (int row = 0; row < num_rows; ++row) {
      positions.push_back(row == 0 ? last_position : std::max(0, last_position - random.below(20)));
    }
    first_keys.assign(num_rows, 0);
  }

  // Lets each row see its last `window` keys.
  void set_window(int window) {
    for (std::size_t row = 0; row < positions.size(); ++row) {
      first_keys[row] = std::max(0, positions[row] + 1 - window);
    }
  }

  // Gives the token of a lane a scale where the KV type has one, and returns it.
  float put_scale(std::byte* tile, int lane, Random& random) const {
    if (type != KvType::kQ8) return 1;
    const std::uint16_t half = f32_to_f16(0.02f + 0.01f * random.near());
    std::memcpy(tile + head_dim * kTileTokens + 2 * lane, &half, 2);
    return f16_to_f32(half);
  }

  // Stores a value rounded to the KV type, and returns what was stored.
  float put(std::byte* to, std::size_t i, float value) const {
    if (type == KvType::kF32) {
      std::memcpy(to + i * 4, &value, 4);
      return value;
    }
    if (type == KvType::kQ8) {
      const auto integer = static_cast<std::int8_t>(std::lrint(std::fmod(40 * value, 127.5f)));
      std::memcpy(to + i, &integer, 1);
      return integer;
    }
    const std::uint16_t half = f32_to_f16(value);
    std::memcpy(to + i * 2, &half, 2);
    return f16_to_f32(half);
  }

  // Rows [first, first + count), in calls for the ranges of keys that end at `ends` and at last with all.
  std::vector<float> run(const KernelTable& table, int first, int count, std::vector<int> ends = {}) {
    std::vector<float> out(count * head_dim);
    std::vector<AttentionRow> rows(count);
    for (int row = 0; row < count; ++row) {
      rows[row] = {&q[(first + row) * head_dim], &out[row * head_dim], first_keys[first + row],
                   positions[first + row] + 1};
    }
    std::vector<float> memory(attention_scratch_floats(head_dim) + 16);
    AttentionArgs call = args;
    call.rows = rows.data();
    call.num_rows = count;
    call.blocks = pointers.data();
    call.scratch = aligned(memory);
    ends.push_back(positions[0] + 1);
    call.first_key = 0;
    for (const int end : ends) {
      call.end_key = end;
      table.attention(call);
      call.first_key = end;
    }
    return out;
  }

  int head_dim;
  KvType type;
  AttentionArgs args{};
  std::vector<std::vector<float>> blocks;
  std::vector<const std::byte*> pointers;
  std::vector<float> q, k, v;              // k, v: (num_tokens, head_dim)
  std::vector<int> positions, first_keys;  // of each row
};

TEST(Attention, TheReferenceIsSoftmaxOfTheKeysThatARowSees) {
  Random random(5);
  for (const auto& [type, window, soft_cap] : {std::tuple(KvType::kF32, 1000, 0.0f),
                                               {KvType::kF16, 1000, 0.0f},
                                               {KvType::kF32, 50, 3.0f},
                                               {KvType::kQ8, 50, 3.0f}}) {
    AttentionCase attention(4, 100, 24, 2, type, random);
    attention.set_window(window);
    attention.args.soft_cap = soft_cap;
    const std::vector<float> out = attention.run(scalar_kernels(), 0, 4);
    for (int row = 0; row < 4; ++row) {
      const int num_keys = attention.positions[row] + 1;
      std::vector<double> p(num_keys);
      double sum = 0;
      for (int j = attention.first_keys[row]; j < num_keys; ++j) {
        double score = 0;
        for (int d = 0; d < 24; ++d) score += 1.0 * attention.q[row * 24 + d] * attention.k[j * 24 + d];
        score *= attention.args.scale;
        sum += p[j] = std::exp(soft_cap == 0 ? score : soft_cap * std::tanh(score / soft_cap));
      }
      for (int d = 0; d < 24; ++d) {
        double expected = 0, magnitude = 0;
        for (int j = 0; j < num_keys; ++j) {
          expected += p[j] / sum * attention.v[j * 24 + d];
          magnitude += p[j] / sum * std::abs(attention.v[j * 24 + d]);
        }
        // A score of 24 products, each at most 9, has an error below 24 * 216 * 2^-24 / sqrt(24) = 6e-5, and
        // so has its weight, relatively; the sums over 101 keys add 101 * 2^-24 = 6e-6.
        EXPECT_NEAR(out[row * 24 + d], expected, 2e-4 * magnitude);
      }
    }
  }
}

TEST(Attention, EachInstructionSetComputesTheBitsOfTheReferenceHoweverRowsAndKeysAreCut) {
  Random random(6);
  constexpr KvType kTypes[] = {KvType::kF32, KvType::kF16, KvType::kQ8};
  const int head_dims[] = {2, 6, 12, 16, 22, 36, 64, 80, 96, 128, 256};
  for (int round = 0; round < 400; ++round) {
    const int num_rows = 1 + random.below(round % 4 == 0 ? kMaxAttentionRows : 10);
    AttentionCase attention(num_rows, random.below(300), head_dims[random.below(std::size(head_dims))],
                            1 + random.below(3), kTypes[random.below(3)], random);
    if (random.below(2) == 0) attention.set_window(1 + random.below(200));
    if (random.below(3) == 0) attention.args.soft_cap = 5.0f;
    const std::vector<float> expected = attention.run(scalar_kernels(), 0, num_rows);
    for (const float value : expected) ASSERT_TRUE(std::isfinite(value));
    std::vector<int> ends;
    for (int key = kSpanTokens; key <= attention.positions[0]; key += kSpanTokens) {
      if (random.below(2) == 0) ends.push_back(key);
    }
    ASSERT_TRUE(same_bits(attention.run(scalar_kernels(), 0, num_rows, ends), expected));
    for (const KernelTable* table : simd_kernels()) {
      ASSERT_TRUE(same_bits(attention.run(*table, 0, num_rows), expected))
          << table->isa << ": rows " << num_rows << ", head_dim " << attention.head_dim << ", position "
          << attention.positions[0];
      ASSERT_TRUE(same_bits(attention.run(*table, 0, num_rows, ends), expected)) << table->isa;
      const int split = random.below(num_rows);
      std::vector<float> in_two = split == 0 ? std::vector<float>() : attention.run(*table, 0, split);
      const std::vector<float> rest = attention.run(*table, split, num_rows - split);
      in_two.insert(in_two.end(), rest.begin(), rest.end());
      ASSERT_TRUE(same_bits(in_two, expected)) << table->isa;
    }
  }
}

}  // namespace
}  // namespace kvasir::kernels
