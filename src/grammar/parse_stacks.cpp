#include "grammar/parse_stacks.h"

#include <algorithm>
#include <utility>

namespace kvasir::grammar {

bool ParseStacks::start(const Grammar& grammar, RuleId rule, std::vector<Config>& configs) {
  const std::size_t begin = configs.size();
  configs.push_back({grammar.rules()[rule].start, kBottom});
  return close(grammar, begin, configs);
}

bool ParseStacks::advance(const Grammar& grammar, std::size_t begin, std::size_t end, std::uint8_t byte,
                          std::vector<Config>& configs) {
  const std::size_t added = configs.size();
  for (std::size_t i = begin; i < end; ++i) {
    const Config from = configs[i];
    const StateId target = grammar.next(from.state, byte);
    if (target != kNoState) add({target, from.node}, added, configs);
  }
  return close(grammar, added, configs);
}

bool ParseStacks::leave(const Grammar& grammar, NodeId node, std::vector<Config>& configs) {
  if (node == kBottom) return true;
  const std::size_t begin = configs.size();
  for (std::uint32_t edge = first_edges_[node]; edge != kNoEdge; edge = edges_[edge].next) {
    add({edges_[edge].return_to, edges_[edge].caller}, begin, configs);
  }
  return close(grammar, begin, configs);
}

void ParseStacks::add(Config config, std::size_t begin, std::vector<Config>& configs) {
  if (configs.size() - begin >= kMaxConfigs) return;
  if (std::find(configs.begin() + static_cast<std::ptrdiff_t>(begin), configs.end(), config) ==
      configs.end()) {
    configs.push_back(config);
  }
}

bool ParseStacks::close(const Grammar& grammar, std::size_t begin, std::vector<Config>& configs) {
  bool leaves_bottom = false;
  opened_.clear();
  for (std::size_t i = begin; i < configs.size(); ++i) {
    const Config config = configs[i];
    const Grammar::State& state = grammar.states()[config.state];
    for (const StateId target : state.epsilons) add({target, config.node}, begin, configs);
    for (const Grammar::Call& call : state.calls) enter(grammar, call, config.node, begin, configs);
    if (!state.accepts) continue;
    if (config.node == kBottom) {
      leaves_bottom = true;
    } else {
      // A node of this byte may get callers after this; its rule matched nothing, and enter() went past it
      // already.
      for (std::uint32_t edge = first_edges_[config.node]; edge != kNoEdge; edge = edges_[edge].next) {
        add({edges_[edge].return_to, edges_[edge].caller}, begin, configs);
      }
    }
  }
  return leaves_bottom;
}

void ParseStacks::enter(const Grammar& grammar, const Grammar::Call& call, NodeId caller, std::size_t begin,
                        std::vector<Config>& configs) {
  const Grammar::Rule& rule = grammar.rules()[call.rule];
  if (rule.is_nullable) add({call.return_to, caller}, begin, configs);
  if (grammar.states()[call.return_to].only_accepts()) {
    // The callee's end is the caller's: right recursion needs no stack.
    return add({rule.start, caller}, begin, configs);
  }
  auto opened = std::find_if(opened_.begin(), opened_.end(),
                             [&](const Opened& each) { return each.rule == call.rule; });
  if (opened == opened_.end()) {
    first_edges_.push_back(kNoEdge);
    opened_.push_back({call.rule, static_cast<NodeId>(first_edges_.size() - 1)});
    opened = opened_.end() - 1;
  }
  const NodeId node = opened->node;
  for (std::uint32_t edge = first_edges_[node]; edge != kNoEdge; edge = edges_[edge].next) {
    if (edges_[edge].return_to == call.return_to && edges_[edge].caller == caller) return;
  }
  edges_.push_back({call.return_to, caller, first_edges_[node]});
  first_edges_[node] = static_cast<std::uint32_t>(edges_.size() - 1);
  add({rule.start, node}, begin, configs);
}

void ParseStacks::compact(std::vector<Config>& configs) {
  std::vector<NodeId> renumbered(first_edges_.size(), kNoEdge), kept = {kBottom};
  renumbered[kBottom] = kBottom;
  const auto keep = [&](NodeId node) {
    if (renumbered[node] != kNoEdge) return renumbered[node];
    kept.push_back(node);
    return renumbered[node] = static_cast<NodeId>(kept.size() - 1);
  };
  for (Config& config : configs) config.node = keep(config.node);
  std::vector<std::uint32_t> first_edges;
  std::vector<Edge> edges;
  for (std::size_t i = 0; i < kept.size(); ++i) {
    std::uint32_t first = kNoEdge;
    for (std::uint32_t edge = first_edges_[kept[i]]; edge != kNoEdge; edge = edges_[edge].next) {
      edges.push_back({edges_[edge].return_to, keep(edges_[edge].caller), first});
      first = static_cast<std::uint32_t>(edges.size() - 1);
    }
    first_edges.push_back(first);
  }
  first_edges_ = std::move(first_edges);
  edges_ = std::move(edges);
}

}  // namespace kvasir::grammar
