#pragma once

// What is behind KvCache: the state of a sequence, and the cache's parts with what they do together. Its
// functions are in kv_cache_lookup.cpp (what of a prompt is cached, and admission), kv_cache_publish.cpp
// (what sequences put into the tree) and kv_cache_evict.cpp (how it goes); the public ones are in
// kv_cache.cpp. For these files only.

#include <memory>
#include <optional>
#include <span>
#include <vector>

#include "kv/block_pool.h"
#include "kv/entry_table.h"
#include "kv/evicted_blocks.h"
#include "kv/kv_cache.h"
#include "kv/namespaces.h"
#include "kv/prefix_tree.h"

namespace kvasir::kv {

// The table is [blocks in the tree | its own]; the first part is a path from the root.
struct SequenceBlocks::State {
  Namespace* ns = nullptr;  // null: private, neither reads nor writes the tree
  std::vector<BlockId> table;
  int num_shared = 0;
  int num_cached_tokens = 0;
  std::span<const std::byte> last_logits;
  // The own block that is partly filled, and since when; for a copy, since when its source was.
  int begun_block = -1;
  TimePoint begun_at;
  // The entry of its prompt, once there is one: to know at the end whether it is still there.
  EntryId entry = EntryId::kNone;
  std::int64_t entry_serial = 0;
  int entry_block = 0;  // where in the table it ends
};

struct KvCache::Impl {
  using State = SequenceBlocks::State;

  // What the tree has of some tokens: whole blocks (in `path`), then part of another one.
  struct Match {
    NodeId tail = NodeId::kNone;
    int num_tail_tokens = 0;
    bool adopts_tail = false;  // all of a partly filled leaf without a writer: go on in it, without a copy
    EntryId entry = EntryId::kNone;  // of all the tokens, with logits: a full hit
    bool copies_tail() const { return tail != NodeId::kNone && !adopts_tail; }

    int num_found_tokens = 0;  // before what has no room or is too short was given up
    bool met_expired = false;
    bool met_evicted = false;

    // What was in the way of a longer match, if anything.
    NodeId expired_node = NodeId::kNone;
    EntryId expired_entry = EntryId::kNone;
  };

  Impl(const KvCacheConfig& config, const Clock& clock);

  // Lookup.
  bool is_expired(TimePoint created_at, TimePoint now) const { return now - created_at >= config.max_age; }
  Match match_prefix(NodeId root, std::span<const TokenId> tokens, std::vector<NodeId>& path) const;
  Match match_fresh_prefix(const Namespace& ns, std::span<const TokenId> tokens);
  bool is_next_evicted(const Namespace& ns, const Match& match, std::span<const TokenId> tokens) const;
  EntryId deepest_entry(const Match& match) const;
  int num_matched_tokens(const Match& match, const std::vector<NodeId>& path) const {
    return static_cast<int>(path.size()) * config.block_size + match.num_tail_tokens;
  }

  // Admission.
  std::optional<Admission> admit(NamespaceId ns, std::span<const TokenId> tokens, int num_tokens);
  MissReason miss_reason(const Match& match, int num_tokens, bool was_empty) const;
  std::optional<Match> match_with_room(const Namespace& ns, std::span<const TokenId> tokens, int num_tokens);
  std::optional<Admission> share(const State& source, int num_shared, int num_tokens);
  TimePoint begun_at(const State& state, int i) const;
  void drop_if_too_short(Match& match);
  static void give_up_tail(Match& match);
  bool fit(Match& match, int num_tokens);
  std::unique_ptr<State> pin_match(const Match& match, std::span<const TokenId> tokens);
  int num_blocks_for(int num_tokens) const {
    return (num_tokens + config.block_size - 1) / config.block_size;
  }
  int num_available() const { return pool.num_free() + tree.num_unpinned(); }
  void grow_table(std::vector<BlockId>& table, int num_tokens);
  BlockId allocate();

  // Publication.
  bool is_detached(const State& state) const {
    return state.num_shared > 0 && !tree.is_attached(tree.node_of(state.table[state.num_shared - 1]));
  }
  NodeId parent_of(const State& state, int i) const {
    return i == 0 ? state.ns->root : tree.node_of(state.table[i - 1]);
  }
  void publish(State& state, std::span<const TokenId> tokens);
  void note_published(const State& state, int i, NodeId node);
  void publish_block(State& state, int i, std::span<const TokenId> tokens);
  void yield_to(State& state, int i, NodeId other, bool shares_it);
  void merge(NodeId from, NodeId to);
  bool is_entry_gone(const State& state) const {
    return state.entry != EntryId::kNone && entries.serial(state.entry) != state.entry_serial;
  }
  void remember_entry(State& state, EntryId entry, std::size_t num_prompt_tokens);

  // Eviction.
  enum class Removal { kEvicted, kExpired, kCleared };
  void remove_entry(EntryId entry, Removal why);
  void remove_node(NodeId node, Removal why);
  void remove_subtree(NodeId node, Removal why);
  void remove_unneeded(NodeId node, Removal why);
  void remove_unneeded_ancestors(NodeId node, Removal why);
  void evict_block();
  void evict_entry(EntryId entry, Removal why);

  const KvCacheConfig config;
  const Clock& clock;
  BlockPool pool;
  PrefixTree tree;
  EntryTable entries;
  Namespaces namespaces;
  EvictedBlocks evicted;
  std::vector<std::uint64_t> hashes;  // by node: of all tokens to its end, as EvictedBlocks has them
  int num_sequences = 0;
  KvCacheStats counters;        // the counts of events; the rest is filled in by stats()
  std::vector<NodeId> path;     // of the lookup in progress
  std::vector<NodeId> subtree;  // that is being removed
};

}  // namespace kvasir::kv
