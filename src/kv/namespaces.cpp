#include "kv/namespaces.h"

#include <algorithm>

#include "base/check.h"

namespace kvasir::kv {

Namespaces::Namespaces(PrefixTree& tree, std::size_t budget_bytes)
    : tree_(tree), budget_bytes_(budget_bytes) {
  add("");
  bytes_ = 0;
}

std::size_t Namespaces::bytes_of(std::string_view salt) {
  // Beside the list's node: three hash nodes with a bucket each, and a root.
  constexpr std::size_t kIndexBytes = 3 * 64 + 2 * sizeof(NodeId);
  return sizeof(Namespace) + 2 * sizeof(void*) + kIndexBytes + salt.size();
}

Namespace* Namespaces::find(NamespaceId id) {
  const auto found = by_id_.find(id);
  return found == by_id_.end() ? nullptr : &*found->second;
}

const Namespace* Namespaces::find(NamespaceId id) const {
  const auto found = by_id_.find(id);
  return found == by_id_.end() ? nullptr : &*found->second;
}

Namespace* Namespaces::open(std::string_view salt) {
  const auto found = by_salt_.find(salt);
  if (found == by_salt_.end()) return nullptr;
  by_use_.splice(by_use_.begin(), by_use_, found->second);
  return &by_use_.front();
}

Namespace& Namespaces::add(std::string_view salt) {
  by_use_.push_front({NamespaceId{++last_id_}, std::string(salt), tree_.add_root(), 0});
  Namespace& ns = by_use_.front();
  const bool is_new = by_salt_.emplace(ns.salt, by_use_.begin()).second;
  KVASIR_CHECK(is_new);
  by_id_.emplace(ns.id, by_use_.begin());
  by_root_.emplace(ns.root, by_use_.begin());
  bytes_ += bytes_of(salt);
  return ns;
}

Namespace* Namespaces::least_recently_opened() {
  const auto may_go = [](const Namespace& ns) { return ns.num_sequences == 0 && !ns.salt.empty(); };
  const auto found = std::find_if(by_use_.rbegin(), by_use_.rend(), may_go);
  return found == by_use_.rend() ? nullptr : &*found;
}

void Namespaces::forget_if_empty(NodeId root) {
  forget_if_empty(*by_root_.at(root));
}

void Namespaces::forget_if_empty(Namespace& ns) {
  if (ns.salt.empty() || ns.num_sequences > 0 || !tree_.is_leaf(ns.root)) return;
  bytes_ -= bytes_of(ns.salt);
  tree_.remove_root(ns.root);
  const Iterator at = by_id_.at(ns.id);
  by_salt_.erase(ns.salt);
  by_id_.erase(ns.id);
  by_root_.erase(ns.root);
  by_use_.erase(at);
}

void Namespaces::check_integrity() const {
  std::size_t bytes = 0;
  for (auto ns = by_use_.begin(); ns != by_use_.end(); ++ns) {
    KVASIR_CHECK(ns->num_sequences >= 0 && tree_.is_root(ns->root));
    KVASIR_CHECK(by_salt_.at(ns->salt) == ns && by_id_.at(ns->id) == ns && by_root_.at(ns->root) == ns);
    if (!ns->salt.empty()) bytes += bytes_of(ns->salt);
  }
  KVASIR_CHECK(bytes == bytes_ && bytes_ <= budget_bytes_);
  KVASIR_CHECK(by_salt_.size() == by_use_.size() && by_id_.size() == by_use_.size() &&
               by_root_.size() == by_use_.size());
}

}  // namespace kvasir::kv
