#pragma once

// The stages of GrammarBuilder::build(): expressions to nondeterministic automata (Thompson 1968), each
// rule's to a deterministic one (subset construction) where that stays small, and the whole without what
// leads nowhere.

#include <cstdint>
#include <vector>

#include "base/status.h"
#include "grammar/grammar.h"
#include "grammar/grammar_builder.h"

namespace kvasir::grammar {

// A state with one kind of way out.
struct NfaState {
  enum class Kind : std::uint8_t { kBytes, kCall, kSplit, kAccept };
  Kind kind = Kind::kSplit;
  std::uint8_t first = 0, last = 0;   // kBytes
  RuleId rule = 0;                    // kCall
  StateId target = kNoState;          // kBytes, kCall (where it goes on)
  std::vector<StateId> alternatives;  // kSplit
};

struct NfaRule {
  std::string name;
  StateId start = kNoState;
};

// Rule 0 is the root; states of all rules together.
struct Nfa {
  std::vector<NfaRule> rules;
  std::vector<NfaState> states;
};

// Errors: kInvalidArgument for an undefined rule, and over kMaxStates.
Result<Nfa> make_nfa(const GrammarBuilder& builder, Expr root);

// Rules and states of a grammar that is not checked yet. Errors: kInvalidArgument over kMaxStates.
struct Automaton {
  std::vector<Grammar::Rule> rules;
  std::vector<Grammar::State> states;
};
Result<Automaton> determinize(const Nfa& nfa);

// Removes ways that reach no end and marks nullable rules.
// Errors: kInvalidArgument for a left-recursive rule and a root that matches no finite text.
Status check_and_trim(Automaton& automaton);

}  // namespace kvasir::grammar
