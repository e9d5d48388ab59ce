#include "kv/kv_cache_impl.h"

#include "base/check.h"

namespace kvasir::kv {

void KvCache::Impl::remove_entry(EntryId entry, std::int64_t& counter) {
  tree.remove_entry(entries.node(entry));
  entries.remove(entry);
  ++counter;
}

// Removes a leaf with its entries, and its namespace when that was all of it.
void KvCache::Impl::remove_node(NodeId node, std::int64_t& entry_counter) {
  while (entries.first_in(node) != EntryId::kNone) remove_entry(entries.first_in(node), entry_counter);
  const NodeId parent = tree.parent(node);
  if (!tree.is_pinned(node)) ++counters.block_evictions;
  tree.remove(node);
  if (tree.is_root(parent)) namespaces.forget_if_empty(parent);
}

void KvCache::Impl::remove_subtree(NodeId node, std::int64_t& entry_counter) {
  subtree.clear();
  tree.append_subtree(node, subtree);
  while (!subtree.empty()) {
    remove_node(subtree.back(), entry_counter);  // children come after their parents
    subtree.pop_back();
  }
}

// Removes the node with all below it, and what led to nothing else, unless a sequence or an entry needs it.
void KvCache::Impl::remove_unneeded(NodeId node) {
  if (tree.is_pinned(node) || tree.num_entries(node) > 0) return;
  const NodeId parent = tree.parent(node);
  remove_subtree(node, counters.evictions_lru);
  remove_unneeded_ancestors(parent);
}

void KvCache::Impl::remove_unneeded_ancestors(NodeId node) {
  while (!tree.is_root(node) && tree.is_leaf(node) && !tree.is_pinned(node) && tree.num_entries(node) == 0) {
    const NodeId parent = tree.parent(node);
    remove_node(node, counters.evictions_lru);
    node = parent;
  }
}

void KvCache::Impl::evict_block() {
  const NodeId node = tree.least_recently_used();
  KVASIR_CHECK(node != NodeId::kNone);
  remove_node(node, counters.evictions_lru);
}

void KvCache::Impl::evict_entry(EntryId entry, std::int64_t& counter) {
  const NodeId node = entries.node(entry);
  remove_entry(entry, counter);
  remove_unneeded(node);
}

}  // namespace kvasir::kv
