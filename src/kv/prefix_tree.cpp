#include "kv/prefix_tree.h"

#include <algorithm>

#include "base/check.h"

namespace kvasir::kv {
namespace {

int common_prefix(std::span<const TokenId> a, std::span<const TokenId> b) {
  const std::size_t size = std::min(a.size(), b.size());
  return static_cast<int>(std::mismatch(a.begin(), a.begin() + size, b.begin()).first - a.begin());
}

// A treap's priority of a node: a bijection, so that there are no ties.
std::uint32_t priority(NodeId node) {
  auto x = static_cast<std::uint32_t>(node);
  x = (x ^ (x >> 16)) * 0x85ebca6bu;
  x = (x ^ (x >> 13)) * 0xc2b2ae35u;
  return x ^ (x >> 16);
}

}  // namespace

PrefixTree::PrefixTree(BlockPool& pool, int block_size)
    : pool_(pool),
      block_size_(block_size),
      nodes_(pool.num_blocks()),
      tokens_(static_cast<std::size_t>(pool.num_blocks()) * block_size),
      lru_(pool.num_blocks()) {}

std::size_t PrefixTree::bytes_per_block(int block_size) {
  return sizeof(Node) + block_size * sizeof(TokenId) + IndexList::bytes_per_index();
}

NodeId PrefixTree::add_root() {
  if (free_roots_.empty()) {
    roots_.push_back(NodeId::kNone);
    return NodeId{pool_.num_blocks() + static_cast<std::int32_t>(roots_.size()) - 1};
  }
  const NodeId root = free_roots_.back();
  free_roots_.pop_back();
  return root;
}

void PrefixTree::remove_root(NodeId root) {
  KVASIR_CHECK(is_root(root) && is_leaf(root));
  free_roots_.push_back(root);
}

std::span<const TokenId> PrefixTree::tokens(NodeId node) const {
  return {tokens_.data() + static_cast<std::size_t>(slot(node)) * block_size_,
          static_cast<std::size_t>(num_tokens(node))};
}

PrefixTree::ChildMatch PrefixTree::longest_match(NodeId parent, std::span<const TokenId> tokens) const {
  ChildMatch best;
  NodeId at = first_child(parent);
  while (at != NodeId::kNone) {
    const std::span<const TokenId> have = this->tokens(at);
    const auto common = static_cast<std::size_t>(common_prefix(tokens, have));
    const bool is_whole = common == have.size();
    const int length = static_cast<int>(common);
    if (length > best.num_tokens || (is_whole && length == best.num_tokens)) best = {at, length};
    const bool is_covered = common == tokens.size();
    if (is_whole && is_covered) break;
    const bool goes_left = is_covered || (!is_whole && tokens[common] < have[common]);
    at = goes_left ? nodes_[slot(at)].left : nodes_[slot(at)].right;
  }
  return best;
}

NodeId PrefixTree::insert(NodeId parent, BlockId block, std::span<const TokenId> tokens,
                          TimePoint created_at) {
  KVASIR_CHECK(pool_.num_refs(block) == 1);
  KVASIR_CHECK(is_root(parent) || (is_pinned(parent) && is_full(parent)));
  pool_.ref(block);
  const NodeId node = node_of(block);
  nodes_[slot(node)] = Node();
  nodes_[slot(node)].parent = parent;
  nodes_[slot(node)].created_at = created_at;
  set_tokens(node, tokens);
  link(node);
  ++num_nodes_;
  return node;
}

void PrefixTree::extend(NodeId node, std::span<const TokenId> tokens) {
  KVASIR_CHECK(common_prefix(this->tokens(node), tokens) == num_tokens(node));
  unlink(node);
  set_tokens(node, tokens);
  link(node);
}

void PrefixTree::remove(NodeId node) {
  KVASIR_CHECK(is_attached(node) && is_leaf(node) && num_entries(node) == 0);
  if (!is_pinned(node)) lru_.remove(slot(node));
  unlink(node);
  nodes_[slot(node)].parent = NodeId::kNone;
  --num_nodes_;
  pool_.unref(block_of(node));
}

void PrefixTree::append_subtree(NodeId node, std::vector<NodeId>& out) const {
  std::size_t next = out.size();
  // A binary tree's nodes are appended with their own; `out` is the queue.
  const auto append_siblings = [&](NodeId first) {
    const std::size_t begin = out.size();
    if (first != NodeId::kNone) out.push_back(first);
    for (std::size_t i = begin; i < out.size(); ++i) {
      const Node& at = nodes_[slot(out[i])];
      if (at.left != NodeId::kNone) out.push_back(at.left);
      if (at.right != NodeId::kNone) out.push_back(at.right);
    }
  };
  out.push_back(node);
  for (; next < out.size(); ++next) append_siblings(first_child(out[next]));
}

void PrefixTree::pin(NodeId node) {
  KVASIR_CHECK(is_attached(node) && (is_root(parent(node)) || is_pinned(parent(node))));
  if (!is_pinned(node)) lru_.remove(slot(node));
  pool_.ref(block_of(node));
}

void PrefixTree::unpin(NodeId node) {
  KVASIR_CHECK(!is_attached(node) || is_pinned(node));
  pool_.unref(block_of(node));
  if (is_attached(node) && !is_pinned(node)) lru_.push_front(slot(node));
}

NodeId PrefixTree::first_child(NodeId node) const {
  return is_root(node) ? roots_[slot(node) - pool_.num_blocks()] : nodes_[slot(node)].children;
}

NodeId& PrefixTree::children(NodeId node) {
  return is_root(node) ? roots_[slot(node) - pool_.num_blocks()] : nodes_[slot(node)].children;
}

bool PrefixTree::less(NodeId a, NodeId b) const {
  const std::span<const TokenId> x = tokens(a), y = tokens(b);
  return std::lexicographical_compare(x.begin(), x.end(), y.begin(), y.end());
}

void PrefixTree::set_tokens(NodeId node, std::span<const TokenId> tokens) {
  KVASIR_CHECK(!tokens.empty() && static_cast<int>(tokens.size()) <= block_size_);
  std::copy(tokens.begin(), tokens.end(),
            tokens_.begin() + static_cast<std::ptrdiff_t>(slot(node)) * block_size_);
  nodes_[slot(node)].num_tokens = static_cast<std::int32_t>(tokens.size());
}

// Puts the node among its siblings: down to where its priority belongs, then what was there is split around
// it.
void PrefixTree::link(NodeId node) {
  NodeId* at = &children(parent(node));
  while (*at != NodeId::kNone && priority(*at) > priority(node)) {
    at = less(node, *at) ? &nodes_[slot(*at)].left : &nodes_[slot(*at)].right;
  }
  NodeId rest = *at;
  *at = node;
  NodeId* left = &nodes_[slot(node)].left;
  NodeId* right = &nodes_[slot(node)].right;
  while (rest != NodeId::kNone) {
    if (less(node, rest)) {
      *right = rest;
      right = &nodes_[slot(rest)].left;
      rest = *right;
    } else {
      *left = rest;
      left = &nodes_[slot(rest)].right;
      rest = *left;
    }
  }
  *left = NodeId::kNone;
  *right = NodeId::kNone;
}

// Takes the node from among its siblings; what was below it in the treap is merged.
void PrefixTree::unlink(NodeId node) {
  NodeId* at = &children(parent(node));
  while (*at != node) {
    KVASIR_CHECK(*at != NodeId::kNone);
    at = less(node, *at) ? &nodes_[slot(*at)].left : &nodes_[slot(*at)].right;
  }
  NodeId left = nodes_[slot(node)].left;
  NodeId right = nodes_[slot(node)].right;
  while (left != NodeId::kNone && right != NodeId::kNone) {
    if (priority(left) > priority(right)) {
      *at = left;
      at = &nodes_[slot(left)].right;
      left = *at;
    } else {
      *at = right;
      at = &nodes_[slot(right)].left;
      right = *at;
    }
  }
  *at = left != NodeId::kNone ? left : right;
}

void PrefixTree::add_entries(NodeId node, int count) {
  for (; !is_root(node); node = parent(node)) nodes_[slot(node)].num_entries += count;
}

void PrefixTree::check_integrity() const {
  std::vector<int> age(nodes_.size(), -1);  // position in the LRU list from its back; -1: not in it
  int position = 0;
  for (std::int32_t i = lru_.back(); i != IndexList::kNone; i = lru_.newer(i)) age[i] = position++;
  KVASIR_CHECK(position == lru_.size());

  int num_reached = 0;
  int num_reached_unpinned = 0;
  std::vector<NodeId> reached;
  for (std::size_t r = 0; r < roots_.size(); ++r) {
    const NodeId root{pool_.num_blocks() + static_cast<std::int32_t>(r)};
    reached.clear();
    append_subtree(root, reached);
    for (const NodeId node : reached) {
      const int num_pins_below = check_children(node, age);
      if (is_root(node)) continue;
      ++num_reached;
      const int num_pins = pool_.num_refs(block_of(node)) - 1;
      KVASIR_CHECK(num_pins >= num_pins_below);
      KVASIR_CHECK(num_tokens(node) > 0 && num_tokens(node) <= block_size_);
      KVASIR_CHECK(is_full(node) || (is_leaf(node) && num_pins <= 1));
      KVASIR_CHECK((num_pins == 0) == (age[slot(node)] >= 0));
      num_reached_unpinned += num_pins == 0;
    }
  }
  KVASIR_CHECK(num_reached == num_nodes_ && num_reached_unpinned == lru_.size());
}

// Checks what concerns a node and its children together; returns how many pins the children have.
int PrefixTree::check_children(NodeId parent, const std::vector<int>& age) const {
  int num_pins = 0;
  int num_entries_below = 0;
  // In order of their tokens, with an explicit stack.
  std::vector<NodeId> stack;
  NodeId at = first_child(parent);
  NodeId previous = NodeId::kNone;
  while (at != NodeId::kNone || !stack.empty()) {
    for (; at != NodeId::kNone; at = nodes_[slot(at)].left) stack.push_back(at);
    at = stack.back();
    stack.pop_back();
    const Node& node = nodes_[slot(at)];
    KVASIR_CHECK(node.parent == parent);
    KVASIR_CHECK(previous == NodeId::kNone || less(previous, at));
    KVASIR_CHECK(node.left == NodeId::kNone || priority(node.left) < priority(at));
    KVASIR_CHECK(node.right == NodeId::kNone || priority(node.right) < priority(at));
    KVASIR_CHECK(is_root(parent) || age[slot(parent)] == -1 || age[slot(at)] < age[slot(parent)]);
    num_pins += pool_.num_refs(block_of(at)) - 1;
    num_entries_below += node.num_entries;
    previous = at;
    at = node.right;
  }
  KVASIR_CHECK(is_root(parent) || num_entries_below <= num_entries(parent));
  return num_pins;
}

}  // namespace kvasir::kv
