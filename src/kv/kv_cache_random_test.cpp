// The cache against a naive model, under random operations: a set of the token sequences that were published,
// and block memory that remembers what was written to it (cache_harness.h). Where nothing could have been
// evicted, a match must be exactly the longest there is; elsewhere at most that, and always of the right
// content and age.

#include <gtest/gtest.h>

#include <algorithm>
#include <chrono>
#include <map>
#include <random>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "kv/cache_harness.h"

namespace kvasir::kv {
namespace {

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
constexpr int kSlowdown = 4;
#else
constexpr int kSlowdown = 1;
#endif

using std::chrono::milliseconds;

struct Coverage {
  std::int64_t hits = 0, full_hits = 0, copies = 0, refused = 0, preempted = 0, exact_matches = 0;
  std::int64_t shared = 0;
  std::int64_t evictions_lru = 0, evictions_ttl = 0, block_evictions = 0;
};

// One cache with one random configuration.
class Episode {
 public:
  Episode(std::mt19937& random, int check_every, Coverage& coverage)
      : random_(random),
        check_every_(check_every),
        coverage_(coverage),
        is_exact_(draw(0, 3) == 0),
        harness_(draw_config()),
        num_letters_(draw(0, 3) == 0 ? 50 : 2),
        num_salts_(draw(1, 4)),
        max_runs_(draw(1, 10)) {}

  void run(int num_operations) {
    for (int i = 0; i < num_operations && !::testing::Test::HasFailure(); ++i) {
      step();
      if (i % check_every_ == 0) check();
    }
    while (!runs_.empty()) end_run(runs_.size() - 1);
    check();
    const KvCacheStats stats = harness_.stats();
    EXPECT_EQ(stats.blocks_used, stats.blocks_shared);
    EXPECT_EQ(stats.blocks_pinned, 0);
    EXPECT_EQ(stats.hits + stats.misses, num_admitted_);
    EXPECT_EQ(stats.cached_tokens_reused, num_tokens_reused_);
    if (is_exact_) {
      EXPECT_EQ(stats.block_evictions, 0);
    }
    coverage_.hits += stats.hits;
    coverage_.evictions_lru += stats.evictions_lru;
    coverage_.evictions_ttl += stats.evictions_ttl;
    coverage_.block_evictions += stats.block_evictions;
    harness_.cache().clear();
    EXPECT_EQ(harness_.stats().blocks_used, 0);
    EXPECT_EQ(harness_.stats().num_entries, 0);
    harness_.cache().check_integrity();
  }

 private:
  int draw(int low, int high) { return std::uniform_int_distribution<int>(low, high)(random_); }
  bool chance(int percent) { return draw(1, 100) <= percent; }

  KvCacheConfig draw_config() {
    KvCacheConfig config;
    config.block_size = draw(1, 6);
    config.min_tokens = draw(0, 2) * config.block_size;
    config.max_age = std::chrono::hours(1);
    if (is_exact_) {
      config.num_blocks = 40'000;
      config.max_logits = 10'000;
      return config;
    }
    config.num_blocks = draw(8, 60);
    config.max_logits = draw(0, 20);
    config.max_entries = draw(0, 1) * draw(1, 8);
    if (chance(50)) config.max_age = milliseconds(draw(10, 200));
    return config;
  }

  Tokens draw_prompt() {
    Tokens prompt;
    if (!recent_.empty() && chance(80)) {
      prompt = recent_[draw(0, static_cast<int>(recent_.size()) - 1)];
      if (chance(30)) return prompt.size() > 40 ? Tokens(prompt.begin(), prompt.begin() + 40) : prompt;
      if (chance(60)) prompt.resize(draw(0, static_cast<int>(prompt.size())));
    }
    const int num_more = prompt.empty() ? draw(1, 20) : draw(0, 8);
    for (int i = 0; i < num_more; ++i) prompt.push_back(draw(1, num_letters_));
    if (prompt.empty()) prompt.push_back(1);
    if (prompt.size() > 40) prompt.resize(40);
    remember(prompt);
    return prompt;
  }
  void remember(const Tokens& tokens) {
    if (recent_.size() < 12) {
      recent_.push_back(tokens);
    } else {
      recent_[draw(0, 11)] = tokens;
    }
  }
  std::string draw_salt() { return std::string(draw(0, num_salts_ - 1), 's'); }

  void step() {
    const int what = draw(1, 1000);
    if (runs_.empty() || (what <= 250 && static_cast<int>(runs_.size()) < max_runs_)) {
      begin_run();
    } else if (what <= 900) {
      advance_run(draw(0, static_cast<int>(runs_.size()) - 1));
    } else if (what <= 980) {
      end_run(draw(0, static_cast<int>(runs_.size()) - 1));
    } else if (what <= 998) {
      harness_.clock().advance(milliseconds(draw(0, 40)));
    } else {
      clear();
    }
  }

  void begin_run() {
    if (!runs_.empty() && chance(15)) return share(runs_[draw(0, static_cast<int>(runs_.size()) - 1)]);
    if (chance(5)) {
      if (auto run = harness_.start_private(draw_prompt())) runs_.push_back(std::move(*run));
      return;
    }
    admit(draw_prompt(), draw_salt(), false);
  }

  void admit(const Tokens& tokens, const std::string& salt, bool resumes) {
    const int most = longest_match(tokens, salt);
    const int probed = harness_.probe(tokens, salt);
    EXPECT_LE(probed, most);
    const KvCacheStats before = harness_.stats();
    std::optional<FakeSequence> run = harness_.start(tokens, salt, resumes);
    if (!run) {
      const int block_size = harness_.config().block_size;
      const int num_needed = (static_cast<int>(tokens.size()) + block_size) / block_size;
      EXPECT_GT(before.blocks_pinned + num_needed, before.blocks_total);
      EXPECT_EQ(harness_.stats().hits + harness_.stats().misses, before.hits + before.misses);
      EXPECT_EQ(harness_.stats().evictions_lru, before.evictions_lru);
      ++coverage_.refused;
      return;
    }
    EXPECT_LE(run->num_cached(), most);
    if (is_exact_) {
      EXPECT_EQ(run->num_cached(), most);
      EXPECT_EQ(probed, most);
      ++coverage_.exact_matches;
    }
    if (!resumes) {
      ++num_admitted_;
      num_tokens_reused_ += run->num_cached();
    }
    coverage_.full_hits += run->is_full_hit;
    coverage_.copies += run->copied;
    runs_.push_back(std::move(*run));
  }

  void share(const FakeSequence& source) {
    if (source.num_computed < source.num_prompt_tokens) return;
    const KvCacheStats before = harness_.stats();
    std::optional<FakeSequence> run = harness_.share(source);
    EXPECT_EQ(harness_.stats().hits + harness_.stats().misses, before.hits + before.misses);
    if (!run) {
      const int block_size = harness_.config().block_size;
      const int num_needed = (source.num_prompt_tokens + block_size) / block_size;
      EXPECT_GT(before.blocks_pinned + num_needed - source.num_prompt_tokens / block_size,
                before.blocks_total);
      return;
    }
    ++coverage_.shared;
    runs_.push_back(std::move(*run));
  }

  void advance_run(std::size_t i) {
    FakeSequence& run = runs_[i];
    const int num_uncomputed = static_cast<int>(run.tokens.size()) - run.num_computed;
    if (num_uncomputed == 0) {
      if (run.tokens.size() > 60) {
        end_run(i);
      } else if (!harness_.generate(run, draw(1, num_letters_))) {
        preempt(i);
      }
      return;
    }
    const bool completes = run.num_computed < run.num_prompt_tokens;
    const int num_tokens = draw(1, num_uncomputed);
    const bool inserts = chance(90);
    harness_.compute(run, num_tokens, inserts);
    const int block_size = harness_.config().block_size;
    publish(run, run.num_computed - run.num_computed % block_size);
    if (inserts && completes && run.num_computed >= run.num_prompt_tokens &&
        run.num_prompt_tokens >= std::max(1, harness_.config().min_tokens)) {
      publish(run, run.num_prompt_tokens);
      if (!run.is_private) entries_[run.salt].insert(prompt_of(run));
    }
  }

  void preempt(std::size_t i) {
    const Tokens tokens = runs_[i].tokens;
    const std::string salt = runs_[i].salt;
    const bool is_private = runs_[i].is_private;
    end_run(i);
    ++coverage_.preempted;
    if (!is_private && chance(50)) admit(tokens, salt, true);
  }

  void end_run(std::size_t i) {
    FakeSequence run = std::move(runs_[i]);
    runs_.erase(runs_.begin() + static_cast<std::ptrdiff_t>(i));
    const KvCacheConfig& config = harness_.config();
    harness_.check(run);
    // Sometimes less is said to be computed than is.
    if (chance(10)) run.num_computed = draw(0, run.num_computed);
    const bool keeps_part = run.num_computed >= config.min_tokens;
    publish(run, keeps_part ? run.num_computed : run.num_computed - run.num_computed % config.block_size);
    remember(run.tokens);
    harness_.finish(std::move(run));
  }

  void clear() {
    if (is_exact_ && !runs_.empty()) return;  // whose blocks leave the tree: the model does not follow that
    const KvCacheStats before = harness_.stats();
    const KvCache::Cleared cleared = harness_.cache().clear();
    EXPECT_EQ(cleared.entries, before.num_entries);
    EXPECT_EQ(cleared.blocks, before.blocks_used - before.blocks_pinned);
    EXPECT_EQ(harness_.stats().blocks_shared, 0);
    published_.clear();
    entries_.clear();
    // What is in use now may still be put into an empty tree.
    for (const FakeSequence& run : runs_) {
      EXPECT_EQ(harness_.probe(run.tokens, run.salt), 0);
    }
  }

  // The model.
  static Tokens prompt_of(const FakeSequence& run) {
    return Tokens(run.tokens.begin(), run.tokens.begin() + run.num_prompt_tokens);
  }
  void publish(const FakeSequence& run, int num_tokens) {
    if (run.is_private || num_tokens == 0) return;
    published_[run.salt].insert(Tokens(run.tokens.begin(), run.tokens.begin() + num_tokens));
  }
  int longest_match(const Tokens& tokens, const std::string& salt) {
    const std::set<Tokens>& published = published_[salt];
    const auto common = [&](const Tokens& other) {
      const std::size_t size = std::min(tokens.size(), other.size());
      return static_cast<int>(std::mismatch(tokens.begin(), tokens.begin() + size, other.begin()).first -
                              tokens.begin());
    };
    // Of a sorted set, the neighbours have the most in common.
    const auto next = published.lower_bound(tokens);
    int longest = next == published.end() ? 0 : common(*next);
    if (next != published.begin()) longest = std::max(longest, common(*std::prev(next)));
    const int size = static_cast<int>(tokens.size());
    if (longest == size && !entries_[salt].contains(tokens)) longest = size - 1;
    return longest < harness_.config().min_tokens ? 0 : longest;
  }

  void check() {
    harness_.cache().check_integrity();
    std::set<BlockId> in_use;
    for (const FakeSequence& run : runs_) {
      harness_.check(run);
      in_use.insert(run.table().begin(), run.table().end());
    }
    const KvCacheStats stats = harness_.stats();
    EXPECT_EQ(stats.blocks_pinned, static_cast<std::int64_t>(in_use.size()));
    EXPECT_LE(stats.bytes_used, stats.bytes_budget);
    if (harness_.config().max_entries > 0) {
      EXPECT_LE(stats.num_entries, harness_.config().max_entries);
    }
  }

  std::mt19937& random_;
  const int check_every_;
  Coverage& coverage_;
  const bool is_exact_;  // nothing is evicted and nothing expires
  CacheHarness harness_;
  const int num_letters_;
  const int num_salts_;
  const int max_runs_;
  std::vector<FakeSequence> runs_;
  std::vector<Tokens> recent_;
  std::map<std::string, std::set<Tokens>> published_, entries_;
  std::int64_t num_admitted_ = 0, num_tokens_reused_ = 0;
};

void run_episodes(unsigned seed, int num_operations, int operations_per_episode, int check_every) {
  std::mt19937 random(seed);
  Coverage coverage;
  for (int done = 0; done < num_operations && !::testing::Test::HasFailure();
       done += operations_per_episode) {
    Episode episode(random, check_every, coverage);
    episode.run(operations_per_episode);
  }
  // The run has been where it should be.
  EXPECT_GT(coverage.full_hits, 0);
  EXPECT_GT(coverage.hits, coverage.full_hits);
  EXPECT_GT(coverage.copies, 0);
  EXPECT_GT(coverage.refused, 0);
  EXPECT_GT(coverage.preempted, 0);
  EXPECT_GT(coverage.shared, 0);
  EXPECT_GT(coverage.exact_matches, 0);
  EXPECT_GT(coverage.evictions_lru, 0);
  EXPECT_GT(coverage.evictions_ttl, 0);
  EXPECT_GT(coverage.block_evictions, 0);
}

TEST(KvCacheRandom, KeepsItsInvariantsAtEveryStep) {
  run_episodes(1, 60'000 / kSlowdown, 500, 1);
}

TEST(KvCacheRandom, MatchesANaiveModelUnderAMillionOperations) {
  run_episodes(2, 1'000'000 / kSlowdown, 5'000, 200);
}

}  // namespace
}  // namespace kvasir::kv
