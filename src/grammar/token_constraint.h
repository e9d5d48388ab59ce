#pragma once

// Constrained decoding: which tokens may come next, as a bit mask over the vocabulary.
//
// CompiledGrammar is a grammar over a vocabulary with the masks that have been computed so far, shared by all
// sequences that are constrained by it; any thread may use one, and it is made on the thread of the request
// (HTTP). TokenConstraint is the state of one sequence, a value that lives in its request: copied for each of
// n choices, and made anew to replay tokens. One thread at a time: fill_mask() may run on another thread
// while the forward runs, when its call is ordered with accept() (which the engine's thread calls with each
// sampled token).
//
// A mask depends on the stacks only through tokens that end the current rule. For each state, the tokens that
// do not, and the places of the trie where the others leave the rule, are computed once (as XGrammar does:
// Dong et al. 2024); fill_mask() ORs them for the states that the sequence is in and walks on from those
// places alone.

#include <atomic>
#include <cstdint>
#include <memory>
#include <span>
#include <vector>

#include "base/ids.h"
#include "grammar/grammar.h"
#include "grammar/matcher.h"
#include "grammar/token_table.h"

namespace kvasir::grammar {

struct StateMask;

class CompiledGrammar {
 public:
  // Beyond `max_mask_bytes`, masks of further states are computed each time.
  CompiledGrammar(std::shared_ptr<const Grammar> grammar, std::shared_ptr<const TokenTable> tokens,
                  std::size_t max_mask_bytes = std::size_t{64} << 20);
  ~CompiledGrammar();
  CompiledGrammar(const CompiledGrammar&) = delete;
  CompiledGrammar& operator=(const CompiledGrammar&) = delete;

  const std::shared_ptr<const Grammar>& grammar() const { return grammar_; }
  const TokenTable& tokens() const { return *tokens_; }

  // Computes masks ahead, those of states near the beginning first, for at most this long. Returns whether
  // all are there.
  bool warm_up(double max_ms) const;
  std::size_t mask_bytes() const { return mask_bytes_.load(std::memory_order_relaxed); }

  // The mask of a state: a kept one, or computed now into `scratch`. O(1) when kept.
  const StateMask& mask(StateId state, std::unique_ptr<StateMask>& scratch) const;

 private:
  const StateMask* keep(StateId state, std::unique_ptr<StateMask>& mask) const;

  std::shared_ptr<const Grammar> grammar_;    // shared with matchers
  std::shared_ptr<const TokenTable> tokens_;  // shared with all grammars over the vocabulary
  const std::size_t max_mask_bytes_;
  const std::vector<StateId> equal_states_;  // by state: whose mask it has
  // By state, set once and owned.
  std::unique_ptr<std::atomic<const StateMask*>[]> masks_;
  mutable std::atomic<std::size_t> mask_bytes_ = 0;
};

class TokenConstraint {
 public:
  explicit TokenConstraint(std::shared_ptr<const CompiledGrammar> compiled);

  std::size_t mask_words() const { return compiled_->tokens().mask_words(); }

  // Sets the bits of the tokens that may come next and clears all others; false when there is none (the text
  // has ended, or no token of the vocabulary fits). Stop tokens are set when the text is complete. Requires:
  // bits.size() == mask_words().
  bool fill_mask(std::span<std::uint32_t> bits);

  // Takes the next token; false, and no effect, when it is not allowed. A stop token ends the text.
  bool accept(TokenId token);
  bool can_accept(TokenId token) const;

  // A stop token has come, or none but stop tokens may.
  bool is_finished() const { return is_stopped_ || matcher_.is_at_end(); }
  // The text may end here.
  bool is_complete() const { return matcher_.is_complete(); }

 private:
  // ORs in what is allowed in one way of having read the text.
  void add_allowed(const Config& config, std::span<std::uint32_t> bits);

  std::shared_ptr<const CompiledGrammar> compiled_;  // shared with the constraints of the same grammar
  GrammarMatcher matcher_;
  bool is_stopped_ = false;
  std::vector<Config> scratch_;
};

}  // namespace kvasir::grammar
