#include "kv/prefix_tree.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <iterator>
#include <random>
#include <set>
#include <string>
#include <vector>

namespace kvasir::kv {
namespace {

using Tokens = std::vector<TokenId>;

class PrefixTreeTest : public ::testing::Test {
 protected:
  static constexpr int kBlockSize = 4;

  // A new node, and a sequence whose path ends there.
  NodeId add(NodeId parent, const Tokens& tokens) {
    if (!tree.is_root(parent)) pin_path(parent);
    const NodeId node = tree.insert(parent, pool.allocate(), tokens, TimePoint());
    tree.check_integrity();
    return node;
  }
  // Ends a sequence whose path ends at the node.
  void unpin_path(NodeId node) {
    for (NodeId parent; !tree.is_root(node); node = parent) {
      parent = tree.parent(node);
      tree.unpin(node);
      tree.check_integrity();
    }
  }
  void pin_path(NodeId node) {
    if (!tree.is_root(tree.parent(node))) pin_path(tree.parent(node));
    tree.pin(node);
  }

  // The tree below a node as text: "[1 2 3 4]([5] [6 7])"; a pinned node has a star.
  std::string draw(NodeId from) {
    std::vector<NodeId> nodes;
    tree.append_subtree(from, nodes);
    std::vector<NodeId> children;
    std::copy_if(nodes.begin(), nodes.end(), std::back_inserter(children),
                 [&](NodeId n) { return n != from && tree.parent(n) == from; });
    std::sort(children.begin(), children.end(), [&](NodeId a, NodeId b) {
      return std::ranges::lexicographical_compare(tree.tokens(a), tree.tokens(b));
    });
    std::string text;
    for (const NodeId child : children) {
      if (!text.empty()) text += ' ';
      text += '[';
      for (const TokenId token : tree.tokens(child)) text += std::to_string(token) + ' ';
      text.back() = ']';
      if (tree.is_pinned(child)) text += '*';
      if (!tree.is_leaf(child)) text.append("(").append(draw(child)).append(")");
    }
    return text;
  }

  BlockPool pool{8};
  PrefixTree tree{pool, kBlockSize};
  NodeId root = tree.add_root();
};

TEST_F(PrefixTreeTest, SplitsWithinABlockAsSiblings) {
  const NodeId trunk = add(root, {1, 2, 3, 4});
  EXPECT_EQ(draw(root), "[1 2 3 4]*");
  add(trunk, {5, 6, 7, 8});
  EXPECT_EQ(draw(root), "[1 2 3 4]*([5 6 7 8]*)");
  add(trunk, {5, 6, 9});
  EXPECT_EQ(draw(root), "[1 2 3 4]*([5 6 7 8]* [5 6 9]*)");
  add(root, {1, 2, 3, 5});
  EXPECT_EQ(draw(root), "[1 2 3 4]*([5 6 7 8]* [5 6 9]*) [1 2 3 5]*");
}

TEST_F(PrefixTreeTest, MatchEndsAtAnyToken) {
  const NodeId a = add(root, {1, 2, 3, 4});
  const NodeId b = add(root, {1, 2, 7});
  const auto expect = [&](const Tokens& tokens, NodeId node, int num_tokens) {
    const PrefixTree::ChildMatch match = tree.longest_match(root, tokens);
    EXPECT_EQ(match.node, node);
    EXPECT_EQ(match.num_tokens, num_tokens);
  };
  expect({1, 2, 3, 4}, a, 4);
  expect({1, 2, 3, 9}, a, 3);
  expect({1, 2, 7, 9}, b, 3);
  expect({1, 2, 7}, b, 3);
  expect({2}, NodeId::kNone, 0);
  EXPECT_EQ(tree.longest_match(root, Tokens{1}).num_tokens, 1);
  EXPECT_EQ(tree.longest_match(a, Tokens{1}).num_tokens, 0);
}

TEST_F(PrefixTreeTest, OfEqualMatchesPrefersAWholeNode) {
  add(root, {1, 2, 3, 4});
  const NodeId whole = add(root, {1, 2});
  EXPECT_EQ(tree.longest_match(root, Tokens{1, 2}).node, whole);
}

TEST_F(PrefixTreeTest, AGrowingLeafMovesAmongItsSiblings) {
  const NodeId leaf = add(root, {1, 2});
  add(root, {1, 2, 5, 5});
  EXPECT_EQ(draw(root), "[1 2]* [1 2 5 5]*");
  tree.extend(leaf, Tokens{1, 2, 9});
  tree.check_integrity();
  EXPECT_EQ(draw(root), "[1 2 5 5]* [1 2 9]*");
  EXPECT_EQ(tree.longest_match(root, Tokens{1, 2, 9}).node, leaf);
}

TEST_F(PrefixTreeTest, EvictsLeavesFirstAndTheOldestFirst) {
  // [1 2 3 4] ── [5 6 7 8] ── [9]
  //     └─────── [6]
  const NodeId trunk = add(root, {1, 2, 3, 4});
  const NodeId middle = add(trunk, {5, 6, 7, 8});
  const NodeId leaf = add(middle, {9});
  const NodeId other = add(trunk, {6});
  EXPECT_EQ(tree.least_recently_used(), NodeId::kNone);
  for (const NodeId node : {leaf, middle, trunk}) unpin_path(node);
  EXPECT_EQ(draw(root), "[1 2 3 4]*([5 6 7 8]([9]) [6]*)");
  unpin_path(other);
  std::vector<NodeId> evicted;
  while (tree.num_unpinned() > 0) {
    evicted.push_back(tree.least_recently_used());
    tree.remove(evicted.back());
    tree.check_integrity();
  }
  EXPECT_EQ(evicted, (std::vector<NodeId>{leaf, middle, other, trunk}));
  EXPECT_EQ(pool.num_free(), 8);
}

TEST_F(PrefixTreeTest, APinnedNodeThatIsRemovedLivesOnDetached) {
  const NodeId node = add(root, {1, 2, 3, 4});
  tree.remove(node);
  tree.check_integrity();
  EXPECT_EQ(draw(root), "");
  EXPECT_FALSE(tree.is_attached(node));
  EXPECT_EQ(pool.num_free(), 7);
  tree.unpin(node);
  EXPECT_EQ(pool.num_free(), 8);
}

TEST_F(PrefixTreeTest, RootsShareNothing) {
  const NodeId other = tree.add_root();
  add(root, {1, 2});
  EXPECT_EQ(tree.longest_match(other, Tokens{1, 2}).num_tokens, 0);
  tree.remove_root(other);
  EXPECT_EQ(tree.add_root(), other);
}

TEST(PrefixTree, FindsTheLongestMatchAmongManySiblings) {
  std::mt19937 random(3);
  BlockPool pool(2000);
  PrefixTree tree(pool, 8);
  const NodeId root = tree.add_root();
  std::set<Tokens> siblings;
  const auto draw_tokens = [&] {
    Tokens tokens(1 + random() % 8);
    for (TokenId& token : tokens) token = static_cast<TokenId>(random() % 3);
    return tokens;
  };
  while (pool.num_free() > 0) {
    const Tokens tokens = draw_tokens();
    if (siblings.insert(tokens).second) {
      tree.unpin(tree.insert(root, pool.allocate(), tokens, TimePoint()));
    } else if (random() % 4 == 0) {
      const PrefixTree::ChildMatch match = tree.longest_match(root, tokens);
      ASSERT_TRUE(std::ranges::equal(tree.tokens(match.node), tokens));
      tree.remove(match.node);
      siblings.erase(tokens);
    }
  }
  tree.check_integrity();
  for (int i = 0; i < 2000; ++i) {
    const Tokens tokens = draw_tokens();
    int longest = 0;
    for (const Tokens& sibling : siblings) {
      const std::size_t size = std::min(tokens.size(), sibling.size());
      const auto end = std::mismatch(tokens.begin(), tokens.begin() + size, sibling.begin()).first;
      longest = std::max(longest, static_cast<int>(end - tokens.begin()));
    }
    ASSERT_EQ(tree.longest_match(root, tokens).num_tokens, longest);
  }
}

TEST(IndexList, KeepsTheOrderOfUse) {
  IndexList list(4);
  for (const int i : {2, 0, 3}) list.push_front(i);
  EXPECT_EQ(list.back(), 2);
  list.move_to_front(2);
  EXPECT_EQ(list.back(), 0);
  EXPECT_EQ(list.newer(0), 3);
  list.remove(3);
  EXPECT_FALSE(list.contains(3));
  EXPECT_EQ(list.newer(0), 2);
  EXPECT_EQ(list.size(), 2);
}

TEST(BlockPool, ABlockIsFreeWhenItsLastReferenceGoes) {
  BlockPool pool(2);
  const BlockId a = pool.allocate();
  const BlockId b = pool.allocate();
  EXPECT_NE(a, b);
  EXPECT_EQ(pool.num_free(), 0);
  pool.ref(a);
  pool.unref(a);
  EXPECT_EQ(pool.num_free(), 0);
  pool.unref(a);
  EXPECT_EQ(pool.num_free(), 1);
  EXPECT_EQ(pool.allocate(), a);
  pool.check_integrity();
}

}  // namespace
}  // namespace kvasir::kv
