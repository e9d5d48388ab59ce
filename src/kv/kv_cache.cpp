#include "kv/kv_cache.h"

#include <algorithm>
#include <utility>

#include "base/check.h"
#include "kv/block_pool.h"
#include "kv/entry_table.h"
#include "kv/prefix_tree.h"

namespace kvasir::kv {
namespace {

// Memory for namespaces, by the number of blocks: each that is not empty has one.
constexpr std::size_t kNamespaceBytesPerBlock = 256;

int num_entries_at_most(const KvCacheConfig& config) {
  return config.max_entries > 0 ? std::min(config.max_entries, config.num_blocks) : config.num_blocks;
}

}  // namespace

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

std::span<const BlockId> SequenceBlocks::block_table() const {
  return state_->table;
}
int SequenceBlocks::num_cached_tokens() const {
  return state_->num_cached_tokens;
}
std::span<const std::byte> SequenceBlocks::last_logits() const {
  return state_->last_logits;
}

struct KvCache::Impl {
  using State = SequenceBlocks::State;

  // What the tree has of some tokens: whole blocks (in `path`), then part of another one.
  struct Match {
    NodeId tail = NodeId::kNone;
    int num_tail_tokens = 0;
    bool adopts_tail = false;  // all of a partly filled leaf without a writer: go on in it, without a copy
    EntryId entry = EntryId::kNone;  // of all the tokens, with logits: a full hit
    // What was in the way of a longer match, if anything.
    NodeId expired_node = NodeId::kNone;
    EntryId expired_entry = EntryId::kNone;
  };

  Impl(const KvCacheConfig& config, const Clock& clock)
      : config(config),
        clock(clock),
        pool(config.num_blocks),
        tree(pool, config.block_size),
        entries(tree, config.num_blocks, num_entries_at_most(config), config.max_logits, config.logits_bytes),
        namespaces(tree, config.num_blocks * kNamespaceBytesPerBlock) {
    subtree.reserve(config.num_blocks);
  }

  // Lookup.
  bool is_expired(TimePoint created_at, TimePoint now) const { return now - created_at >= config.max_age; }
  Match match_prefix(NodeId root, std::span<const TokenId> tokens, std::vector<NodeId>& path) const;
  Match match_fresh_prefix(NodeId root, std::span<const TokenId> tokens);
  EntryId deepest_entry(const Match& match) const;
  int num_matched_tokens(const Match& match, const std::vector<NodeId>& path) const {
    return static_cast<int>(path.size()) * config.block_size + match.num_tail_tokens;
  }

  // Admission.
  std::optional<Admission> admit(NamespaceId ns, std::span<const TokenId> tokens, int num_tokens);
  bool fit(Match& match, int num_tokens);
  int num_blocks_for(int num_tokens) const {
    return (num_tokens + config.block_size - 1) / config.block_size;
  }
  int num_available() const { return pool.num_free() + tree.num_unpinned(); }
  BlockId allocate();

  // Publication.
  bool is_detached(const State& state) const {
    return state.num_shared > 0 && !tree.is_attached(tree.node_of(state.table[state.num_shared - 1]));
  }
  NodeId parent_of(const State& state, int i) const {
    return i == 0 ? state.ns->root : tree.node_of(state.table[i - 1]);
  }
  void publish(State& state, std::span<const TokenId> tokens);
  void publish_block(State& state, int i, std::span<const TokenId> tokens);
  void yield_to(State& state, int i, NodeId other, bool shares_it);
  void merge(NodeId from, NodeId to);
  bool is_entry_gone(const State& state) const {
    return state.entry != EntryId::kNone && entries.serial(state.entry) != state.entry_serial;
  }
  void remember_entry(State& state, EntryId entry, std::size_t num_prompt_tokens);

  // Eviction.
  void remove_entry(EntryId entry, std::int64_t& counter);
  void remove_node(NodeId node, std::int64_t& entry_counter);
  void remove_subtree(NodeId node, std::int64_t& entry_counter);
  void remove_unneeded(NodeId node);
  void remove_unneeded_ancestors(NodeId node);
  void evict_block();
  void evict_entry(EntryId entry, std::int64_t& counter);

  const KvCacheConfig config;
  const Clock& clock;
  BlockPool pool;
  PrefixTree tree;
  EntryTable entries;
  Namespaces namespaces;
  int num_sequences = 0;
  KvCacheStats counters;        // the counts of events; the rest is filled in by stats()
  std::vector<NodeId> path;     // of the lookup in progress
  std::vector<NodeId> subtree;  // that is being removed
};

// ---- Lookup

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
KvCache::Impl::Match KvCache::Impl::match_fresh_prefix(NodeId root, std::span<const TokenId> tokens) {
  for (;;) {
    Match match = match_prefix(root, tokens, path);
    if (match.expired_node != NodeId::kNone) {
      remove_subtree(match.expired_node, counters.evictions_ttl);
    } else if (match.expired_entry != EntryId::kNone) {
      evict_entry(match.expired_entry, counters.evictions_ttl);
    } else {
      return match;
    }
  }
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

// ---- Admission

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
  const bool copies = match.tail != NodeId::kNone && !adopts;
  if (copies && is_unpinned(match.tail) && num_needed == num_left) match = Match();
  return true;
}

std::optional<Admission> KvCache::Impl::admit(NamespaceId ns_id, std::span<const TokenId> tokens,
                                              int num_tokens) {
  KVASIR_CHECK(!tokens.empty());
  Namespace* const ns = namespaces.find(ns_id);
  path.clear();
  Match match;
  if (ns != nullptr) {
    ++ns->num_sequences;  // so that an eviction on the way does not forget it
    match = match_fresh_prefix(ns->root, tokens);
    num_tokens = std::max(num_tokens, num_matched_tokens(match, path));
  }
  const auto drop_if_too_short = [&] {
    if (num_matched_tokens(match, path) >= config.min_tokens) return;
    match = Match();
    path.clear();
  };
  drop_if_too_short();
  bool has_room = fit(match, num_tokens);
  if (has_room && !path.empty()) {
    drop_if_too_short();  // it may have lost its tail
    if (path.empty()) has_room = fit(match, num_tokens);
  }
  if (!has_room) {
    if (ns != nullptr) {
      --ns->num_sequences;
      namespaces.forget_if_empty(*ns);
    }
    return std::nullopt;
  }

  auto state = std::make_unique<State>();
  state->ns = ns;
  state->num_cached_tokens = num_matched_tokens(match, path);
  state->table.reserve(num_blocks_for(num_tokens));
  if (match.adopts_tail) path.push_back(match.tail);
  for (const NodeId node : path) {
    tree.pin(node);
    state->table.push_back(tree.block_of(node));
  }
  state->num_shared = static_cast<int>(path.size());

  const EntryId entry = deepest_entry(match);
  if (entry != EntryId::kNone) entries.touch(entry, clock.now());
  if (match.entry != EntryId::kNone) {
    remember_entry(*state, match.entry, tokens.size());
    state->last_logits = entries.logits(match.entry);
  }

  std::optional<BlockCopy> copy;
  const bool copies = match.tail != NodeId::kNone && !match.adopts_tail;
  if (copies) {
    tree.pin(match.tail);  // its own copy must not evict it
    state->begun_block = state->num_shared;
    state->begun_at = tree.created_at(match.tail);
  }
  while (static_cast<int>(state->table.size()) < num_blocks_for(num_tokens))
    state->table.push_back(allocate());
  if (copies) {
    tree.unpin(match.tail);
    copy = BlockCopy{tree.block_of(match.tail), state->table[state->num_shared]};
  }
  ++num_sequences;
  return Admission{SequenceBlocks(std::move(state)), copy};
}

BlockId KvCache::Impl::allocate() {
  if (pool.num_free() == 0) evict_block();
  return pool.allocate();
}

// ---- Publication

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
    remove_subtree(match.node, counters.evictions_ttl);
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
  // A leaf that nobody uses and that ends where this one goes on has nothing that this one lacks.
  const bool is_beginning = match.node != NodeId::kNone && match.num_tokens == tree.num_tokens(match.node);
  if (is_beginning && match.node != node && !tree.is_pinned(match.node)) merge(match.node, node);
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

// ---- Eviction

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

// ---- The public functions

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
         EntryTable::bytes_per_block() + entry_bytes + sizeof(NodeId) + kNamespaceBytesPerBlock;
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
      impl_->remove_subtree(impl_->tree.first_child(ns->root), impl_->counters.evictions_lru);
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
  }
  return admission;
}

std::optional<Admission> KvCache::resume(NamespaceId ns, std::span<const TokenId> tokens, int num_tokens) {
  return impl_->admit(ns, tokens, num_tokens);
}

SequenceBlocks KvCache::admit_private() {
  ++impl_->num_sequences;
  return SequenceBlocks(std::make_unique<SequenceBlocks::State>());
}

bool KvCache::reserve(SequenceBlocks& sequence, int num_tokens) {
  std::vector<BlockId>& table = sequence.state_->table;
  const int num_blocks = impl_->num_blocks_for(num_tokens);
  if (num_blocks - static_cast<int>(table.size()) > impl_->num_available()) return false;
  while (static_cast<int>(table.size()) < num_blocks) table.push_back(impl_->allocate());
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
    impl_->remove_entry(entry, impl_->counters.evictions_ttl);
    entry = EntryId::kNone;
  }
  if (entry != EntryId::kNone) {
    entries.touch(entry, impl_->clock.now());
  } else {
    const NodeId node =
        last < state.num_shared ? tree.node_of(state.table[last]) : tree.longest_match(parent, tokens).node;
    tree.add_entry(node);  // first, so that the node is needed while room is made
    if (entries.size() == entries.capacity()) {
      impl_->evict_entry(entries.least_recently_used(), impl_->counters.evictions_lru);
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
    has_end ? impl_->remove_unneeded(node) : impl_->remove_unneeded_ancestors(node);
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
  const std::int64_t num_evictions = impl_->counters.block_evictions;
  std::int64_t num_entries = 0;
  std::vector<NodeId> roots;
  for (const Namespace& ns : impl_->namespaces.by_use()) roots.push_back(ns.root);
  for (const NodeId root : roots) {
    impl_->subtree.clear();
    impl_->tree.append_subtree(root, impl_->subtree);
    while (impl_->subtree.size() > 1) {
      impl_->remove_node(impl_->subtree.back(), num_entries);
      impl_->subtree.pop_back();
    }
  }
  impl_->counters.block_evictions = num_evictions;
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
