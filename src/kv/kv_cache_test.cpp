#include "kv/kv_cache.h"

#include <gtest/gtest.h>

#include <string>
#include <utility>

#include "kv/cache_harness.h"

namespace kvasir::kv {
namespace {

// ---- Matching

TEST(KvCache, SharesWholeBlocksAndCopiesAPartOfOne) {
  CacheHarness harness(small_config());
  FakeSequence a = *harness.start(count_from(1, 10));
  EXPECT_EQ(a.num_cached(), 0);
  harness.compute_all(a);
  // root ── [1 2 3 4]* ── [5 6 7 8]* ── [9 10]*
  FakeSequence b = *harness.start(Tokens{1, 2, 3, 4, 5, 6, 99, 98, 97});
  EXPECT_EQ(b.num_cached(), 6);
  EXPECT_TRUE(b.copied);
  EXPECT_EQ(b.table()[0], a.table()[0]);
  EXPECT_NE(b.table()[1], a.table()[1]);
  harness.compute_all(b);
  // root ── [1 2 3 4]** ── [5 6 7 8]* ── [9 10]*
  //              └──────── [5 6 99 98]* ── [97]*
  EXPECT_EQ(harness.stats().blocks_shared, 5);
  harness.check(a);
  harness.cache().check_integrity();
  harness.finish(std::move(a));
  harness.finish(std::move(b));
  harness.cache().check_integrity();
  EXPECT_EQ(harness.probe({1, 2, 3, 4, 5, 6, 99, 98, 96}), 8);
  EXPECT_EQ(harness.probe({1, 2, 3, 4, 5, 6, 7, 0}), 7);
}

TEST(KvCache, ExactRepeatIsAFullHitWithItsLogits) {
  CacheHarness harness(small_config());
  for (const int size : {8, 10}) {  // at a block's end and within one
    EXPECT_EQ(harness.serve(count_from(100 * size, size)), 0);
    FakeSequence repeat = *harness.start(count_from(100 * size, size));
    EXPECT_EQ(repeat.num_cached(), size);
    EXPECT_TRUE(repeat.is_full_hit);  // the harness has checked the logits
    harness.finish(std::move(repeat));
  }
  EXPECT_EQ(harness.stats().hits, 2);
  EXPECT_EQ(harness.stats().misses, 2);
  EXPECT_EQ(harness.stats().cached_tokens_reused, 18);
}

TEST(KvCache, APrefixOfALongerPromptIsNoFullHit) {
  CacheHarness harness(small_config());
  harness.serve(count_from(1, 12));
  for (const int size : {8, 10, 11}) {
    FakeSequence run = *harness.start(count_from(1, size));
    EXPECT_EQ(run.num_cached(), size - 1);  // the last is computed: its logits are not known
    EXPECT_FALSE(run.is_full_hit);
    harness.compute_all(run);
    harness.finish(std::move(run));
    EXPECT_EQ(harness.serve(count_from(1, size)), size);
  }
  EXPECT_EQ(harness.stats().blocks_used, 3);  // whatever was copied has been given up again
}

TEST(KvCache, WithoutRoomForLogitsTheLastTokenIsComputed) {
  CacheHarness harness(small_config([](KvCacheConfig& c) { c.max_logits = 1; }));
  harness.serve(count_from(1, 10));
  harness.serve(count_from(50, 10));  // takes the only slot
  EXPECT_EQ(harness.probe(count_from(1, 10)), 9);
  EXPECT_EQ(harness.probe(count_from(50, 10)), 10);
  EXPECT_EQ(harness.serve(count_from(1, 10)), 9);
  EXPECT_EQ(harness.probe(count_from(1, 10)), 10);
  EXPECT_EQ(harness.stats().num_entries, 2);
}

TEST(KvCache, GeneratedTokensAreFoundByTheNextTurn) {
  CacheHarness harness(small_config());
  const Tokens prompt = count_from(1, 9);
  const Tokens reply = count_from(200, 6);
  harness.serve(prompt, reply);
  EXPECT_EQ(harness.serve(prompt + reply + count_from(300, 5)), 15);
}

TEST(KvCache, ShortPromptsAreNotInsertedAndShortMatchesAreNoHits) {
  CacheHarness harness(small_config([](KvCacheConfig& c) { c.min_tokens = 6; }));
  harness.serve(count_from(1, 5));
  EXPECT_EQ(harness.stats().num_entries, 0);
  EXPECT_EQ(harness.serve(count_from(1, 5)), 0);
  harness.serve(count_from(1, 8));
  EXPECT_EQ(harness.stats().num_entries, 1);
  EXPECT_EQ(harness.serve(count_from(1, 5) + Tokens{70, 71, 72}), 0);
  EXPECT_EQ(harness.serve(count_from(1, 6) + Tokens{70, 71, 72}), 6);
  EXPECT_EQ(harness.stats().hits, 1);
  EXPECT_EQ(harness.stats().misses, 4);
}

// ---- Writers

TEST(KvCache, TheNextSequenceGoesOnInALeafThatNobodyWrites) {
  CacheHarness harness(small_config());
  harness.serve(count_from(1, 6));
  // root ── [1 2 3 4] ── [5 6]
  FakeSequence run = *harness.start(count_from(1, 9));
  EXPECT_EQ(run.num_cached(), 6);
  EXPECT_FALSE(run.copied);
  harness.compute_all(run);
  // root ── [1 2 3 4]* ── [5 6 7 8]* ── [9]*
  EXPECT_EQ(harness.stats().blocks_shared, 3);
  harness.finish(std::move(run));
  EXPECT_EQ(harness.serve(count_from(1, 6)), 6);  // the entry within the block that has grown
}

TEST(KvCache, OthersCopyALeafThatItsWriterStillExtends) {
  CacheHarness harness(small_config());
  FakeSequence writer = *harness.start(count_from(1, 6));
  harness.compute_all(writer);
  // root ── [1 2 3 4]* ── [5 6]*
  FakeSequence other = *harness.start(Tokens{1, 2, 3, 4, 5, 6, 77});
  EXPECT_EQ(other.num_cached(), 6);
  EXPECT_TRUE(other.copied);
  harness.generate_all(writer, {66, 67});
  harness.compute_all(other);
  harness.generate_all(other, {78});
  // root ── [1 2 3 4]** ── [5 6 66 67]*
  //              └──────── [5 6 77 78]*
  harness.check(writer);
  harness.check(other);
  EXPECT_EQ(harness.stats().blocks_shared, 3);
  harness.finish(std::move(writer));
  harness.finish(std::move(other));
  harness.cache().check_integrity();
  EXPECT_EQ(harness.probe({1, 2, 3, 4, 5, 6, 66, 67, 1}), 8);
  EXPECT_EQ(harness.probe({1, 2, 3, 4, 5, 6, 77, 78, 1}), 8);
}

TEST(KvCache, ABlockThatAnotherPublishedFirstReplacesOnesOwn) {
  CacheHarness harness(small_config());
  FakeSequence a = *harness.start(count_from(1, 9));
  FakeSequence b = *harness.start(count_from(1, 9));  // both found nothing
  harness.compute(a, 8);
  harness.compute(b, 8);
  EXPECT_EQ(b.table()[0], a.table()[0]);
  EXPECT_EQ(b.table()[1], a.table()[1]);
  EXPECT_NE(b.table()[2], a.table()[2]);
  EXPECT_EQ(harness.stats().blocks_used, 4);
  harness.compute_all(a);
  harness.compute_all(b);
  harness.finish(std::move(a));
  harness.finish(std::move(b));
  EXPECT_EQ(harness.stats().blocks_used, 3);
  EXPECT_EQ(harness.stats().num_entries, 1);
}

TEST(KvCache, AShorterLeafGivesWayToOneThatGoesOnFromIt) {
  CacheHarness harness(small_config());
  FakeSequence first = *harness.start(count_from(1, 6));
  harness.compute_all(first);
  FakeSequence second = *harness.start(count_from(1, 8));  // a copy: the first one still writes
  EXPECT_TRUE(second.copied);
  harness.finish(std::move(first));
  // root ── [1 2 3 4]* ── [5 6]
  harness.compute_all(second);
  // root ── [1 2 3 4]* ── [5 6 7 8]*        and both entries
  EXPECT_EQ(harness.stats().blocks_shared, 2);
  harness.finish(std::move(second));
  EXPECT_EQ(harness.serve(count_from(1, 6)), 6);
  EXPECT_EQ(harness.stats().num_entries, 2);
}

TEST(KvCache, ACancelledPrefillKeepsWhatItComputed) {
  for (int num_computed = 0; num_computed <= 11; ++num_computed) {
    CacheHarness harness(small_config());
    FakeSequence run = *harness.start(count_from(1, 11));
    harness.compute(run, num_computed, false);
    harness.finish(std::move(run));
    harness.cache().check_integrity();
    const int kept = num_computed < 4 ? 0 : std::min(num_computed, 11);
    EXPECT_EQ(harness.probe(count_from(1, 12)), kept);
    EXPECT_EQ(harness.stats().num_entries, 0);
    EXPECT_EQ(harness.stats().blocks_pinned, 0);
  }
}

TEST(KvCache, PrivateSequencesNeitherReadNorWrite) {
  CacheHarness harness(small_config());
  harness.serve(count_from(1, 8));
  FakeSequence run = *harness.start_private(count_from(1, 8));
  EXPECT_EQ(run.num_cached(), 0);
  harness.compute_all(run);
  harness.generate_all(run, {40, 41});
  harness.finish(std::move(run));
  EXPECT_EQ(harness.stats().blocks_used, 2);
  EXPECT_EQ(harness.stats().hits + harness.stats().misses, 1);
  EXPECT_EQ(harness.probe(count_from(1, 8) + Tokens{40, 41}), 8);
}

// ---- Memory

TEST(KvCache, RefusesWithNothingChangedWhenAllIsPinned) {
  CacheHarness harness(small_config([](KvCacheConfig& c) { c.num_blocks = 4; }));
  FakeSequence run = *harness.start(count_from(1, 11));
  harness.compute_all(run);
  EXPECT_FALSE(harness.start(count_from(50, 7)).has_value());
  EXPECT_FALSE(
      harness.start(count_from(1, 8)).has_value());  // one block to copy into, one for the next token
  EXPECT_EQ(harness.stats().misses, 1);
  EXPECT_EQ(harness.stats().blocks_used, 3);
  harness.check(run);
  harness.finish(std::move(run));
}

TEST(KvCache, WhereTheSourceOfACopyWouldHaveToGoTheMatchEndsBeforeIt) {
  CacheHarness harness(small_config([](KvCacheConfig& c) { c.num_blocks = 3; }));
  harness.serve(count_from(1, 11));
  // root ── [1 2 3 4] ── [5 6 7 8] ── [9 10 11]        all three blocks
  FakeSequence run = *harness.start(count_from(1, 6) + Tokens{77, 78, 79});
  EXPECT_EQ(run.num_cached(), 4);
  EXPECT_FALSE(run.copied);
  EXPECT_EQ(harness.stats().block_evictions, 2);
  harness.compute_all(run);
  harness.finish(std::move(run));
  // With one block more to spare it is copied, and what follows it goes.
  run = *harness.start(count_from(1, 6) + Tokens{77, 88});
  EXPECT_EQ(run.num_cached(), 4);
  harness.compute_all(run);
  harness.finish(std::move(run));
  harness.cache().check_integrity();
}

TEST(KvCache, AdmissionNeverEvictsWhatItHasMatched) {
  CacheHarness harness(small_config([](KvCacheConfig& c) { c.num_blocks = 4; }));
  harness.serve(count_from(1, 7));
  harness.serve(count_from(50, 7));
  // root ── [1 2 3 4] ── [5 6 7]
  //   └──── [50 51 52 53] ── [54 55 56]
  FakeSequence run =
      *harness.start(count_from(1, 7) + count_from(90, 7));  // the older path, and two blocks more
  EXPECT_EQ(run.num_cached(), 7);
  harness.compute_all(run);
  EXPECT_EQ(harness.stats().block_evictions, 2);
  EXPECT_EQ(harness.probe(count_from(50, 7)), 0);
  harness.finish(std::move(run));
}

TEST(KvCache, MemoryPressureEvictsTheLeastRecentlyUsedPromptAndItsEntry) {
  CacheHarness harness(small_config([](KvCacheConfig& c) { c.num_blocks = 6; }));
  for (const int i : {1, 2, 3}) harness.serve(count_from(100 * i, 7));
  EXPECT_EQ(harness.serve(count_from(100, 7)), 7);
  EXPECT_EQ(harness.serve(count_from(400, 7)), 0);
  EXPECT_EQ(harness.stats().evictions_lru, 1);
  EXPECT_EQ(harness.probe(count_from(200, 7)), 0);
  EXPECT_EQ(harness.probe(count_from(100, 7)), 7);
  EXPECT_EQ(harness.probe(count_from(300, 7)), 7);
}

TEST(KvCache, ReserveEvictsOthersAndFailsWithNothingChanged) {
  CacheHarness harness(small_config([](KvCacheConfig& c) { c.num_blocks = 4; }));
  harness.serve(count_from(1, 7));
  FakeSequence run = *harness.start(count_from(50, 7));
  EXPECT_TRUE(harness.cache().reserve(*run.blocks, 16));
  EXPECT_EQ(harness.stats().block_evictions, 2);
  EXPECT_FALSE(harness.cache().reserve(*run.blocks, 17));
  EXPECT_EQ(run.table().size(), 4u);
  harness.compute_all(run);
  harness.finish(std::move(run));
}

TEST(KvCache, MetadataIsPartOfTheBudget) {
  CacheHarness harness(small_config());
  const std::size_t metadata = KvCache::metadata_bytes_per_block(harness.config());
  EXPECT_GE(metadata, 4 * sizeof(TokenId));
  EXPECT_EQ(harness.stats().bytes_budget, 64 * (metadata + 100) + 32 * sizeof(std::uint64_t));
  EXPECT_EQ(harness.stats().bytes_used, 64 * metadata);
  harness.serve(count_from(1, 7));
  EXPECT_EQ(harness.stats().bytes_used, 64 * metadata + 2 * 100 + sizeof(std::uint64_t));
}

// ---- Namespaces

TEST(KvCacheNamespaces, ShareNothing) {
  CacheHarness harness(small_config());
  harness.serve(count_from(1, 9), {}, "a");
  EXPECT_EQ(harness.probe(count_from(1, 9), "b"), 0);
  EXPECT_EQ(harness.probe(count_from(1, 9)), 0);
  EXPECT_EQ(harness.probe(count_from(1, 9), "a"), 9);
  EXPECT_EQ(harness.serve(count_from(1, 9), {}, "b"), 0);
  EXPECT_EQ(harness.serve(count_from(1, 9), {}, "a"), 9);
}

TEST(KvCacheNamespaces, AreForgottenWithTheirLastBlock) {
  CacheHarness harness(small_config());
  KvCache& cache = harness.cache();
  const NamespaceId first = cache.open_namespace("a");
  harness.serve(count_from(1, 9), {}, "a");
  EXPECT_EQ(cache.open_namespace("a"), first);
  cache.clear();
  EXPECT_NE(cache.open_namespace("a"), first);
  EXPECT_EQ(cache.probe(first, count_from(1, 9)), 0);
}

TEST(KvCacheNamespaces, TheirNumberIsBounded) {
  CacheHarness harness(small_config());
  for (int i = 0; i < 1000; ++i) harness.serve(count_from(1, 9), {}, "salt " + std::to_string(i));
  harness.cache().check_integrity();
  EXPECT_EQ(harness.probe(count_from(1, 9), "salt 999"), 9);
  EXPECT_EQ(harness.probe(count_from(1, 9), "salt 0"), 0);
  // One that takes more than there is for all is not kept, and no reason to forget the others.
  const std::string huge(1'000'000, 'x');
  EXPECT_EQ(harness.cache().open_namespace(huge), NamespaceId::kUnshared);
  EXPECT_EQ(harness.serve(count_from(1, 9), {}, huge), 0);
  EXPECT_EQ(harness.serve(count_from(1, 9), {}, huge), 0);
  EXPECT_EQ(harness.probe(count_from(1, 9), "salt 999"), 9);
  harness.cache().check_integrity();
}

TEST(KvCacheNamespaces, ThoseInUseAreNeverForgotten) {
  CacheHarness harness(small_config([](KvCacheConfig& c) { c.num_blocks = 8; }));
  FakeSequence run = *harness.start(count_from(1, 6), "in use");
  harness.compute_all(run);
  for (int i = 0; i < 100; ++i) harness.serve(count_from(1, 6), {}, std::string(i, 's'));
  harness.generate_all(run, {80, 81});
  harness.finish(std::move(run));
  EXPECT_EQ(harness.probe(count_from(1, 6) + Tokens{80, 81, 82}, "in use"), 8);
  harness.cache().check_integrity();
}

// ---- Clear

TEST(KvCacheClear, FreesWhatIsIdleAndDetachesWhatIsInUse) {
  CacheHarness harness(small_config());
  harness.serve(count_from(1, 9));
  FakeSequence run = *harness.start(count_from(50, 9));
  harness.compute_all(run);
  const KvCache::Cleared cleared = harness.cache().clear();
  EXPECT_EQ(cleared.entries, 2);
  EXPECT_EQ(cleared.blocks, 3);
  EXPECT_EQ(cleared.bytes, 3 * 100 + 2 * sizeof(std::uint64_t));
  EXPECT_EQ(harness.stats().blocks_used, 3);
  EXPECT_EQ(harness.stats().blocks_shared, 0);
  EXPECT_EQ(harness.stats().blocks_pinned, 3);
  EXPECT_EQ(harness.probe(count_from(50, 9)), 0);
  harness.cache().check_integrity();
  harness.generate_all(run, count_from(70, 6));
  EXPECT_EQ(harness.probe(count_from(50, 9) + count_from(70, 6)), 0);
  harness.finish(std::move(run));
  EXPECT_EQ(harness.stats().blocks_used, 0);
  EXPECT_EQ(harness.serve(count_from(50, 9)), 0);
  EXPECT_EQ(harness.serve(count_from(50, 9)), 9);
}

}  // namespace
}  // namespace kvasir::kv
