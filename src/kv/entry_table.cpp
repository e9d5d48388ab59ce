#include "kv/entry_table.h"

#include <algorithm>
#include <bit>
#include <utility>

#include "base/check.h"

namespace kvasir::kv {
namespace {

std::uint64_t mix(std::uint64_t x) {
  x = (x ^ (x >> 32)) * 0x9e3779b97f4a7c15u;
  return x ^ (x >> 29);
}

}  // namespace

EntryTable::EntryTable(const PrefixTree& tree, int num_blocks, int capacity, int num_slots,
                       std::size_t logits_bytes)
    : tree_(tree),
      entries_(capacity),
      buckets_(std::bit_ceil(static_cast<std::size_t>(capacity)), EntryId::kNone),
      heads_(num_blocks, EntryId::kNone),
      lru_(capacity),
      logits_bytes_(logits_bytes),
      logits_(std::make_unique_for_overwrite<std::byte[]>(num_slots * logits_bytes)),
      slot_owners_(num_slots, EntryId::kNone),
      slot_lru_(num_slots) {
  free_.reserve(capacity);
  for (int i = capacity; i-- > 0;) free_.push_back(EntryId{i});
  free_slots_.reserve(num_slots);
  for (int i = num_slots; i-- > 0;) free_slots_.push_back(i);
}

std::size_t EntryTable::bytes_per_entry() {
  // An entry, its place in the free stack, its links, and up to two buckets.
  return sizeof(Entry) + sizeof(EntryId) + IndexList::bytes_per_index() + 2 * sizeof(EntryId);
}

EntryId EntryTable::find(NodeId parent, std::span<const TokenId> tokens) const {
  EntryId entry = buckets_[bucket_of(parent, tokens)];
  for (; entry != EntryId::kNone; entry = at(entry).next_in_bucket) {
    if (tree_.parent(node(entry)) != parent) continue;
    if (std::ranges::equal(last_tokens(entry), tokens)) break;
  }
  return entry;
}

EntryId EntryTable::longest_in(NodeId node, int max_tokens) const {
  EntryId best = EntryId::kNone;
  for (EntryId e = first_in(node); e != EntryId::kNone; e = at(e).next_in_node) {
    if (num_tokens(e) > max_tokens) continue;
    if (best == EntryId::kNone || num_tokens(e) > num_tokens(best)) best = e;
  }
  return best;
}

EntryId EntryTable::insert(NodeId node, int num_tokens, TimePoint now) {
  KVASIR_CHECK(!free_.empty() && num_tokens > 0 && num_tokens <= tree_.num_tokens(node));
  const EntryId id = free_.back();
  free_.pop_back();
  const std::uint32_t bucket = bucket_of(tree_.parent(node), tree_.tokens(node).first(num_tokens));
  Entry& entry = at(id);
  entry.node = node;
  entry.num_tokens = num_tokens;
  entry.bucket = bucket;
  entry.serial = ++last_serial_;
  entry.created_at = entry.last_accessed = now;
  entry.next_in_bucket = std::exchange(buckets_[bucket], id);
  entry.next_in_node = std::exchange(head(node), id);
  lru_.push_front(index(id));
  return id;
}

void EntryTable::remove(EntryId id) {
  free_slot(id);
  EntryId* link = &buckets_[at(id).bucket];
  while (*link != id) link = &at(*link).next_in_bucket;
  *link = at(id).next_in_bucket;
  unlink_from_node(id);
  lru_.remove(index(id));
  at(id) = Entry();
  free_.push_back(id);
}

void EntryTable::touch(EntryId id, TimePoint now) {
  at(id).last_accessed = now;
  lru_.move_to_front(index(id));
  if (has_logits(id)) slot_lru_.move_to_front(at(id).slot);
}

void EntryTable::move(EntryId id, NodeId to) {
  KVASIR_CHECK(tree_.parent(to) == tree_.parent(node(id)) &&
               std::ranges::equal(last_tokens(id), tree_.tokens(to).first(num_tokens(id))));
  unlink_from_node(id);
  at(id).node = to;
  at(id).next_in_node = std::exchange(head(to), id);
}

std::span<const std::byte> EntryTable::logits(EntryId entry) const {
  if (!has_logits(entry)) return {};
  return {logits_.get() + at(entry).slot * logits_bytes_, logits_bytes_};
}

void EntryTable::set_logits(EntryId id, std::span<const std::byte> logits) {
  KVASIR_CHECK(logits.size() == logits_bytes_);
  if (slot_owners_.empty()) return;
  if (!has_logits(id)) {
    if (free_slots_.empty()) free_slot(slot_owners_[slot_lru_.back()]);
    const std::int32_t slot = free_slots_.back();
    free_slots_.pop_back();
    at(id).slot = slot;
    slot_owners_[slot] = id;
    slot_lru_.push_front(slot);
  }
  std::ranges::copy(logits, logits_.get() + at(id).slot * logits_bytes_);
}

std::span<const TokenId> EntryTable::last_tokens(EntryId entry) const {
  return tree_.tokens(node(entry)).first(num_tokens(entry));
}

std::uint32_t EntryTable::bucket_of(NodeId parent, std::span<const TokenId> tokens) const {
  std::uint64_t hash = mix(static_cast<std::uint64_t>(parent) + 1);
  for (const TokenId token : tokens) hash = mix(hash ^ static_cast<std::uint32_t>(token));
  return static_cast<std::uint32_t>(hash & (buckets_.size() - 1));
}

void EntryTable::unlink_from_node(EntryId id) {
  EntryId* link = &head(node(id));
  while (*link != id) link = &at(*link).next_in_node;
  *link = at(id).next_in_node;
}

void EntryTable::free_slot(EntryId id) {
  if (!has_logits(id)) return;
  const std::int32_t slot = std::exchange(at(id).slot, IndexList::kNone);
  slot_lru_.remove(slot);
  slot_owners_[slot] = EntryId::kNone;
  free_slots_.push_back(slot);
}

void EntryTable::check_integrity() const {
  int num_chained = 0;
  for (std::size_t n = 0; n < heads_.size(); ++n) {
    for (EntryId e = heads_[n]; e != EntryId::kNone; e = at(e).next_in_node, ++num_chained) {
      const NodeId node{static_cast<std::int32_t>(n)};
      KVASIR_CHECK(at(e).node == node && tree_.is_attached(node) && at(e).serial > 0);
      KVASIR_CHECK(num_tokens(e) > 0 && num_tokens(e) <= tree_.num_tokens(node));
      KVASIR_CHECK(lru_.contains(index(e)));
      KVASIR_CHECK(find(tree_.parent(node), last_tokens(e)) == e);
      KVASIR_CHECK(!has_logits(e) || slot_owners_[at(e).slot] == e);
    }
  }
  KVASIR_CHECK(num_chained == lru_.size());
  KVASIR_CHECK(size() + static_cast<int>(free_.size()) == capacity());
  int num_owned = 0;
  for (std::size_t slot = 0; slot < slot_owners_.size(); ++slot) {
    const EntryId owner = slot_owners_[slot];
    const bool is_owned = owner != EntryId::kNone;
    KVASIR_CHECK(slot_lru_.contains(static_cast<std::int32_t>(slot)) == is_owned);
    KVASIR_CHECK(!is_owned || at(owner).slot == static_cast<std::int32_t>(slot));
    num_owned += is_owned;
  }
  KVASIR_CHECK(num_owned + free_slots_.size() == slot_owners_.size());
}

}  // namespace kvasir::kv
