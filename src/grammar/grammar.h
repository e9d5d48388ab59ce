#pragma once

// A grammar over bytes, compiled: what a GrammarMatcher runs. Made by a GrammarBuilder, which front ends
// fill: GBNF (grammar/gbnf.h), regular expressions (grammar/regex.h), JSON Schema (grammar/json_schema.h).
//
// Each rule is a finite automaton over bytes, deterministic where its size allows, whose edges may also call
// rules: together they accept what a context-free grammar without left recursion does. Every state can still
// reach an end, so what a matcher has accepted can always be finished. Immutable, shared by threads.

#include <cstddef>
#include <cstdint>
#include <string>
#include <utility>
#include <vector>

namespace kvasir::grammar {

using StateId = std::uint32_t;
using RuleId = std::uint32_t;
inline constexpr StateId kNoState = ~StateId{0};

// The bounds of a grammar from outside. What exceeds one is kInvalidArgument, with the number.
inline constexpr std::size_t kMaxTextBytes = 1 << 20;    // a grammar's, pattern's or schema's text
inline constexpr std::size_t kMaxExpressions = 200'000;  // nodes in a builder
inline constexpr std::size_t kMaxRules = 20'000;
inline constexpr int kMaxExpressionDepth = 1'000;
inline constexpr int kMaxRepetitions = 100'000;     // in {m,n}, minLength, maxItems
inline constexpr std::size_t kMaxStates = 100'000;  // of the automata, all rules together

class Grammar {
 public:
  struct Edge {
    StateId target;
    std::uint8_t first, last;  // the bytes, inclusive
    bool operator==(const Edge&) const = default;
  };
  struct Call {
    RuleId rule;
    StateId return_to;
    bool operator==(const Call&) const = default;
  };
  struct State {
    std::vector<Edge> edges;  // disjoint, ascending
    std::vector<Call> calls;
    std::vector<StateId>
        epsilons;          // other states that this one also is; only where a rule is not deterministic
    bool accepts = false;  // the rule may end here

    // Being here is being nowhere else: the way back, the callees and the epsilons need no look.
    bool is_plain() const { return !accepts && calls.empty() && epsilons.empty(); }
    // Nothing is left to do but return.
    bool only_accepts() const { return accepts && edges.empty() && calls.empty() && epsilons.empty(); }
    bool operator==(const State&) const = default;
  };
  struct Rule {
    std::string name;
    StateId start = kNoState;
    bool is_nullable = false;  // may match nothing
    bool operator==(const Rule&) const = default;
  };

  Grammar(std::vector<Rule> rules, std::vector<State> states)
      : rules_(std::move(rules)), states_(std::move(states)) {}

  bool operator==(const Grammar&) const = default;

  // rules()[0] is the root.
  const std::vector<Rule>& rules() const { return rules_; }
  const std::vector<State>& states() const { return states_; }

  // Where `byte` leads from `state`; kNoState if nowhere.
  StateId next(StateId state, std::uint8_t byte) const {
    for (const Edge& edge : states_[state].edges) {
      if (byte <= edge.last) return byte >= edge.first ? edge.target : kNoState;
    }
    return kNoState;
  }

 private:
  std::vector<Rule> rules_;
  std::vector<State> states_;
};

}  // namespace kvasir::grammar
