#include "kv/kv_cache_impl.h"

#include <algorithm>
#include <utility>

#include "base/check.h"

namespace kvasir::kv {

// The longest cached prefix of `tokens`: all of them when they are an entry with logits, else at most all but
// one. `path` becomes the nodes of the whole blocks.
KvCache::Impl::Match KvCache::Impl::match_prefix(NodeId root, std::span<const TokenId> tokens,
                                                 std::vector<NodeId>& path) const {
  Match match;
  path.clear();
  NodeId parent = root;
  const TimePoint now = clock.now();
  const std::size_t block_size = config.block_size;
  for (;;) {
    const std::span<const TokenId> rest = tokens.subspan(path.size() * block_size);
    std::span<const TokenId> wanted = rest.first(std::min(rest.size(), block_size));
    NodeId node = NodeId::kNone;
    int num_tokens = 0;
    if (wanted.size() == rest.size()) {
      const EntryId entry = entries.find(parent, wanted);
      if (entry != EntryId::kNone && is_expired(entries.created_at(entry), now)) {
        match.expired_entry = entry;
      } else if (entry != EntryId::kNone && entries.has_logits(entry)) {
        match.entry = entry;
        node = entries.node(entry);
        num_tokens = entries.num_tokens(entry);
      }
      if (match.entry == EntryId::kNone) wanted = wanted.first(wanted.size() - 1);
    }
    if (match.entry == EntryId::kNone) {
      const PrefixTree::ChildMatch child = tree.longest_match(parent, wanted);
      node = child.node;
      num_tokens = child.num_tokens;
    }
    if (num_tokens == 0) return match;
    if (is_expired(tree.created_at(node), now)) {
      match.expired_node = node;
      match.entry = EntryId::kNone;
      return match;
    }
    if (num_tokens < config.block_size) {
      match.tail = node;
      match.num_tail_tokens = num_tokens;
      match.adopts_tail = num_tokens == tree.num_tokens(node) && !tree.is_pinned(node);
      return match;
    }
    path.push_back(node);
    if (match.entry != EntryId::kNone) return match;
    parent = node;
  }
}

// The same into the member `path`, after what it met that has expired is gone.
KvCache::Impl::Match KvCache::Impl::match_fresh_prefix(const Namespace& ns, std::span<const TokenId> tokens) {
  for (bool met_expired = false;; met_expired = true) {
    Match match = match_prefix(ns.root, tokens, path);
    match.num_found_tokens = num_matched_tokens(match, path);
    match.met_expired = met_expired;
    if (match.expired_node != NodeId::kNone) {
      remove_subtree(match.expired_node, Removal::kExpired);
    } else if (match.expired_entry != EntryId::kNone) {
      evict_entry(match.expired_entry, Removal::kExpired);
    } else {
      match.met_evicted = is_next_evicted(ns, match, tokens);
      return match;
    }
  }
}

// Whether a block that would have matched on from the end of `path`, farther than the match does, was
// evicted.
bool KvCache::Impl::is_next_evicted(const Namespace& ns, const Match& match,
                                    std::span<const TokenId> tokens) const {
  std::uint64_t hash = path.empty() ? evicted.hash_salt(ns.salt) : hashes[index(tree.block_of(path.back()))];
  const std::span<const TokenId> rest = tokens.subspan(path.size() * config.block_size);
  const int num_tokens = static_cast<int>(std::min<std::size_t>(rest.size(), config.block_size));
  for (int i = 0; i < num_tokens; ++i) {
    hash = EvictedBlocks::extend(hash, rest[i]);
    if (i >= match.num_tail_tokens && evicted.contains(hash)) return true;
  }
  return false;
}

// The longest prompt that is an entry and a prefix of what was matched.
EntryId KvCache::Impl::deepest_entry(const Match& match) const {
  if (match.entry != EntryId::kNone) return match.entry;
  EntryId entry = EntryId::kNone;
  if (match.tail != NodeId::kNone) entry = entries.longest_in(match.tail, match.num_tail_tokens);
  for (auto node = path.rbegin(); node != path.rend() && entry == EntryId::kNone; ++node) {
    entry = entries.longest_in(*node, config.block_size);
  }
  return entry;
}

// Whether `num_tokens` tokens have room beside what the match would pin. Gives up the match's tail where only
// evicting that makes the room.
bool KvCache::Impl::fit(Match& match, int num_tokens) {
  const bool adopts = match.adopts_tail;
  const int num_shared = static_cast<int>(path.size()) + (adopts ? 1 : 0);
  const int num_needed = std::max(0, num_blocks_for(num_tokens) - num_shared);
  const auto is_unpinned = [&](NodeId node) { return !tree.is_pinned(node); };
  int num_left = num_available() - static_cast<int>(std::count_if(path.begin(), path.end(), is_unpinned));
  if (adopts) --num_left;
  if (num_needed > num_left) return false;
  if (match.copies_tail() && is_unpinned(match.tail) && num_needed == num_left) give_up_tail(match);
  return true;
}

// A match shorter than min_tokens is none.
void KvCache::Impl::drop_if_too_short(Match& match) {
  if (num_matched_tokens(match, path) >= config.min_tokens) return;
  give_up_tail(match);
  path.clear();
}

// Of a match that goes to the end of a prompt, what remains ends at the block before.
void KvCache::Impl::give_up_tail(Match& match) {
  match.tail = NodeId::kNone;
  match.num_tail_tokens = 0;
  match.adopts_tail = false;
  match.entry = EntryId::kNone;
}

// The longest match that leaves room for `num_tokens` tokens in all, of which `path` is the whole blocks;
// nullopt when there is no room whatever is matched.
std::optional<KvCache::Impl::Match> KvCache::Impl::match_with_room(const Namespace& ns,
                                                                   std::span<const TokenId> tokens,
                                                                   int num_tokens) {
  Match match = match_fresh_prefix(ns, tokens);
  drop_if_too_short(match);
  if (!fit(match, num_tokens)) return std::nullopt;
  const bool had_path = !path.empty();
  drop_if_too_short(match);  // it may have lost its tail
  if (had_path && path.empty() && !fit(match, num_tokens)) return std::nullopt;
  return match;
}

// Why not more than the match of a prompt of `num_tokens` tokens was found; `was_empty`: nothing at all was
// cached under the request's salt. A salt never learns what others have: all that is looked at is its own.
MissReason KvCache::Impl::miss_reason(const Match& match, int num_tokens, bool was_empty) const {
  const int num_found = match.num_found_tokens;
  const bool is_short = num_found < config.min_tokens;
  if (num_found > 0 && num_found >= num_tokens - 1 && !is_short) return MissReason::kNone;
  if (num_tokens < config.min_tokens) return MissReason::kTooShort;
  if (match.met_expired) return MissReason::kExpired;
  if (match.met_evicted) return MissReason::kEvicted;
  if (was_empty) return MissReason::kSalt;
  if (num_found == 0) return MissReason::kCold;
  return is_short ? MissReason::kTooShort : MissReason::kDiverged;
}

// A sequence that has what was matched, and nothing of its own yet. Its tail is pinned too where it will be
// copied, so that making room for the copy does not evict it.
std::unique_ptr<SequenceBlocks::State> KvCache::Impl::pin_match(const Match& match,
                                                                std::span<const TokenId> tokens) {
  auto state = std::make_unique<State>();
  state->num_cached_tokens = num_matched_tokens(match, path);
  if (match.adopts_tail) path.push_back(match.tail);
  for (const NodeId node : path) {
    tree.pin(node);
    state->table.push_back(tree.block_of(node));
  }
  state->num_shared = static_cast<int>(path.size());
  if (match.copies_tail()) {
    tree.pin(match.tail);
    state->begun_block = state->num_shared;
    state->begun_at = tree.created_at(match.tail);
  }
  const EntryId entry = deepest_entry(match);
  if (entry != EntryId::kNone) entries.touch(entry, clock.now());
  if (match.entry != EntryId::kNone) {
    remember_entry(*state, match.entry, tokens.size());
    state->last_logits = entries.logits(match.entry);
  }
  return state;
}

std::optional<Admission> KvCache::Impl::admit(NamespaceId ns_id, std::span<const TokenId> tokens,
                                              int num_tokens) {
  KVASIR_CHECK(!tokens.empty());
  num_tokens = std::max(num_tokens, static_cast<int>(tokens.size()));
  Namespace* const ns = namespaces.find(ns_id);
  path.clear();
  std::optional<Match> match(std::in_place);
  const bool has_salt = ns == nullptr || !ns->salt.empty();
  const bool was_empty = has_salt && (ns == nullptr || tree.is_leaf(ns->root));
  if (ns != nullptr) {
    ++ns->num_sequences;  // so that an eviction on the way does not forget it
    match = match_with_room(*ns, tokens, num_tokens);
    if (!match) {
      --ns->num_sequences;
      namespaces.forget_if_empty(*ns);
    }
  } else if (!fit(*match, num_tokens)) {
    match.reset();
  }
  if (!match) return std::nullopt;

  std::unique_ptr<State> state = pin_match(*match, tokens);
  state->ns = ns;
  grow_table(state->table, num_tokens);
  std::optional<BlockCopy> copy;
  if (match->copies_tail()) {
    tree.unpin(match->tail);
    copy = BlockCopy{tree.block_of(match->tail), state->table[state->num_shared]};
  }
  ++num_sequences;
  const int num_prompt_tokens = static_cast<int>(tokens.size());
  const MissReason reason = miss_reason(*match, num_prompt_tokens, was_empty);
  const int num_found = reason == MissReason::kNone ? num_prompt_tokens : match->num_found_tokens;
  return Admission{SequenceBlocks(std::move(state)), copy, num_found, reason};
}

std::optional<Admission> KvCache::Impl::share(const State& source, int num_shared, int num_tokens) {
  const int num_whole = num_shared / config.block_size;
  if (num_blocks_for(num_tokens) - num_whole > num_available()) return std::nullopt;
  auto state = std::make_unique<State>();
  state->ns = source.ns;
  state->num_cached_tokens = num_shared;
  state->num_shared = std::min(source.num_shared, num_whole);
  for (int i = 0; i < num_whole; ++i) {
    const BlockId block = source.table[i];
    const bool is_in_tree = i < source.num_shared && tree.is_attached(tree.node_of(block));
    is_in_tree ? tree.pin(tree.node_of(block)) : pool.ref(block);
    state->table.push_back(block);
  }
  if (state->ns != nullptr) ++state->ns->num_sequences;
  ++num_sequences;
  grow_table(state->table, num_tokens);
  std::optional<BlockCopy> copy;
  if (num_whole * config.block_size < num_shared) {
    copy = BlockCopy{source.table[num_whole], state->table[num_whole]};
    state->begun_block = num_whole;
    state->begun_at = begun_at(source, num_whole);
  }
  return Admission{SequenceBlocks(std::move(state)), copy};
}

// Since when there have been tokens in block i of a sequence.
TimePoint KvCache::Impl::begun_at(const State& state, int i) const {
  if (i < state.num_shared) return tree.created_at(tree.node_of(state.table[i]));  // detached or not
  return i == state.begun_block ? state.begun_at : clock.now();
}

// Requires: fit() or the like said that there is room.
void KvCache::Impl::grow_table(std::vector<BlockId>& table, int num_tokens) {
  const std::size_t num_blocks = num_blocks_for(num_tokens);
  if (table.capacity() < num_blocks) table.reserve(std::max(num_blocks, 2 * table.capacity()));
  while (table.size() < num_blocks) table.push_back(allocate());
}

BlockId KvCache::Impl::allocate() {
  if (pool.num_free() == 0) evict_block();
  return pool.allocate();
}

}  // namespace kvasir::kv
