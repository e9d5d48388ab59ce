// The original's entries: how many there may be, which goes first, and at what age they and their blocks go.

#include <gtest/gtest.h>

#include <chrono>
#include <utility>

#include "kv/cache_harness.h"

namespace kvasir::kv {
namespace {

using std::chrono::seconds;

TEST(KvCacheEntries, CapacityThreeAndFiveInsertsAreTwoEvictions) {
  CacheHarness harness(small_config([](KvCacheConfig& c) { c.max_entries = 3; }));
  for (int i = 1; i <= 5; ++i) harness.serve(count_from(100 * i, 9), count_from(1000 * i, 8));
  EXPECT_EQ(harness.stats().num_entries, 3);
  EXPECT_EQ(harness.stats().evictions_lru, 2);
  EXPECT_EQ(harness.stats().blocks_used, 3 * 5);  // their replies have gone with the two
  for (int i = 1; i <= 5; ++i) EXPECT_EQ(harness.probe(count_from(100 * i, 9)), i <= 2 ? 0 : 9);
}

TEST(KvCacheEntries, AccessRenewsTheOrder) {
  CacheHarness harness(small_config([](KvCacheConfig& c) { c.max_entries = 3; }));
  for (const int i : {1, 2, 3}) harness.serve(count_from(100 * i, 9));
  EXPECT_EQ(harness.serve(count_from(100, 9)), 9);                    // an exact hit
  EXPECT_EQ(harness.serve(count_from(200, 9) + Tokens{7, 7, 7}), 9);  // one that goes on from an entry
  EXPECT_EQ(harness.probe(count_from(300, 9)), 0);                    // made room
  EXPECT_EQ(harness.serve(count_from(400, 9)), 0);
  EXPECT_EQ(harness.probe(count_from(100, 9)), 0);
  EXPECT_EQ(harness.stats().evictions_lru, 2);
}

TEST(KvCacheEntries, AnEvictedEntryLeavesWhatOthersNeed) {
  CacheHarness harness(small_config([](KvCacheConfig& c) { c.max_entries = 1; }));
  harness.serve(count_from(1, 8) + Tokens{50, 51, 52});
  harness.serve(count_from(1, 8) + Tokens{60, 61, 62});
  // root ── [1 2 3 4] ── [5 6 7 8] ── [60 61 62]         [50 51 52] went with its entry
  EXPECT_EQ(harness.stats().blocks_used, 3);
  EXPECT_EQ(harness.stats().num_entries, 1);
  EXPECT_EQ(harness.probe(count_from(1, 8) + Tokens{50, 51, 52}), 8);
}

TEST(KvCacheEntries, AnEntryEvictedWhileItsRequestRunsGoesWithTheRequest) {
  CacheHarness harness(small_config([](KvCacheConfig& c) { c.max_entries = 1; }));
  FakeSequence a = *harness.start(count_from(100, 9));
  harness.compute_all(a);
  FakeSequence b = *harness.start(count_from(200, 9));
  harness.compute_all(b);
  EXPECT_EQ(harness.stats().num_entries, 1);
  harness.generate_all(a, count_from(500, 5));
  harness.finish(std::move(a));
  harness.finish(std::move(b));
  EXPECT_EQ(harness.probe(count_from(100, 9)), 0);
  EXPECT_EQ(harness.probe(count_from(200, 9)), 9);
  EXPECT_EQ(harness.stats().blocks_used, 3);
  harness.cache().check_integrity();
}

TEST(KvCacheEntries, ExpireAtTheirAgeWhateverTheAccess) {
  CacheHarness harness(small_config([](KvCacheConfig& c) { c.max_age = seconds(2); }));
  const Tokens prompt = count_from(1, 9);
  harness.serve(prompt, count_from(70, 6));
  harness.clock().advance(std::chrono::milliseconds(1900));
  EXPECT_EQ(harness.serve(prompt), 9);  // a hit renews nothing
  harness.clock().advance(std::chrono::milliseconds(100));
  EXPECT_EQ(harness.probe(prompt), 0);
  EXPECT_EQ(harness.serve(prompt), 0);
  EXPECT_EQ(harness.stats().evictions_ttl, 1);
  EXPECT_EQ(harness.stats().evictions_lru, 0);
  EXPECT_EQ(harness.stats().num_entries, 1);  // the new one
  EXPECT_EQ(harness.serve(prompt), 9);
  EXPECT_EQ(harness.probe(prompt + count_from(70, 6)), 9);  // the reply expired with its prompt
}

TEST(KvCacheAge, ACopyIsAsOldAsItsSource) {
  CacheHarness harness(small_config([](KvCacheConfig& c) {
    c.min_tokens = 1;
    c.max_age = seconds(10);
  }));
  harness.serve({1, 2, 3, 4});
  harness.clock().advance(seconds(6));
  EXPECT_EQ(harness.serve({1, 2, 90, 91, 92}), 2);
  EXPECT_EQ(harness.probe({1, 2, 90, 91, 92}), 5);
  harness.clock().advance(seconds(4));
  EXPECT_EQ(harness.probe({1, 2, 90, 91, 92}), 0);
}

TEST(KvCacheAge, ABlockTakenFromTheTreeKeepsItsAge) {
  CacheHarness harness(small_config([](KvCacheConfig& c) {
    c.min_tokens = 1;
    c.max_age = seconds(10);
  }));
  harness.serve({1, 2});
  FakeSequence a = *harness.start({1, 2, 3});  // goes on in the leaf
  FakeSequence b = *harness.start({1, 2, 3, 4, 5});
  EXPECT_TRUE(b.copied);
  harness.compute_all(b);
  // root ── [1 2 3 4]* ── [5]*
  //   └──── [1 2]*                of a
  harness.clock().advance(seconds(5));
  harness.compute_all(a);
  // root ── [1 2 3 4]* ── [5]*    has a's entry; a's block is its own again
  harness.generate_all(a, {9, 9});
  EXPECT_EQ(harness.probe({1, 2, 3, 9, 8}), 4);
  harness.clock().advance(seconds(5));
  EXPECT_EQ(harness.probe({1, 2, 3, 9, 8}), 0);
  harness.finish(std::move(a));
  harness.finish(std::move(b));
  harness.cache().check_integrity();
}

TEST(KvCacheAge, AFreshBlockTakesThePlaceOfAnExpiredOne) {
  CacheHarness harness(small_config([](KvCacheConfig& c) { c.max_age = seconds(10); }));
  FakeSequence early = *harness.start(count_from(1, 9));
  FakeSequence late = *harness.start(count_from(1, 9));  // found nothing either
  harness.compute_all(early);
  harness.clock().advance(seconds(10));
  harness.compute_all(late);
  EXPECT_NE(late.table()[0], early.table()[0]);
  EXPECT_EQ(harness.probe(count_from(1, 9)), 9);
  EXPECT_EQ(harness.stats().evictions_ttl, 1);
  harness.finish(std::move(early));
  harness.finish(std::move(late));
  EXPECT_EQ(harness.stats().blocks_used, 3);
  harness.cache().check_integrity();
}

TEST(KvCacheAge, ExpiredBlocksInUseLeaveTheTreeAndGoWithTheirUser) {
  CacheHarness harness(small_config([](KvCacheConfig& c) { c.max_age = seconds(10); }));
  FakeSequence old = *harness.start(count_from(1, 9));
  harness.compute_all(old);
  harness.clock().advance(seconds(10));
  EXPECT_EQ(harness.serve(count_from(1, 9)), 0);
  harness.generate_all(old, count_from(70, 8));
  harness.check(old);
  EXPECT_EQ(harness.stats().blocks_used, 3 + 5);
  harness.finish(std::move(old));
  EXPECT_EQ(harness.stats().blocks_used, 3);
  EXPECT_EQ(harness.serve(count_from(1, 9)), 9);
  harness.cache().check_integrity();
}

TEST(KvCacheEntries, AnEntryInsertedAgainIsRenewedInOrderButNotInAge) {
  CacheHarness harness(small_config([](KvCacheConfig& c) {
    c.max_entries = 2;
    c.max_age = seconds(10);
  }));
  FakeSequence first = *harness.start(count_from(100, 9));
  FakeSequence again = *harness.start(count_from(100, 9));  // finds nothing yet
  harness.compute_all(first);
  harness.clock().advance(seconds(5));
  harness.serve(count_from(200, 9));
  harness.compute_all(again);
  EXPECT_EQ(harness.stats().num_entries, 2);
  harness.finish(std::move(first));
  harness.finish(std::move(again));
  harness.serve(count_from(300, 9));
  EXPECT_EQ(harness.probe(count_from(200, 9)), 0);
  EXPECT_EQ(harness.probe(count_from(100, 9)), 9);
  harness.clock().advance(seconds(5));
  EXPECT_EQ(harness.probe(count_from(100, 9)), 0);
}

}  // namespace
}  // namespace kvasir::kv
