#include <algorithm>
#include <optional>
#include <utility>

#include "grammar/automaton.h"

namespace kvasir::grammar {
namespace {

// The states from which their rule can end, all rules together; a call counts once the callee can end. With
// `reads_bytes` false: without reading anything. O(edges).
class EndingStates {
 public:
  EndingStates(const Automaton& automaton, bool reads_bytes)
      : automaton_(automaton),
        ends_(automaton.states.size()),
        sources_(automaton.states.size()),
        returns_(automaton.states.size()),
        starts_(automaton.states.size()),
        callers_(automaton.rules.size()) {
    for (RuleId rule = 0; rule < automaton.rules.size(); ++rule)
      starts_[automaton.rules[rule].start].push_back(rule);
    for (StateId state = 0; state < automaton.states.size(); ++state) {
      const Grammar::State& from = automaton.states[state];
      if (reads_bytes) {
        for (const Grammar::Edge& edge : from.edges) sources_[edge.target].push_back(state);
      }
      for (const StateId target : from.epsilons) sources_[target].push_back(state);
      for (const Grammar::Call& call : from.calls) {
        callers_[call.rule].push_back({state, call});
        returns_[call.return_to].push_back({state, call});
      }
      if (from.accepts) mark(state);
    }
    run();
  }

  bool operator()(StateId state) const { return ends_[state]; }
  bool rule_ends(RuleId rule) const { return ends_[automaton_.rules[rule].start]; }

 private:
  struct CallSite {
    StateId state;
    Grammar::Call call;
  };

  void mark(StateId state) {
    if (!ends_[state]) queue_.push_back(state);
    ends_[state] = true;
  }

  void mark_if_ends(const CallSite& site) {
    if (ends_[site.call.return_to] && rule_ends(site.call.rule)) mark(site.state);
  }

  void run() {
    while (!queue_.empty()) {
      const StateId state = queue_.back();
      queue_.pop_back();
      for (const StateId source : sources_[state]) mark(source);
      for (const CallSite& site : returns_[state]) mark_if_ends(site);
      for (const RuleId rule : starts_[state]) {
        for (const CallSite& site : callers_[rule]) mark_if_ends(site);
      }
    }
  }

  const Automaton& automaton_;
  std::vector<bool> ends_;
  std::vector<std::vector<StateId>> sources_;   // by target of edges
  std::vector<std::vector<CallSite>> returns_;  // by the state that they return to
  std::vector<std::vector<RuleId>> starts_;     // the rules that begin at a state
  std::vector<std::vector<CallSite>> callers_;  // by rule
  std::vector<StateId> queue_;
};

void remove_dead(Automaton& automaton) {
  const EndingStates ends(automaton, true);
  for (Grammar::State& state : automaton.states) {
    std::erase_if(state.edges, [&](const Grammar::Edge& edge) { return !ends(edge.target); });
    std::erase_if(state.epsilons, [&](StateId target) { return !ends(target); });
    std::erase_if(state.calls, [&](const Grammar::Call& call) {
      return !ends(call.return_to) || !ends.rule_ends(call.rule);
    });
  }
}

// Looks for a circle of steps that read nothing and enter a rule: strongly connected components of the graph
// whose edges are epsilons, calls, and the way past a call that may match nothing (Tarjan 1972, with a stack
// of its own).
class LeftRecursion {
 public:
  explicit LeftRecursion(const Automaton& automaton)
      : automaton_(automaton), index_(automaton.states.size(), 0), low_(index_), component_(index_) {}

  std::optional<RuleId> find() {
    for (StateId state = 0; state < automaton_.states.size(); ++state) {
      if (index_[state] == 0) walk(state);
    }
    for (StateId state = 0; state < automaton_.states.size(); ++state) {
      for (const Grammar::Call& call : automaton_.states[state].calls) {
        if (component_[state] == component_[automaton_.rules[call.rule].start]) return call.rule;
      }
    }
    return std::nullopt;
  }

 private:
  struct Visit {
    StateId state;
    std::vector<StateId> targets;
    std::size_t next = 0;
  };

  std::vector<StateId> targets_of(StateId state) const {
    std::vector<StateId> targets = automaton_.states[state].epsilons;
    for (const Grammar::Call& call : automaton_.states[state].calls) {
      targets.push_back(automaton_.rules[call.rule].start);
      if (automaton_.rules[call.rule].is_nullable) targets.push_back(call.return_to);
    }
    return targets;
  }

  void open(StateId state) {
    index_[state] = low_[state] = ++num_opened_;
    path_.push_back(state);
    visits_.push_back({state, targets_of(state)});
  }

  void walk(StateId root) {
    open(root);
    while (!visits_.empty()) {
      Visit& visit = visits_.back();
      const StateId state = visit.state;
      if (visit.next < visit.targets.size()) {
        const StateId target = visit.targets[visit.next++];
        if (index_[target] == 0) {
          open(target);
        } else if (component_[target] == 0) {
          low_[state] = std::min(low_[state], index_[target]);
        }
        continue;
      }
      visits_.pop_back();
      if (!visits_.empty()) low_[visits_.back().state] = std::min(low_[visits_.back().state], low_[state]);
      if (low_[state] == index_[state]) close_component(state);
    }
  }

  void close_component(StateId root) {
    ++num_components_;
    for (StateId state = kNoState; state != root; path_.pop_back()) {
      state = path_.back();
      component_[state] = num_components_;
    }
  }

  const Automaton& automaton_;
  std::vector<std::uint32_t> index_, low_, component_;  // by state; 0: not yet
  std::vector<StateId> path_;
  std::vector<Visit> visits_;
  std::uint32_t num_opened_ = 0, num_components_ = 0;
};

}  // namespace

Status check_and_trim(Automaton& automaton) {
  remove_dead(automaton);
  const EndingStates is_nullable(automaton, false);
  for (RuleId rule = 0; rule < automaton.rules.size(); ++rule) {
    automaton.rules[rule].is_nullable = is_nullable.rule_ends(rule);
  }
  if (const EndingStates ends(automaton, true); !ends.rule_ends(0)) {
    return error(StatusCode::kInvalidArgument, "grammar: no finite text matches it");
  }
  if (const auto rule = LeftRecursion(automaton).find()) {
    return error(StatusCode::kInvalidArgument, "grammar: rule '{}' is left-recursive: it begins with itself",
                 automaton.rules[*rule].name);
  }
  return Status();
}

}  // namespace kvasir::grammar
