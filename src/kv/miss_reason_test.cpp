// Why a prompt was not found in the cache, and up to where it was.

#include <gtest/gtest.h>

#include <string>
#include <utility>

#include "kv/cache_harness.h"

namespace kvasir::kv {
namespace {

using std::chrono::seconds;

CacheHarness make_cache(int num_blocks) {
  KvCacheConfig config;
  config.block_size = 4;
  config.num_blocks = num_blocks;
  config.min_tokens = 4;
  config.max_age = seconds(1000);
  config.max_logits = 32;
  config.seed = 2;  // with which none of these few evicted blocks takes another one's slot
  return CacheHarness(config);
}

std::pair<MissReason, int> look_up(CacheHarness& harness, const Tokens& prompt,
                                   const std::string& salt = "") {
  FakeSequence run = *harness.start(prompt, salt);
  const std::pair result(run.miss_reason, run.num_found);
  harness.compute_all(run);
  harness.finish(std::move(run));
  return result;
}

TEST(KvCacheMiss, SaysUpToWhereAPromptWasFound) {
  CacheHarness harness = make_cache(64);
  EXPECT_EQ(look_up(harness, count_from(1, 12)), std::pair(MissReason::kCold, 0));
  EXPECT_EQ(look_up(harness, count_from(1, 12)), std::pair(MissReason::kNone, 12));
  EXPECT_EQ(look_up(harness, count_from(1, 11)),
            std::pair(MissReason::kNone, 11));  // 10, and the last is computed
  EXPECT_EQ(look_up(harness, {1, 2, 3, 4, 5, 6, 99, 98}), std::pair(MissReason::kDiverged, 6));
  EXPECT_EQ(look_up(harness, count_from(1, 20)), std::pair(MissReason::kDiverged, 12));
  EXPECT_EQ(look_up(harness, {1, 2, 99, 98, 97}), std::pair(MissReason::kTooShort, 2));
  EXPECT_EQ(look_up(harness, {50, 51, 52}), std::pair(MissReason::kTooShort, 0));
}

TEST(KvCacheMiss, ExpiredOnceThenCold) {
  CacheHarness harness = make_cache(64);
  look_up(harness, count_from(1, 12));
  harness.clock().advance(seconds(1000));
  EXPECT_EQ(look_up(harness, count_from(1, 12)), std::pair(MissReason::kExpired, 0));
  EXPECT_EQ(look_up(harness, count_from(1, 12)), std::pair(MissReason::kNone, 12));
  harness.cache().clear();
  EXPECT_EQ(look_up(harness, count_from(1, 12)), std::pair(MissReason::kCold, 0));
}

TEST(KvCacheMiss, WhatMadeRoomIsRemembered) {
  CacheHarness harness = make_cache(6);
  look_up(harness, count_from(1, 14));
  look_up(harness, count_from(101, 10));  // takes the last block of the first prompt
  EXPECT_EQ(look_up(harness, count_from(1, 20)), std::pair(MissReason::kEvicted, 12));
  look_up(harness, count_from(201, 20));
  EXPECT_EQ(look_up(harness, count_from(1, 14)), std::pair(MissReason::kEvicted, 0));
  EXPECT_EQ(look_up(harness, count_from(1, 14)), std::pair(MissReason::kNone, 14));
}

TEST(KvCacheMiss, ASaltLearnsOnlyOfItsOwnText) {
  CacheHarness harness = make_cache(8);
  look_up(harness, count_from(1, 12));
  EXPECT_EQ(look_up(harness, count_from(1, 12), "a"), std::pair(MissReason::kSalt, 0));
  look_up(harness, count_from(201, 24));  // takes their room
  look_up(harness, count_from(301, 4), "b");
  EXPECT_EQ(look_up(harness, count_from(1, 12), "b"), std::pair(MissReason::kCold, 0));
  EXPECT_EQ(look_up(harness, count_from(1, 12), "a"), std::pair(MissReason::kEvicted, 0));
}

}  // namespace
}  // namespace kvasir::kv
