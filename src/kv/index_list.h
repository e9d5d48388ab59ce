#pragma once

// A doubly linked list over the indices 0..capacity-1 in order of use, all links preallocated: the LRU lists
// of nodes, entries and logits. Each index is in the list at most once. All operations are O(1).
//
//   front (used last) <-> ... <-> back (unused for longest)

#include <cstddef>
#include <cstdint>
#include <vector>

#include "base/check.h"

namespace kvasir::kv {

class IndexList {
 public:
  static constexpr std::int32_t kNone = -1;

  explicit IndexList(int capacity) : links_(capacity) {}

  static constexpr std::size_t bytes_per_index() { return sizeof(Link); }

  int size() const { return size_; }
  std::int32_t back() const { return back_; }  // kNone when empty
  bool contains(std::int32_t i) const { return links_[i].older != kAbsent; }
  // The neighbour of `i` towards the front; kNone for the front. Requires: contains(i).
  std::int32_t newer(std::int32_t i) const { return links_[i].newer; }

  // Requires: !contains(i).
  void push_front(std::int32_t i) {
    KVASIR_CHECK(!contains(i));
    links_[i] = {kNone, front_};
    (front_ == kNone ? back_ : links_[front_].newer) = i;
    front_ = i;
    ++size_;
  }

  // Requires: contains(i).
  void remove(std::int32_t i) {
    KVASIR_CHECK(contains(i));
    const Link link = links_[i];
    (link.newer == kNone ? front_ : links_[link.newer].older) = link.older;
    (link.older == kNone ? back_ : links_[link.older].newer) = link.newer;
    links_[i] = Link();
    --size_;
  }

  // Requires: contains(i).
  void move_to_front(std::int32_t i) {
    remove(i);
    push_front(i);
  }

 private:
  static constexpr std::int32_t kAbsent = -2;
  struct Link {
    std::int32_t newer = kNone;
    std::int32_t older = kAbsent;
  };

  std::vector<Link> links_;
  std::int32_t front_ = kNone;
  std::int32_t back_ = kNone;
  int size_ = 0;
};

}  // namespace kvasir::kv
