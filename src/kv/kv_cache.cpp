#include "kv/kv_cache.h"

#include <algorithm>
#include <utility>

#include "base/check.h"
#include "kv/kv_cache_impl.h"

namespace kvasir::kv {
namespace {

// Memory for namespaces, by the number of blocks: each that is not empty has one.
constexpr std::size_t kNamespaceBytesPerBlock = 256;

int num_entries_at_most(const KvCacheConfig& config) {
  return config.max_entries > 0 ? std::min(config.max_entries, config.num_blocks) : config.num_blocks;
}

}  // namespace

SequenceBlocks::SequenceBlocks(std::unique_ptr<State> state) : state_(std::move(state)) {}
SequenceBlocks::SequenceBlocks(SequenceBlocks&&) noexcept = default;
SequenceBlocks& SequenceBlocks::operator=(SequenceBlocks&& other) noexcept {
  KVASIR_CHECK(!state_);
  state_ = std::move(other.state_);
  return *this;
}
SequenceBlocks::~SequenceBlocks() {
  KVASIR_CHECK(!state_);
}

void SequenceBlocks::reserve_table(int num_blocks) {
  state_->table.reserve(num_blocks);
}

std::span<const BlockId> SequenceBlocks::block_table() const {
  return state_->table;
}
int SequenceBlocks::num_cached_tokens() const {
  return state_->num_cached_tokens;
}
std::span<const std::byte> SequenceBlocks::last_logits() const {
  return state_->last_logits;
}

KvCache::Impl::Impl(const KvCacheConfig& config, const Clock& clock)
    : config(config),
      clock(clock),
      pool(config.num_blocks),
      tree(pool, config.block_size),
      entries(tree, config.num_blocks, num_entries_at_most(config), config.max_logits, config.logits_bytes),
      namespaces(tree, config.num_blocks * kNamespaceBytesPerBlock),
      evicted(config.num_blocks, config.seed),
      hashes(config.num_blocks) {
  subtree.reserve(config.num_blocks);
}

KvCache::KvCache(const KvCacheConfig& config, const Clock& clock) {
  KVASIR_CHECK(config.num_blocks > 0 && config.block_size > 0 && config.max_logits >= 0);
  impl_ = std::make_unique<Impl>(config, clock);
}

KvCache::~KvCache() {
  KVASIR_CHECK(impl_->num_sequences == 0);
}

std::size_t KvCache::metadata_bytes_per_block(const KvCacheConfig& config) {
  // One entry a block at most, and a logits slot's owner and links for each.
  const std::size_t entry_bytes =
      EntryTable::bytes_per_entry() + sizeof(EntryId) + sizeof(std::int32_t) + IndexList::bytes_per_index();
  return BlockPool::bytes_per_block() + PrefixTree::bytes_per_block(config.block_size) +
         EntryTable::bytes_per_block() + entry_bytes + sizeof(NodeId) + EvictedBlocks::bytes_per_block() +
         sizeof(std::uint64_t) + kNamespaceBytesPerBlock;
}

NamespaceId KvCache::open_namespace(std::string_view salt) {
  if (const Namespace* const ns = impl_->namespaces.open(salt)) return ns->id;
  if (!impl_->namespaces.can_hold(salt)) return NamespaceId::kUnshared;
  while (!impl_->namespaces.has_room(salt)) {
    Namespace* const oldest = impl_->namespaces.least_recently_opened();
    if (oldest == nullptr) return NamespaceId::kUnshared;
    const NamespaceId id = oldest->id;
    impl_->namespaces.forget_if_empty(*oldest);
    // The last child that is removed takes the namespace along.
    while (Namespace* const ns = impl_->namespaces.find(id)) {
      impl_->remove_subtree(impl_->tree.first_child(ns->root), Impl::Removal::kEvicted);
    }
  }
  return impl_->namespaces.add(salt).id;
}

int KvCache::probe(NamespaceId id, std::span<const TokenId> tokens) const {
  const Namespace* const ns = std::as_const(impl_->namespaces).find(id);
  if (ns == nullptr || tokens.empty()) return 0;
  std::vector<NodeId> path;
  const Impl::Match match = impl_->match_prefix(ns->root, tokens, path);
  const int num_tokens = impl_->num_matched_tokens(match, path);
  return num_tokens < impl_->config.min_tokens ? 0 : num_tokens;
}

std::optional<Admission> KvCache::admit(NamespaceId ns, std::span<const TokenId> tokens, int num_tokens) {
  std::optional<Admission> admission = impl_->admit(ns, tokens, num_tokens);
  if (admission) {
    const int num_cached = admission->blocks.num_cached_tokens();
    ++(num_cached > 0 ? impl_->counters.hits : impl_->counters.misses);
    impl_->counters.cached_tokens_reused += num_cached;
    impl_->counters.tokens_looked_up += static_cast<std::int64_t>(tokens.size());
  }
  return admission;
}

std::optional<Admission> KvCache::resume(NamespaceId ns, std::span<const TokenId> tokens, int num_tokens) {
  return impl_->admit(ns, tokens, num_tokens);
}

std::optional<Admission> KvCache::share(const SequenceBlocks& source, int num_shared, int num_tokens) {
  return impl_->share(*source.state_, num_shared, num_tokens);
}

SequenceBlocks KvCache::admit_private() {
  ++impl_->num_sequences;
  return SequenceBlocks(std::make_unique<SequenceBlocks::State>());
}

bool KvCache::reserve(SequenceBlocks& sequence, int num_tokens) {
  std::vector<BlockId>& table = sequence.state_->table;
  const int num_blocks = impl_->num_blocks_for(num_tokens);
  if (num_blocks - static_cast<int>(table.size()) > impl_->num_available()) return false;
  impl_->grow_table(table, num_tokens);
  return true;
}

void KvCache::commit(SequenceBlocks& sequence, std::span<const TokenId> tokens, int num_computed) {
  SequenceBlocks::State& state = *sequence.state_;
  if (state.ns == nullptr || impl_->is_detached(state)) return;
  const int block_size = impl_->config.block_size;
  impl_->publish(state, tokens.first(num_computed - num_computed % block_size));
  const int filling = num_computed / block_size;
  if (num_computed % block_size > 0 && filling >= state.num_shared && filling != state.begun_block) {
    state.begun_block = filling;
    state.begun_at = impl_->clock.now();
  }
}

void KvCache::insert_entry(SequenceBlocks& sequence, std::span<const TokenId> prompt,
                           std::span<const std::byte> last_logits) {
  SequenceBlocks::State& state = *sequence.state_;
  if (state.ns == nullptr || impl_->is_detached(state)) return;
  if (static_cast<int>(prompt.size()) < std::max(1, impl_->config.min_tokens)) return;
  impl_->publish(state, prompt);

  EntryTable& entries = impl_->entries;
  PrefixTree& tree = impl_->tree;
  const int last = impl_->num_blocks_for(static_cast<int>(prompt.size())) - 1;
  const NodeId parent = impl_->parent_of(state, last);
  const std::span<const TokenId> tokens =
      prompt.subspan(static_cast<std::size_t>(last) * impl_->config.block_size);
  EntryId entry = entries.find(parent, tokens);
  if (entry != EntryId::kNone && impl_->is_expired(entries.created_at(entry), impl_->clock.now())) {
    impl_->remove_entry(entry, Impl::Removal::kExpired);
    entry = EntryId::kNone;
  }
  if (entry != EntryId::kNone) {
    entries.touch(entry, impl_->clock.now());
  } else {
    const NodeId node =
        last < state.num_shared ? tree.node_of(state.table[last]) : tree.longest_match(parent, tokens).node;
    tree.add_entry(node);  // first, so that the node is needed while room is made
    if (entries.size() == entries.capacity()) {
      impl_->evict_entry(entries.least_recently_used(), Impl::Removal::kEvicted);
    }
    entry = entries.insert(node, static_cast<int>(tokens.size()), impl_->clock.now());
  }
  if (!entries.has_logits(entry)) entries.set_logits(entry, last_logits);
  impl_->remember_entry(state, entry, prompt.size());
}

void KvCache::release(SequenceBlocks sequence, std::span<const TokenId> tokens, int num_computed) {
  const std::unique_ptr<SequenceBlocks::State> state = std::move(sequence.state_);
  KVASIR_CHECK(num_computed >= 0 && num_computed <= static_cast<int>(tokens.size()));
  PrefixTree& tree = impl_->tree;
  const bool writes = state->ns != nullptr && !impl_->is_detached(*state);
  const bool is_unneeded = writes && impl_->is_entry_gone(*state);
  if (writes && !is_unneeded) {
    const int num_whole = num_computed - num_computed % impl_->config.block_size;
    impl_->publish(*state, tokens.first(num_computed < impl_->config.min_tokens ? num_whole : num_computed));
  }
  for (int i = static_cast<int>(state->table.size()); i-- > 0;) {
    if (i < state->num_shared) {
      tree.unpin(tree.node_of(state->table[i]));
    } else {
      impl_->pool.unref(state->table[i]);
    }
  }
  if (is_unneeded && state->num_shared > 0) {
    const bool has_end = state->entry_block < state->num_shared;
    const NodeId node = tree.node_of(state->table[has_end ? state->entry_block : state->num_shared - 1]);
    const auto why = Impl::Removal::kEvicted;
    has_end ? impl_->remove_unneeded(node, why) : impl_->remove_unneeded_ancestors(node, why);
  }
  if (state->ns != nullptr) {
    --state->ns->num_sequences;
    impl_->namespaces.forget_if_empty(*state->ns);
  }
  --impl_->num_sequences;
}

KvCache::Cleared KvCache::clear() {
  const int num_free = impl_->pool.num_free();
  const int num_logits = impl_->entries.num_logits();
  const std::int64_t num_entries = impl_->entries.size();
  std::vector<NodeId> roots;
  for (const Namespace& ns : impl_->namespaces.by_use()) roots.push_back(ns.root);
  for (const NodeId root : roots) {
    impl_->subtree.clear();
    impl_->tree.append_subtree(root, impl_->subtree);
    while (impl_->subtree.size() > 1) {
      impl_->remove_node(impl_->subtree.back(), Impl::Removal::kCleared);
      impl_->subtree.pop_back();
    }
  }
  impl_->evicted.clear();
  Cleared cleared;
  cleared.entries = num_entries;
  cleared.blocks = impl_->pool.num_free() - num_free;
  cleared.bytes = cleared.blocks * impl_->config.block_bytes + num_logits * impl_->config.logits_bytes;
  return cleared;
}

KvCacheStats KvCache::stats() const {
  const KvCacheConfig& config = impl_->config;
  KvCacheStats stats = impl_->counters;
  stats.num_entries = impl_->entries.size();
  stats.blocks_total = config.num_blocks;
  stats.blocks_used = config.num_blocks - impl_->pool.num_free();
  stats.blocks_shared = impl_->tree.num_nodes();
  stats.blocks_pinned = stats.blocks_used - impl_->tree.num_unpinned();
  const std::size_t metadata_bytes = config.num_blocks * metadata_bytes_per_block(config);
  stats.bytes_used = metadata_bytes + stats.blocks_used * config.block_bytes +
                     impl_->entries.num_logits() * config.logits_bytes;
  stats.bytes_budget =
      metadata_bytes + config.num_blocks * config.block_bytes + config.max_logits * config.logits_bytes;
  return stats;
}

void KvCache::check_integrity() const {
  impl_->pool.check_integrity();
  impl_->tree.check_integrity();
  impl_->entries.check_integrity();
  impl_->namespaces.check_integrity();
  int num_sequences = 0;
  for (const Namespace& ns : impl_->namespaces.by_use()) num_sequences += ns.num_sequences;
  KVASIR_CHECK(num_sequences <= impl_->num_sequences);
}

}  // namespace kvasir::kv
