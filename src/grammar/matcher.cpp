#include "grammar/matcher.h"

#include <algorithm>
#include <utility>

namespace kvasir::grammar {

GrammarMatcher::GrammarMatcher(std::shared_ptr<const Grammar> grammar) : grammar_(std::move(grammar)) {
  is_complete_ = stacks_.start(*grammar_, 0, configs_);
  nodes_after_compact_ = stacks_.num_nodes();
}

bool GrammarMatcher::accept(std::string_view bytes) {
  const ParseStacks::Mark mark = stacks_.mark();
  const std::size_t num_configs = configs_.size();
  bool is_complete = is_complete_;
  std::size_t begin = 0;
  for (const char byte : bytes) {
    const std::size_t end = configs_.size();
    is_complete = stacks_.advance(*grammar_, begin, end, static_cast<std::uint8_t>(byte), configs_);
    begin = end;
    if (configs_.size() == begin) {
      stacks_.reset(mark);
      configs_.resize(num_configs);
      return false;
    }
  }
  configs_.erase(configs_.begin(), configs_.begin() + static_cast<std::ptrdiff_t>(begin));
  is_complete_ = is_complete;
  constexpr std::size_t kSlack = 64;
  if (stacks_.num_nodes() > 2 * nodes_after_compact_ + kSlack) {
    stacks_.compact(configs_);
    nodes_after_compact_ = stacks_.num_nodes();
  }
  return true;
}

bool GrammarMatcher::is_at_end() const {
  return is_complete_ && std::all_of(configs_.begin(), configs_.end(), [&](const Config& config) {
           return grammar_->states()[config.state].edges.empty();
         });
}

}  // namespace kvasir::grammar
