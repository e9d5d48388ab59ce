// The cache's work for a running sequence allocates nothing, eviction included: what it needs is there from
// the start.

#include <gtest/gtest.h>

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "base/clock.h"
#include "kv/kv_cache.h"
#include "tests/count_allocations.h"

namespace kvasir::kv {
namespace {

using kvasir::testing::num_allocations;

TEST(KvCache, ARunningSequenceAllocatesNothing) {
  constexpr int kNumTokens = 400;
  const SteadyClock clock;
  KvCacheConfig config;
  config.block_size = 4;
  config.num_blocks = 120;
  config.logits_bytes = 8;
  config.max_logits = 3;
  KvCache cache(config, clock);
  const std::byte logits[8] = {};
  for (int request = 0; request < 6; ++request) {  // from the second on, each block is taken from another
    std::vector<TokenId> tokens(kNumTokens);
    for (int i = 0; i < kNumTokens; ++i) tokens[i] = 1000 * request + i;
    auto admission = cache.admit(cache.open_namespace(""), tokens, kNumTokens);
    ASSERT_TRUE(admission.has_value());
    const std::int64_t before = num_allocations;
    for (int i = 1; i <= kNumTokens; ++i) {
      if (!cache.reserve(admission->blocks, i)) break;
      cache.commit(admission->blocks, tokens, i);
      if (i == 50) cache.insert_entry(admission->blocks, std::span(tokens).first(50), logits);
    }
    EXPECT_EQ(num_allocations, before);
    cache.release(std::move(admission->blocks), tokens, kNumTokens);
    EXPECT_EQ(num_allocations, before);
  }
  EXPECT_EQ(cache.stats().block_evictions, 5 * 100 - 20);
}

}  // namespace
}  // namespace kvasir::kv
