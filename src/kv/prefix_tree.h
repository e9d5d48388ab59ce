#pragma once

// The radix tree over token ids, in steps of a block: which cached block continues which tokens. It compares
// tokens, never hashes. It decides what *may* be evicted (what no sequence uses, leaves first) and in which
// order; when, and what becomes of entries, is KvCache's business. Engine thread only.
//
//   root ──[the quick brown fox]──[jumps over the lazy]──[dog .]        block_size 4, the last partly filled
//                    │
//                    └──[sits and waits .]
//
// After a second sequence has gone on differently within a block it has a copy of the common part, so that a
// block is never changed below its token count:
//
//   root ──[the quick brown fox]──[jumps over the lazy]──[dog .]
//                    ├──[jumps over a fence]                            "jumps over" was copied
//                    └──[sits and waits .]
//
// Invariants
//  - A node is one block: node i tells about block i. It holds 1..block_size tokens; only a full one
//    has children.
//  - Siblings differ in their tokens. One may be the beginning of another.
//  - The tree has one reference to each block in it (BlockPool). A node is pinned when there are more:
//    those of sequences. Each sequence pins its whole path, so that a pinned node's parent is pinned.
//  - A partly filled node is pinned by at most one sequence: the one that fills it, its writer. All
//    others copy.
//  - The LRU list has exactly the unpinned nodes, each nearer to the front than its children: its back
//    is a leaf.
//  - A node that is removed while pinned is detached: matched no more, and its block goes with its last user.
//
// The children of a node are a treap by token sequence: O(log n) for n siblings, and the sibling with the
// longest common prefix is always on the path of a search. Links are indices into arrays that are made once.

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "base/clock.h"
#include "base/ids.h"
#include "kv/block_pool.h"
#include "kv/index_list.h"

namespace kvasir::kv {

// A node; those from num_blocks on are roots.
enum class NodeId : std::int32_t { kNone = -1 };

class PrefixTree {
 public:
  // `pool` must outlive the tree.
  PrefixTree(BlockPool& pool, int block_size);

  static std::size_t bytes_per_block(int block_size);

  NodeId add_root();
  // Requires: is_leaf(root).
  void remove_root(NodeId root);

  NodeId node_of(BlockId block) const { return NodeId{index(block)}; }
  BlockId block_of(NodeId node) const { return BlockId{slot(node)}; }
  NodeId parent(NodeId node) const { return nodes_[slot(node)].parent; }
  std::span<const TokenId> tokens(NodeId node) const;
  int num_tokens(NodeId node) const { return nodes_[slot(node)].num_tokens; }
  TimePoint created_at(NodeId node) const { return nodes_[slot(node)].created_at; }
  bool is_root(NodeId node) const { return slot(node) >= pool_.num_blocks(); }
  // Any one of the children; kNone for a leaf.
  NodeId first_child(NodeId node) const;
  bool is_leaf(NodeId node) const { return first_child(node) == NodeId::kNone; }
  bool is_full(NodeId node) const { return num_tokens(node) == block_size_; }
  // False once it has been removed while pinned.
  bool is_attached(NodeId node) const { return parent(node) != NodeId::kNone; }
  bool is_pinned(NodeId node) const { return pool_.num_refs(block_of(node)) > 1; }
  int num_nodes() const { return num_nodes_; }

  struct ChildMatch {
    NodeId node = NodeId::kNone;
    int num_tokens = 0;  // that the child's tokens and the given ones have in common from the start
  };
  // The child with the longest common prefix with `tokens`; of equals, preferably one that is matched as a
  // whole. O(log(number of children)).
  ChildMatch longest_match(NodeId parent, std::span<const TokenId> tokens) const;

  // Puts a sequence's block under `parent`; the sequence's reference is its pin. `created_at` is never
  // renewed. Requires: one reference to the block; parent pinned or a root; no sibling with these tokens.
  NodeId insert(NodeId parent, BlockId block, std::span<const TokenId> tokens, TimePoint created_at);
  // `tokens` become the node's tokens. Requires: they begin with those that it has; no sibling has them.
  void extend(NodeId node, std::span<const TokenId> tokens);
  // Frees the node's block, or detaches it while it is pinned. Requires: is_leaf(node), no entries.
  void remove(NodeId node);
  // Appends the node and all below it, parents first.
  void append_subtree(NodeId node, std::vector<NodeId>& out) const;

  // Another sequence uses the node. Requires: its parent is a root or pinned.
  void pin(NodeId node);
  // Requires: pinned by the caller. A path is unpinned from its end, so that parents are used last.
  void unpin(NodeId node);
  // Nodes that can be evicted, one after the other; and the next one: a leaf, or kNone.
  int num_unpinned() const { return lru_.size(); }
  NodeId least_recently_used() const { return NodeId{lru_.back()}; }

  // How many entries end at the node or below. O(depth).
  void add_entry(NodeId node) { add_entries(node, 1); }
  void remove_entry(NodeId node) { add_entries(node, -1); }
  int num_entries(NodeId node) const { return nodes_[slot(node)].num_entries; }

  // Every invariant above. O(size).
  void check_integrity() const;

 private:
  struct Node {
    NodeId parent = NodeId::kNone;
    NodeId children = NodeId::kNone;                     // the root of their treap
    NodeId left = NodeId::kNone, right = NodeId::kNone;  // in the treap of the siblings
    std::int32_t num_entries = 0;
    std::int32_t num_tokens = 0;
    TimePoint created_at;
  };

  static std::int32_t slot(NodeId node) { return static_cast<std::int32_t>(node); }
  NodeId& children(NodeId node);
  bool less(NodeId a, NodeId b) const;
  void set_tokens(NodeId node, std::span<const TokenId> tokens);
  void link(NodeId node);
  void unlink(NodeId node);
  void add_entries(NodeId node, int count);
  int check_children(NodeId parent, const std::vector<int>& age) const;

  BlockPool& pool_;
  const int block_size_;
  std::vector<Node> nodes_;
  std::vector<TokenId> tokens_;  // (num_blocks, block_size)
  IndexList lru_;
  int num_nodes_ = 0;
  std::vector<NodeId> roots_;  // their treaps of children
  std::vector<NodeId> free_roots_;
};

}  // namespace kvasir::kv
