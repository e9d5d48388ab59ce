#include "kv/kv_cache_impl.h"

#include <algorithm>

#include "base/check.h"

namespace kvasir::kv {

// Puts the blocks of `tokens` that the tree does not have yet into it, the last one partly filled if need be.
void KvCache::Impl::publish(State& state, std::span<const TokenId> tokens) {
  KVASIR_CHECK(tokens.size() <= state.table.size() * config.block_size);
  const std::size_t block_size = config.block_size;
  // The last shared block may be one that this sequence goes on filling.
  for (std::size_t i = std::max(0, state.num_shared - 1); i * block_size < tokens.size(); ++i) {
    const std::span<const TokenId> rest = tokens.subspan(i * block_size);
    publish_block(state, static_cast<int>(i), rest.first(std::min(rest.size(), block_size)));
  }
}

void KvCache::Impl::publish_block(State& state, int i, std::span<const TokenId> tokens) {
  const BlockId block = state.table[i];
  const bool is_shared = i < state.num_shared;
  if (is_shared && tree.num_tokens(tree.node_of(block)) >= static_cast<int>(tokens.size())) return;
  const NodeId parent = parent_of(state, i);
  const auto covers = [&](const PrefixTree::ChildMatch& match) {
    return match.num_tokens == static_cast<int>(tokens.size());
  };
  PrefixTree::ChildMatch match = tree.longest_match(parent, tokens);
  while (covers(match) && is_expired(tree.created_at(match.node), clock.now())) {
    remove_subtree(match.node, Removal::kExpired);
    match = tree.longest_match(parent, tokens);
  }
  if (covers(match)) {
    yield_to(state, i, match.node, match.num_tokens == config.block_size);
    return;
  }
  NodeId node = tree.node_of(block);
  if (is_shared) {
    tree.extend(node, tokens);
  } else {
    node = tree.insert(parent, block, tokens, i == state.begun_block ? state.begun_at : clock.now());
    state.num_shared = i + 1;
  }
  note_published(state, i, node);
  // A leaf that nobody uses and that ends where this one goes on has nothing that this one lacks.
  const bool is_beginning = match.node != NodeId::kNone && match.num_tokens == tree.num_tokens(match.node);
  if (is_beginning && match.node != node && !tree.is_pinned(match.node)) merge(match.node, node);
}

// Keeps the hash of the tokens to the end of the node, which is block i of a sequence.
void KvCache::Impl::note_published(const State& state, int i, NodeId node) {
  const std::uint64_t before = i == 0 ? evicted.hash_salt(state.ns->salt) : hashes[index(state.table[i - 1])];
  std::uint64_t& hash = hashes[index(tree.block_of(node))];
  hash = EvictedBlocks::extend(before, tree.tokens(node));
  evicted.remove(hash);
}

// Another node has the tokens of block i and maybe more: it stands for this sequence's in the tree, and in
// its table too when it is full.
void KvCache::Impl::yield_to(State& state, int i, NodeId other, bool shares_it) {
  const BlockId own = state.table[i];
  if (i < state.num_shared) {
    state.begun_block = i;
    state.begun_at = tree.created_at(tree.node_of(own));
    merge(tree.node_of(own), other);
    state.num_shared = i;
  }
  if (!shares_it) return;
  tree.pin(other);
  pool.unref(own);
  state.table[i] = tree.block_of(other);
  state.num_shared = i + 1;
}

// Removes a leaf whose tokens are the beginning of its sibling's; its entries stay.
void KvCache::Impl::merge(NodeId from, NodeId to) {
  while (entries.first_in(from) != EntryId::kNone) {
    entries.move(entries.first_in(from), to);
    tree.remove_entry(from);
    tree.add_entry(to);
  }
  tree.remove(from);
}

void KvCache::Impl::remember_entry(State& state, EntryId entry, std::size_t num_prompt_tokens) {
  state.entry = entry;
  state.entry_serial = entries.serial(entry);
  state.entry_block = num_blocks_for(static_cast<int>(num_prompt_tokens)) - 1;
}

}  // namespace kvasir::kv
