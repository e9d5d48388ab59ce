#include "kv/kv_cache_impl.h"

#include "base/check.h"

namespace kvasir::kv {

void KvCache::Impl::remove_entry(EntryId entry, Removal why) {
  tree.remove_entry(entries.node(entry));
  entries.remove(entry);
  if (why == Removal::kEvicted) ++counters.evictions_lru;
  if (why == Removal::kExpired) ++counters.evictions_ttl;
}

// Removes a leaf with its entries, and its namespace when that was all of it.
void KvCache::Impl::remove_node(NodeId node, Removal why) {
  while (entries.first_in(node) != EntryId::kNone) remove_entry(entries.first_in(node), why);
  if (why == Removal::kEvicted) evicted.add(hashes[index(tree.block_of(node))]);
  const NodeId parent = tree.parent(node);
  if (!tree.is_pinned(node) && why != Removal::kCleared) ++counters.block_evictions;
  tree.remove(node);
  if (tree.is_root(parent)) namespaces.forget_if_empty(parent);
}

void KvCache::Impl::remove_subtree(NodeId node, Removal why) {
  subtree.clear();
  tree.append_subtree(node, subtree);
  while (!subtree.empty()) {
    remove_node(subtree.back(), why);  // children come after their parents
    subtree.pop_back();
  }
}

// Removes the node with all below it, and what led to nothing else, unless a sequence or an entry needs it.
void KvCache::Impl::remove_unneeded(NodeId node, Removal why) {
  if (tree.is_pinned(node) || tree.num_entries(node) > 0) return;
  const NodeId parent = tree.parent(node);
  remove_subtree(node, why);
  remove_unneeded_ancestors(parent, why);
}

void KvCache::Impl::remove_unneeded_ancestors(NodeId node, Removal why) {
  while (!tree.is_root(node) && tree.is_leaf(node) && !tree.is_pinned(node) && tree.num_entries(node) == 0) {
    const NodeId parent = tree.parent(node);
    remove_node(node, why);
    node = parent;
  }
}

void KvCache::Impl::evict_block() {
  const NodeId node = tree.least_recently_used();
  KVASIR_CHECK(node != NodeId::kNone);
  remove_node(node, Removal::kEvicted);
}

void KvCache::Impl::evict_entry(EntryId entry, Removal why) {
  const NodeId node = entries.node(entry);
  remove_entry(entry, why);
  remove_unneeded(node, why);
}

}  // namespace kvasir::kv
