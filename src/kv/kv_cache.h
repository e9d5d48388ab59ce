#pragma once

// The KV cache: which block holds which tokens, who uses it, and what may go when memory runs out. It handles
// integers and opaque bytes; it never touches a float, and it allocates no block memory itself. Owned and
// called by the engine's thread only.
//
//   admit ──> SequenceBlocks ── reserve / commit / insert_entry ... ──> release
//
// A sequence's block table is [shared blocks of the tree | its own blocks]. A block of its own becomes shared
// when commit puts it into the tree: from then on it is immutable below the committed token count, and others
// match it while its writer goes on.
//
// Age: a block's age counts from the commit that brought its first token, for a copy from that of its source;
// an entry's from when it was inserted. Nothing renews either: at max_age it is a miss, and on that access it
// and what follows it leave the tree. So an entry that begins with older blocks ends with them.
//
// Threads: the engine's only, tests apart. Memory: everything that grows with the number of blocks is
// allocated by the constructor and counted by metadata_bytes_per_block(); the block tables belong to the
// sequences.

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string_view>
#include <vector>

#include "base/clock.h"
#include "base/ids.h"
#include "kv/miss_reason.h"
#include "kv/namespaces.h"

namespace kvasir::kv {

struct KvCacheConfig {
  int block_size = 16;
  int num_blocks = 0;
  int min_tokens = 20;  // shorter prompts are not inserted, shorter matches are not hits
  int max_entries = 0;  // 0: bounded by memory alone; at most one per block in any case
  std::chrono::milliseconds max_age{1'200'000};  // absolute, from insertion
  std::size_t logits_bytes = 0;                  // of one entry's last logits
  int max_logits = 0;                            // how many entries keep their logits
  std::size_t block_bytes = 0;                   // of one block and what its owner keeps with it; for stats
  std::uint64_t seed = 0;  // of EvictedBlocks; to be drawn where clients are not trusted
};

struct KvCacheStats {
  // The original's counters: entries, and lookups of requests that use the prefix cache, counted once per
  // request.
  std::int64_t num_entries = 0, hits = 0, misses = 0;
  std::int64_t evictions_lru = 0, evictions_ttl = 0, cached_tokens_reused = 0;
  std::int64_t tokens_looked_up = 0;  // by the same requests
  // Blocks: not free; in the tree; in use by running sequences. Evicted: for want of memory, with an entry,
  // or by age.
  std::int64_t blocks_total = 0, blocks_used = 0, blocks_shared = 0, blocks_pinned = 0;
  std::int64_t block_evictions = 0;
  // All metadata, the blocks used and the logits kept; and all that there may be.
  std::size_t bytes_used = 0, bytes_budget = 0;
};

// The caller copies block `from` to `to` before its next call of the cache.
struct BlockCopy {
  BlockId from;
  BlockId to;
};

class KvCache;

// The blocks of one sequence. Move-only; holds pins on the tree and its own blocks until KvCache::release.
class SequenceBlocks {
 public:
  SequenceBlocks(SequenceBlocks&&) noexcept;
  SequenceBlocks& operator=(SequenceBlocks&&) noexcept;
  ~SequenceBlocks();  // Requires: released or moved from

  std::span<const BlockId> block_table() const;
  int num_cached_tokens() const;  // matched at admission; 0 on a miss
  // Of the whole prompt, on a full hit; else empty. Valid until the next call of the cache.
  std::span<const std::byte> last_logits() const;

  // Makes room in the table itself: up to so many blocks, KvCache::reserve() allocates nothing.
  void reserve_table(int num_blocks);

 private:
  friend class KvCache;
  struct State;
  explicit SequenceBlocks(std::unique_ptr<State> state);
  std::unique_ptr<State> state_;
};

struct Admission {
  SequenceBlocks blocks;
  std::optional<BlockCopy> copy;  // a partly matching block, copied on write
  // How much of the prompt was found, usable or not, and why not more: all of it for kNone.
  int num_found_tokens = 0;
  MissReason miss_reason = MissReason::kNone;
};

class KvCache {
 public:
  // Requires: num_blocks > 0, block_size > 0; `clock` outlives the cache.
  KvCache(const KvCacheConfig& config, const Clock& clock);
  ~KvCache();  // Requires: all sequences released

  // What the cache's own structures take for each of `config.num_blocks` blocks (the count itself is not
  // read): a budget is num_blocks * (block_bytes + this) + max_logits * logits_bytes.
  static std::size_t metadata_bytes_per_block(const KvCacheConfig& config);

  // The namespace for a salt ("" is the default one, which always exists); makes it when new, in place of
  // those that were not opened for longest when memory for namespaces is short, and kUnshared when all are in
  // use. A namespace is forgotten when its last block and sequence go: open it for each request. An id of a
  // forgotten namespace is as good as kUnshared.
  NamespaceId open_namespace(std::string_view salt);

  // How many tokens of `tokens` a lookup would reuse now, if memory does not prevent a copy; may be too few
  // where it meets expired blocks. No side effects.
  int probe(NamespaceId ns, std::span<const TokenId> tokens) const;

  // Starts a sequence with the longest cached prefix of `tokens`, pinned, and room for `num_tokens` tokens in
  // all, evicting what is unpinned. When the whole prompt is an entry with logits, all tokens match;
  // otherwise at most tokens.size() - 1, so that the last is computed. Where memory is so short that the
  // source of a copy would have to be evicted, the match ends at the block before. Counts one hit or miss
  // when it succeeds. Nullopt, with nothing changed but what has expired gone, when there is no room: the
  // caller waits or preempts. O(tokens.size() * log(branches)). Requires: tokens not empty.
  std::optional<Admission> admit(NamespaceId ns, std::span<const TokenId> tokens, int num_tokens);
  // The same for a preempted sequence: counts nothing.
  std::optional<Admission> resume(NamespaceId ns, std::span<const TokenId> tokens, int num_tokens);
  // The same for a sequence that goes on from the first `num_shared` tokens of another one, whose blocks it
  // shares, the last one copied where it is partly filled. It reads and writes the tree if `source` does; it
  // counts nothing. Nullopt, with nothing changed, when there is no room. Requires: K and V of these tokens
  // are written and committed, and `source` does not write them again.
  std::optional<Admission> share(const SequenceBlocks& source, int num_shared, int num_tokens);
  // A sequence that neither reads nor writes the tree.
  SequenceBlocks admit_private();

  // Makes room for `num_tokens` tokens in all, evicting what is unpinned; false when it cannot, with nothing
  // changed.
  bool reserve(SequenceBlocks& sequence, int num_tokens);

  // The KV of tokens[0, num_computed) is written: its full blocks enter the tree and are shared from now on.
  // A block that another sequence has put there meanwhile replaces this one's (the table may change). No
  // effect on a private sequence.
  void commit(SequenceBlocks& sequence, std::span<const TokenId> tokens, int num_computed);

  // The whole prompt is computed: it becomes an entry with its last logits (config.logits_bytes bytes), its
  // partly filled last block included, unless it is shorter than min_tokens. An existing entry is renewed in
  // LRU order, not in age.
  void insert_entry(SequenceBlocks& sequence, std::span<const TokenId> prompt,
                    std::span<const std::byte> last_logits);

  // Ends a sequence, finished or not: what is computed stays in the tree (the partly filled last block too,
  // from min_tokens on), its pins go, its private blocks are freed. When its prompt's entry has been evicted
  // meanwhile, what only that needed goes too. Requires: num_computed <= tokens.size() and within the block
  // table.
  void release(SequenceBlocks sequence, std::span<const TokenId> tokens, int num_computed);

  struct Cleared {
    std::int64_t entries = 0, blocks = 0;
    std::size_t bytes = 0;
  };
  // Drops every entry and every block that no running sequence uses; blocks in use leave the tree and go when
  // their users end, which put nothing more after them. Counts what is free now.
  Cleared clear();

  KvCacheStats stats() const;
  // Every invariant of tree, lists, pins and counts, in O(size); aborts on a violation. For tests and idle
  // debug builds.
  void check_integrity() const;

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace kvasir::kv
