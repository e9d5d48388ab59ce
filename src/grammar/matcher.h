#pragma once

// Where a text is in a grammar, byte by byte. One thread at a time; a copy is independent and costs what is
// on the stacks.

#include <memory>
#include <string_view>
#include <vector>

#include "grammar/grammar.h"
#include "grammar/parse_stacks.h"

namespace kvasir::grammar {

class GrammarMatcher {
 public:
  explicit GrammarMatcher(std::shared_ptr<const Grammar> grammar);

  // Reads `bytes`; false, and no effect, when the grammar does not allow them here.
  bool accept(std::string_view bytes);

  // What was read is a text of the grammar (though it may go on).
  bool is_complete() const { return is_complete_; }
  // Nothing may follow.
  bool is_at_end() const;

  const Grammar& grammar() const { return *grammar_; }
  // The ways in which the text may have been read, at most kMaxConfigs.
  const std::vector<Config>& configs() const { return configs_; }
  // Callers that add to the stacks put them back (ParseStacks::mark).
  ParseStacks& stacks() { return stacks_; }

 private:
  std::shared_ptr<const Grammar> grammar_;  // shared with all matchers of the grammar
  ParseStacks stacks_;
  std::vector<Config> configs_;
  bool is_complete_ = false;
  std::size_t nodes_after_compact_ = 0;
};

}  // namespace kvasir::grammar
