#pragma once

// The entries: prompts that were inserted, each with the node that it ends in, how many of the node's tokens
// belong to it, and its last logits as long as there is a slot for them. Found by (parent node, last tokens):
// the hash only narrows the search, the tokens in the tree decide. Everything is allocated once. Which entry
// goes when, and what its blocks become, is KvCache's business. Engine thread only.
//
//   buckets_   [ . | e4 -> e1 | . | e7 ]          hash of (parent, tokens of the last block)
//   by node    n12: e4 -> e7                      prompts of different lengths may end in one block
//   lru_       e7 <-> e1 <-> e4                   used last ... unused for longest
//   logits     slot 0: e7, slot 1: e4             slot_lru_ in the order of lru_: the oldest is taken first
//
// Invariants: each entry is in its bucket, in its node's chain and in lru_ exactly once; its node is in the
// tree and has at least num_tokens tokens; no two entries have the same prompt; a slot and its owner know
// each other.

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <vector>

#include "base/clock.h"
#include "kv/index_list.h"
#include "kv/prefix_tree.h"

namespace kvasir::kv {

enum class EntryId : std::int32_t { kNone = -1 };

class EntryTable {
 public:
  // Room for `capacity` entries, `num_slots` of them with logits of `logits_bytes` bytes. `tree` must outlive
  // it.
  EntryTable(const PrefixTree& tree, int num_blocks, int capacity, int num_slots, std::size_t logits_bytes);

  static std::size_t bytes_per_entry();
  // Of the chains' heads, one for each node.
  static constexpr std::size_t bytes_per_block() { return sizeof(EntryId); }

  int capacity() const { return static_cast<int>(entries_.size()); }
  int size() const { return lru_.size(); }
  int num_logits() const { return slot_lru_.size(); }
  EntryId least_recently_used() const { return EntryId{lru_.back()}; }

  // The entry whose prompt ends with `tokens` in a child of `parent`; kNone when there is none.
  EntryId find(NodeId parent, std::span<const TokenId> tokens) const;
  // The longest prompt that ends in the node's first `max_tokens` tokens; kNone when there is none.
  EntryId longest_in(NodeId node, int max_tokens) const;
  EntryId first_in(NodeId node) const { return heads_[static_cast<std::int32_t>(node)]; }

  // Adds the entry that ends after `num_tokens` tokens of `node`, used last. Requires: size() < capacity();
  // there is none with this prompt.
  EntryId insert(NodeId node, int num_tokens, TimePoint now);
  void remove(EntryId entry);
  void touch(EntryId entry, TimePoint now);
  // The entry ends in `to` instead. Requires: a sibling of its node with the same tokens as far as it goes.
  void move(EntryId entry, NodeId to);

  NodeId node(EntryId entry) const { return at(entry).node; }
  int num_tokens(EntryId entry) const { return at(entry).num_tokens; }
  TimePoint created_at(EntryId entry) const { return at(entry).created_at; }
  TimePoint last_accessed(EntryId entry) const { return at(entry).last_accessed; }
  // Grows with each entry that is made: tells an entry from a later one with its id.
  std::int64_t serial(EntryId entry) const { return at(entry).serial; }

  bool has_logits(EntryId entry) const { return at(entry).slot != IndexList::kNone; }
  // Empty without logits; valid until the next change.
  std::span<const std::byte> logits(EntryId entry) const;
  // Keeps a copy, in place of the oldest one when all slots are taken. No effect with num_slots 0.
  // Requires: logits_bytes bytes.
  void set_logits(EntryId entry, std::span<const std::byte> logits);

  // Every invariant above. O(size).
  void check_integrity() const;

 private:
  struct Entry {
    NodeId node = NodeId::kNone;
    std::int32_t num_tokens = 0;
    EntryId next_in_node = EntryId::kNone, next_in_bucket = EntryId::kNone;
    std::int32_t slot = IndexList::kNone;
    std::uint32_t bucket = 0;
    std::int64_t serial = 0;  // 0: free
    TimePoint created_at, last_accessed;
  };

  static std::int32_t index(EntryId entry) { return static_cast<std::int32_t>(entry); }
  Entry& at(EntryId entry) { return entries_[index(entry)]; }
  const Entry& at(EntryId entry) const { return entries_[index(entry)]; }
  EntryId& head(NodeId node) { return heads_[static_cast<std::int32_t>(node)]; }
  std::span<const TokenId> last_tokens(EntryId entry) const;
  std::uint32_t bucket_of(NodeId parent, std::span<const TokenId> tokens) const;
  void unlink_from_node(EntryId entry);
  void free_slot(EntryId entry);

  const PrefixTree& tree_;
  std::vector<Entry> entries_;
  std::vector<EntryId> free_;
  std::vector<EntryId> buckets_;  // a power of two
  std::vector<EntryId> heads_;    // by node
  IndexList lru_;
  std::int64_t last_serial_ = 0;

  const std::size_t logits_bytes_;
  std::unique_ptr<std::byte[]> logits_;  // (num_slots, logits_bytes); pages are taken as they are written
  std::vector<EntryId> slot_owners_;
  std::vector<std::int32_t> free_slots_;
  IndexList slot_lru_;
};

}  // namespace kvasir::kv
