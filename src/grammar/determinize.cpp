#include <algorithm>
#include <map>
#include <unordered_map>
#include <utility>

#include "grammar/automaton.h"

namespace kvasir::grammar {
namespace {

// How far the deterministic automaton of a rule may outgrow the other one. A rule that would need more stays
// as it is:
// `(a|b)*a(a|b){20}` has a million deterministic states.
constexpr std::size_t kMaxGrowth = 4, kMaxSmall = 1024;
// And how many steps all rules together may take, about 50 ms.
constexpr std::size_t kMaxSteps = 5'000'000;

using Subset = std::vector<StateId>;  // ascending

struct SubsetHash {
  std::size_t operator()(const Subset& subset) const {
    std::uint64_t hash = 0xcbf29ce484222325;
    for (const StateId state : subset) hash = (hash ^ state) * 0x100000001b3;
    return static_cast<std::size_t>(hash ^ hash >> 29);
  }
};

class Determinizer {
 public:
  explicit Determinizer(const Nfa& nfa) : nfa_(nfa), seen_(nfa.states.size(), 0) {}

  Result<Automaton> run() {
    for (const NfaRule& rule : nfa_.rules) {
      Grammar::Rule result;
      result.name = rule.name;
      if (!determinize_rule(rule, result)) copy_rule(rule, result);
      out_.rules.push_back(std::move(result));
      if (out_.states.size() > kMaxStates) {
        return error(StatusCode::kInvalidArgument, "grammar: more than {} states are needed", kMaxStates);
      }
    }
    return std::move(out_);
  }

 private:
  // False, and nothing added, when that takes too much.
  bool determinize_rule(const NfaRule& rule, Grammar::Rule& result) {
    const std::size_t begin = out_.states.size();
    const std::size_t limit =
        std::min(kMaxSmall + kMaxGrowth * count_states(rule.start), kMaxStates - std::min(begin, kMaxStates));
    subsets_.clear();
    queue_.clear();
    result.start = state_of(close({rule.start}));
    for (std::size_t i = 0; i < queue_.size(); ++i) {
      expand(static_cast<StateId>(begin + i), *queue_[i]);
      if (queue_.size() > limit || num_steps_ > kMaxSteps) {
        out_.states.resize(begin);
        return false;
      }
    }
    return true;
  }

  std::size_t count_states(StateId start) {
    std::size_t count = 0;
    visit(start, [&](StateId) { ++count; });
    return count;
  }

  // Calls `function` for all states of the rule that begins at `start`.
  template <typename Function>
  void visit(StateId start, Function function) {
    ++generation_;
    Subset stack = {start};
    seen_[start] = generation_;
    const auto push = [&](StateId state) {
      if (seen_[state] != generation_) {
        seen_[state] = generation_;
        stack.push_back(state);
      }
    };
    while (!stack.empty()) {
      const StateId state = stack.back();
      stack.pop_back();
      function(state);
      if (nfa_.states[state].target != kNoState) push(nfa_.states[state].target);
      for (const StateId each : nfa_.states[state].alternatives) push(each);
    }
  }

  // What `states` are without reading anything; splits themselves are left out.
  Subset close(Subset stack) {
    ++generation_;
    Subset result;
    for (const StateId state : stack) seen_[state] = generation_;
    while (!stack.empty()) {
      const StateId state = stack.back();
      stack.pop_back();
      ++num_steps_;
      if (nfa_.states[state].kind != NfaState::Kind::kSplit) result.push_back(state);
      for (const StateId each : nfa_.states[state].alternatives) {
        if (seen_[each] == generation_) continue;
        seen_[each] = generation_;
        stack.push_back(each);
      }
    }
    std::sort(result.begin(), result.end());
    return result;
  }

  StateId state_of(Subset subset) {
    const auto [found, is_new] =
        subsets_.try_emplace(std::move(subset), static_cast<StateId>(out_.states.size()));
    if (is_new) {
      out_.states.emplace_back();
      queue_.push_back(&found->first);
    }
    return found->second;
  }

  void expand(StateId state, const Subset& subset) {
    std::map<RuleId, Subset> returns;
    std::vector<const NfaState*> readers;
    for (const StateId each : subset) {
      const NfaState& nfa_state = nfa_.states[each];
      if (nfa_state.kind == NfaState::Kind::kAccept) out_.states[state].accepts = true;
      if (nfa_state.kind == NfaState::Kind::kCall) returns[nfa_state.rule].push_back(nfa_state.target);
      if (nfa_state.kind == NfaState::Kind::kBytes) readers.push_back(&nfa_state);
    }
    for (auto& [rule, targets] : returns) {
      std::sort(targets.begin(), targets.end());
      targets.erase(std::unique(targets.begin(), targets.end()), targets.end());
      const StateId target = state_of(close(std::move(targets)));
      out_.states[state].calls.push_back({rule, target});
    }
    add_edges(state, readers);
  }

  // Cuts the bytes where a reader begins or ends; between two cuts the readers are the same.
  void add_edges(StateId state, const std::vector<const NfaState*>& readers) {
    bool is_cut[257] = {};
    for (const NfaState* reader : readers) is_cut[reader->first] = is_cut[reader->last + 1] = true;
    for (int first = 0; first < 256;) {
      int end = first + 1;
      while (end < 256 && !is_cut[end]) ++end;
      Subset targets;
      for (const NfaState* reader : readers) {
        if (reader->first <= first && first <= reader->last) targets.push_back(reader->target);
      }
      num_steps_ += readers.size();
      if (!targets.empty()) {
        std::sort(targets.begin(), targets.end());
        targets.erase(std::unique(targets.begin(), targets.end()), targets.end());
        add_edge(state, static_cast<std::uint8_t>(first), static_cast<std::uint8_t>(end - 1),
                 state_of(close(std::move(targets))));
      }
      first = end;
    }
  }

  void add_edge(StateId state, std::uint8_t first, std::uint8_t last, StateId target) {
    std::vector<Grammar::Edge>& edges = out_.states[state].edges;
    if (!edges.empty() && edges.back().target == target && edges.back().last + 1 == first) {
      edges.back().last = last;
    } else {
      edges.push_back({target, first, last});
    }
  }

  // The states of a rule one to one.
  void copy_rule(const NfaRule& rule, Grammar::Rule& result) {
    std::unordered_map<StateId, StateId> ids;
    visit(rule.start, [&](StateId state) {
      ids.emplace(state, static_cast<StateId>(out_.states.size()));
      out_.states.emplace_back();
    });
    result.start = ids.at(rule.start);
    for (const auto& [from, to] : ids) {
      const NfaState& state = nfa_.states[from];
      Grammar::State& copy = out_.states[to];
      copy.accepts = state.kind == NfaState::Kind::kAccept;
      if (state.kind == NfaState::Kind::kBytes)
        copy.edges.push_back({ids.at(state.target), state.first, state.last});
      if (state.kind == NfaState::Kind::kCall) copy.calls.push_back({state.rule, ids.at(state.target)});
      for (const StateId each : state.alternatives) copy.epsilons.push_back(ids.at(each));
    }
  }

  const Nfa& nfa_;
  Automaton out_;
  std::vector<std::uint32_t> seen_;  // by state: the generation that saw it last
  std::uint32_t generation_ = 0;
  std::size_t num_steps_ = 0;
  std::unordered_map<Subset, StateId, SubsetHash> subsets_;  // of one rule; keys stay where they are
  std::vector<const Subset*> queue_;  // the subsets of one rule in the order of their states
};

}  // namespace

Result<Automaton> determinize(const Nfa& nfa) {
  return Determinizer(nfa).run();
}

}  // namespace kvasir::grammar
