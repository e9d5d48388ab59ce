#include "grammar/token_constraint.h"

#include <algorithm>
#include <chrono>
#include <utility>

#include "base/check.h"
#include "grammar/equal_states.h"
#include "grammar/trie_walk.h"

namespace kvasir::grammar {

// What a state allows whatever is on the stacks below it.
struct StateMask {
  // The allowed tokens: as bits where there are many, else as ids.
  std::vector<std::uint32_t> bits;
  std::vector<TokenId> ids;
  // Where tokens go on behind the end of the state's rule: nodes of the trie, grouped by their byte.
  struct Group {
    std::uint8_t byte;
    std::uint32_t end;  // in `behind`; begins where the one before ends
  };
  std::vector<Group> groups;
  std::vector<std::uint32_t> behind;

  std::size_t num_bytes() const {
    return sizeof(StateMask) + 4 * (bits.capacity() + ids.capacity() + behind.capacity()) +
           sizeof(Group) * groups.capacity();
  }
};

namespace {

void set_bit(std::span<std::uint32_t> bits, TokenId id) {
  bits[static_cast<std::size_t>(id) / 32] |= std::uint32_t{1} << (id % 32);
}

std::unique_ptr<StateMask> make_mask(const Grammar& grammar, const TokenTable& tokens, StateId state) {
  auto mask = std::make_unique<StateMask>();
  std::vector<std::uint32_t> left_at;
  ParseStacks stacks;
  std::vector<Config> configs = {{state, ParseStacks::kBottom}};
  TrieWalk walk(grammar, tokens, stacks, configs);
  walk.run(
      0, tokens.num_nodes(), 0, [&](TokenId id) { mask->ids.push_back(id); },
      [&](std::uint32_t node) { left_at.push_back(node); });
  if (mask->ids.size() > tokens.mask_words()) {
    mask->bits.resize(tokens.mask_words());
    for (const TokenId id : mask->ids) set_bit(mask->bits, id);
    mask->ids = {};
  }
  const auto& nodes = tokens.nodes();
  for (const std::uint32_t node : left_at) {
    for (std::uint32_t child = node + 1; child < nodes[node].subtree_end; child = nodes[child].subtree_end) {
      mask->behind.push_back(child);
    }
  }
  std::stable_sort(mask->behind.begin(), mask->behind.end(),
                   [&](std::uint32_t a, std::uint32_t b) { return nodes[a].byte < nodes[b].byte; });
  for (std::uint32_t i = 0; i < mask->behind.size(); ++i) {
    const std::uint8_t byte = nodes[mask->behind[i]].byte;
    if (mask->groups.empty() || mask->groups.back().byte != byte) mask->groups.push_back({byte, i});
    mask->groups.back().end = i + 1;
  }
  mask->ids.shrink_to_fit();
  mask->behind.shrink_to_fit();
  mask->groups.shrink_to_fit();
  return mask;
}

}  // namespace

CompiledGrammar::CompiledGrammar(std::shared_ptr<const Grammar> grammar,
                                 std::shared_ptr<const TokenTable> tokens, std::size_t max_mask_bytes)
    : grammar_(std::move(grammar)),
      tokens_(std::move(tokens)),
      max_mask_bytes_(max_mask_bytes),
      equal_states_(find_equal_states(*grammar_, tokens_->max_token_bytes())),
      masks_(new std::atomic<const StateMask*>[grammar_->states().size()]()) {}

CompiledGrammar::~CompiledGrammar() {
  for (std::size_t i = 0; i < grammar_->states().size(); ++i) {
    const std::unique_ptr<const StateMask> owned(masks_[i].load(std::memory_order_acquire));
  }
}

const StateMask& CompiledGrammar::mask(StateId state, std::unique_ptr<StateMask>& scratch) const {
  state = equal_states_[state];
  if (const StateMask* kept = masks_[state].load(std::memory_order_acquire)) return *kept;
  scratch = make_mask(*grammar_, *tokens_, state);
  const StateMask* kept = keep(state, scratch);
  return kept != nullptr ? *kept : *scratch;
}

// Takes the mask and returns the one that is kept, which may be another thread's; null when the memory is
// used up.
const StateMask* CompiledGrammar::keep(StateId state, std::unique_ptr<StateMask>& mask) const {
  const std::size_t num_bytes = mask->num_bytes();
  if (mask_bytes_.fetch_add(num_bytes, std::memory_order_relaxed) + num_bytes > max_mask_bytes_) {
    mask_bytes_.fetch_sub(num_bytes, std::memory_order_relaxed);
    return nullptr;
  }
  const StateMask* kept = nullptr;
  if (masks_[state].compare_exchange_strong(kept, mask.get(), std::memory_order_acq_rel))
    return mask.release();
  mask_bytes_.fetch_sub(num_bytes, std::memory_order_relaxed);
  mask.reset();
  return kept;
}

bool CompiledGrammar::warm_up(double max_ms) const {
  const auto begin = std::chrono::steady_clock::now();
  std::vector<bool> seen(grammar_->states().size());
  std::vector<StateId> queue;
  const auto push = [&](StateId state) {
    if (!seen[state]) queue.push_back(state);
    seen[state] = true;
  };
  push(grammar_->rules()[0].start);
  for (std::size_t i = 0; i < queue.size(); ++i) {
    if (std::chrono::duration<double, std::milli>(std::chrono::steady_clock::now() - begin).count() > max_ms)
      return false;
    const Grammar::State& state = grammar_->states()[queue[i]];
    for (const Grammar::Call& call : state.calls) {
      push(grammar_->rules()[call.rule].start);
      push(call.return_to);
    }
    for (const StateId target : state.epsilons) push(target);
    for (const Grammar::Edge& edge : state.edges) push(edge.target);
    if (state.edges.empty()) continue;  // it reads nothing: never asked for
    std::unique_ptr<StateMask> scratch;
    static_cast<void>(mask(queue[i], scratch));
    if (scratch != nullptr) return false;
  }
  return true;
}

TokenConstraint::TokenConstraint(std::shared_ptr<const CompiledGrammar> compiled)
    : compiled_(std::move(compiled)), matcher_(compiled_->grammar()) {}

bool TokenConstraint::fill_mask(std::span<std::uint32_t> bits) {
  KVASIR_CHECK(bits.size() == mask_words());
  std::fill(bits.begin(), bits.end(), 0);
  if (is_stopped_) return false;
  for (const Config& config : matcher_.configs()) add_allowed(config, bits);
  if (matcher_.is_complete()) {
    for (const TokenId id : compiled_->tokens().stop_ids()) set_bit(bits, id);
  }
  return std::any_of(bits.begin(), bits.end(), [](std::uint32_t word) { return word != 0; });
}

void TokenConstraint::add_allowed(const Config& config, std::span<std::uint32_t> bits) {
  const Grammar& grammar = *compiled_->grammar();
  if (grammar.states()[config.state].edges.empty()) return;
  std::unique_ptr<StateMask> computed;
  const StateMask& mask = compiled_->mask(config.state, computed);
  for (std::size_t i = 0; i < mask.bits.size(); ++i) bits[i] |= mask.bits[i];
  for (const TokenId id : mask.ids) set_bit(bits, id);
  if (mask.groups.empty() || config.node == ParseStacks::kBottom) return;

  ParseStacks& stacks = matcher_.stacks();
  const ParseStacks::Mark mark = stacks.mark();
  scratch_.clear();
  stacks.leave(grammar, config.node, scratch_);
  TrieWalk walk(grammar, compiled_->tokens(), stacks, scratch_);
  std::uint32_t at = 0;
  for (const StateMask::Group& group : mask.groups) {
    const bool fits = std::any_of(scratch_.begin(), scratch_.end(), [&](const Config& callers) {
      return grammar.next(callers.state, group.byte) != kNoState;
    });
    for (; fits && at < group.end; ++at) {
      walk.run(
          mask.behind[at], compiled_->tokens().nodes()[mask.behind[at]].subtree_end, 0,
          [&](TokenId id) { set_bit(bits, id); }, [](std::uint32_t) {});
    }
    at = group.end;
  }
  stacks.reset(mark);
}

bool TokenConstraint::accept(TokenId token) {
  if (is_stopped_) return false;
  if (compiled_->tokens().is_stop(token)) return is_stopped_ = matcher_.is_complete();
  const std::string_view bytes = compiled_->tokens().bytes(token);
  return !bytes.empty() && matcher_.accept(bytes);
}

bool TokenConstraint::can_accept(TokenId token) const {
  TokenConstraint copy = *this;
  return copy.accept(token);
}

}  // namespace kvasir::grammar
