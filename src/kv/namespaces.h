#pragma once

// The namespaces: salts, and the root of the prefix tree that each has to itself. The default one, of the
// empty salt, is always there. Their memory is bounded: salts come from clients. Engine thread only.
//
//   by use   "tenant-b" <-> "tenant-a" <-> ...       opened last ... not opened for longest
//            root 3         root 1
//
// Invariant: bytes() is the sum of bytes_of(salt) of all namespaces but the default one, and at most
// budget().

#include <cstddef>
#include <cstdint>
#include <list>
#include <string>
#include <string_view>
#include <unordered_map>

#include "kv/prefix_tree.h"

namespace kvasir::kv {

// A namespace; an id is never used again after its namespace was forgotten.
enum class NamespaceId : std::int64_t {
  kUnshared = -1,  // of a salt that there is no memory for: nothing matches, nothing is kept
};

struct Namespace {
  NamespaceId id;
  std::string salt;
  NodeId root;
  int num_sequences = 0;  // running
};

class Namespaces {
 public:
  Namespaces(PrefixTree& tree, std::size_t budget_bytes);

  // What a namespace takes, index entries included.
  static std::size_t bytes_of(std::string_view salt);

  std::size_t bytes() const { return bytes_; }
  std::size_t budget_bytes() const { return budget_bytes_; }
  int size() const { return static_cast<int>(by_use_.size()); }
  const std::list<Namespace>& by_use() const { return by_use_; }
  // In an otherwise empty table; now.
  bool can_hold(std::string_view salt) const { return bytes_of(salt) <= budget_bytes_; }
  bool has_room(std::string_view salt) const { return bytes_ + bytes_of(salt) <= budget_bytes_; }

  // Null when there is none. Valid until it is forgotten.
  Namespace* find(NamespaceId id);
  const Namespace* find(NamespaceId id) const;
  // The same, and it counts as a use.
  Namespace* open(std::string_view salt);
  // Requires: none with this salt; has_room(salt).
  Namespace& add(std::string_view salt);

  // The one not opened for longest that no sequence runs in, the default one apart; null when there is none.
  // O(number of those with sequences).
  Namespace* least_recently_opened();
  // Forgets a namespace that has neither nodes nor sequences; no effect on others and on the default one.
  void forget_if_empty(NodeId root);
  void forget_if_empty(Namespace& ns);

  void check_integrity() const;

 private:
  using Iterator = std::list<Namespace>::iterator;

  PrefixTree& tree_;
  const std::size_t budget_bytes_;
  std::size_t bytes_ = 0;
  std::int64_t last_id_ = -1;
  std::list<Namespace> by_use_;
  std::unordered_map<std::string_view, Iterator> by_salt_;  // the keys are the namespaces' own strings
  std::unordered_map<NamespaceId, Iterator> by_id_;
  std::unordered_map<NodeId, Iterator> by_root_;
};

}  // namespace kvasir::kv
