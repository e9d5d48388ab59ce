#include <algorithm>
#include <unordered_map>
#include <utility>

#include "base/check.h"
#include "grammar/automaton.h"

namespace kvasir::grammar {
namespace {

// A rule of at most this size, which calls no rule that calls it, is copied into its callers,
constexpr std::size_t kMaxInlinedSize = 64;
constexpr int kMaxInlinedDepth = 100;
// as long as the whole has not become larger than this.
constexpr std::size_t kMaxStatesWithInlining = kMaxStates / 8;

using Kind = GrammarBuilder::Kind;
using Node = GrammarBuilder::Node;

// Which rules are small and call nothing recursive: from the leaves of the calls upward.
class InlinePlan {
 public:
  explicit InlinePlan(const GrammarBuilder& builder)
      : builder_(builder),
        is_inlined_(builder.rules().size()),
        sizes_(is_inlined_.size(), 1),
        depths_(sizes_) {
    const std::size_t num_rules = builder.rules().size();
    std::vector<std::vector<RuleId>> callers(num_rules);
    std::vector<std::size_t> num_unknown(num_rules);
    std::vector<RuleId> ready;
    for (RuleId rule = 0; rule < num_rules; ++rule) {
      std::vector<RuleId> callees = calls_of(rule);
      std::sort(callees.begin(), callees.end());
      callees.erase(std::unique(callees.begin(), callees.end()), callees.end());
      num_unknown[rule] = callees.size();
      for (const RuleId callee : callees) callers[callee].push_back(rule);
      if (callees.empty()) ready.push_back(rule);
    }
    while (!ready.empty()) {
      const RuleId rule = ready.back();
      ready.pop_back();
      decide(rule);
      for (const RuleId caller : callers[rule]) {
        if (--num_unknown[caller] == 0) ready.push_back(caller);
      }
    }
  }

  bool is_inlined(RuleId rule) const { return is_inlined_[rule]; }

 private:
  // The expressions of a rule, each once.
  std::vector<Expr> expressions_of(RuleId rule) const {
    std::vector<Expr> found;
    if (!builder_.rules()[rule].expression) return found;
    found.push_back(*builder_.rules()[rule].expression);
    std::unordered_map<std::uint32_t, bool> seen;
    for (std::size_t i = 0; i < found.size(); ++i) {
      for (const Expr part : builder_.node(found[i]).parts) {
        if (seen.emplace(static_cast<std::uint32_t>(part), true).second) found.push_back(part);
      }
    }
    return found;
  }

  std::vector<RuleId> calls_of(RuleId rule) const {
    std::vector<RuleId> calls;
    for (const Expr expression : expressions_of(rule)) {
      const Node& node = builder_.node(expression);
      if (node.kind == Kind::kCall) calls.push_back(node.rule);
    }
    return calls;
  }

  // Requires: its callees have been decided.
  void decide(RuleId rule) {
    const GrammarBuilder::Rule& definition = builder_.rules()[rule];
    if (!definition.expression || definition.calls == GrammarBuilder::Calls::kShare) return;
    std::size_t size = builder_.node(*definition.expression).size, depth = 0;
    for (const RuleId callee : calls_of(rule)) {
      size += sizes_[callee];
      depth = std::max(depth, depths_[callee]);
    }
    depth += static_cast<std::size_t>(builder_.node(*definition.expression).depth);
    is_inlined_[rule] = size <= kMaxInlinedSize && depth <= kMaxInlinedDepth;
    if (is_inlined_[rule]) {
      sizes_[rule] = size;
      depths_[rule] = depth;
    }
  }

  const GrammarBuilder& builder_;
  std::vector<bool> is_inlined_;
  std::vector<std::size_t> sizes_, depths_;
};

// Builds from the end to the beginning: compile(e, next) is the state from which e leads to `next`. The same
// expression before the same state is the same state, so alternatives share their ends.
class NfaBuilder {
 public:
  explicit NfaBuilder(const GrammarBuilder& builder) : builder_(builder), plan_(builder) {}

  Result<Nfa> build(Expr root) {
    nfa_.rules.resize(1);
    nfa_.rules[0].name = "root";
    rule_ids_.assign(builder_.rules().size(), 0);
    nfa_.rules[0].start = compile(root, add_accept());
    for (std::size_t i = 0; i < called_.size(); ++i) {
      const GrammarBuilder::Rule& rule = builder_.rules()[called_[i]];
      if (!rule.expression)
        return error(StatusCode::kInvalidArgument, "grammar: rule '{}' is not defined", rule.name);
      memo_.clear();
      bytes_.clear();
      const StateId start = compile(*rule.expression, add_accept());
      nfa_.rules[i + 1] = {rule.name, start};
      if (is_too_large()) break;
    }
    if (is_too_large()) {
      return error(StatusCode::kInvalidArgument, "grammar: more than {} states are needed", kMaxStates);
    }
    return std::move(nfa_);
  }

 private:
  bool is_too_large() const { return nfa_.states.size() > kMaxStates; }

  StateId add(NfaState state) {
    nfa_.states.push_back(std::move(state));
    return static_cast<StateId>(nfa_.states.size() - 1);
  }

  StateId add_accept() {
    NfaState state;
    state.kind = NfaState::Kind::kAccept;
    return add(std::move(state));
  }

  StateId add_bytes(std::uint8_t first, std::uint8_t last, StateId target) {
    const std::uint64_t key = std::uint64_t{target} << 16 | std::uint64_t{first} << 8 | last;
    const auto [found, is_new] = bytes_.try_emplace(key, kNoState);
    if (!is_new) return found->second;
    NfaState state;
    state.kind = NfaState::Kind::kBytes;
    state.first = first;
    state.last = last;
    state.target = target;
    return found->second = add(std::move(state));
  }

  StateId add_split(std::vector<StateId> alternatives) {
    std::sort(alternatives.begin(), alternatives.end());
    alternatives.erase(std::unique(alternatives.begin(), alternatives.end()), alternatives.end());
    if (alternatives.size() == 1) return alternatives[0];
    NfaState state;
    state.alternatives = std::move(alternatives);
    return add(std::move(state));
  }

  StateId add_call(RuleId rule, StateId next) {
    if (rule_ids_[rule] == 0) {
      called_.push_back(rule);
      nfa_.rules.emplace_back();
      rule_ids_[rule] = static_cast<RuleId>(called_.size());
    }
    NfaState state;
    state.kind = NfaState::Kind::kCall;
    state.rule = rule_ids_[rule];
    state.target = next;
    return add(std::move(state));
  }

  StateId compile(Expr expression, StateId next) {
    if (is_too_large()) return next;
    const std::uint64_t key = static_cast<std::uint64_t>(expression) << 32 | next;
    if (const auto found = memo_.find(key); found != memo_.end()) return found->second;
    const StateId entry = compile_node(builder_.node(expression), next);
    memo_.emplace(key, entry);
    return entry;
  }

  StateId compile_node(const Node& node, StateId next) {
    switch (node.kind) {
      case Kind::kLiteral:
        for (auto byte = node.text.rbegin(); byte != node.text.rend(); ++byte) {
          next = add_bytes(static_cast<std::uint8_t>(*byte), static_cast<std::uint8_t>(*byte), next);
        }
        return next;
      case Kind::kCharacter:
        return compile_character(node, next);
      case Kind::kSequence:
        for (auto part = node.parts.rbegin(); part != node.parts.rend(); ++part) next = compile(*part, next);
        return next;
      case Kind::kAnyOf: {
        std::vector<StateId> alternatives;
        for (const Expr part : node.parts) alternatives.push_back(compile(part, next));
        return add_split(std::move(alternatives));
      }
      case Kind::kRepeat:
        return compile_repeat(node, next);
      case Kind::kCall:
        if (plan_.is_inlined(node.rule) && nfa_.states.size() < kMaxStatesWithInlining) {
          return compile(*builder_.rules()[node.rule].expression, next);
        }
        return add_call(node.rule, next);
    }
    return next;
  }

  StateId compile_character(const Node& node, StateId next) {
    std::vector<StateId> alternatives;
    for (const Utf8Sequence& sequence : node.characters) {
      StateId at = next;
      for (int i = sequence.size - 1; i >= 0; --i)
        at = add_bytes(sequence.bytes[i].first, sequence.bytes[i].last, at);
      alternatives.push_back(at);
    }
    return add_split(std::move(alternatives));
  }

  StateId compile_repeat(const Node& node, StateId next) {
    const Expr part = node.parts[0];
    if (node.max == GrammarBuilder::kUnbounded) {
      const StateId loop = add({});
      const StateId body = compile(part, loop);
      nfa_.states[loop].alternatives = {body, next};
      next = loop;
    } else {
      const StateId end = next;
      for (int i = node.min; i < node.max && !is_too_large(); ++i)
        next = add_split({compile(part, next), end});
    }
    for (int i = 0; i < node.min && !is_too_large(); ++i) next = compile(part, next);
    return next;
  }

  const GrammarBuilder& builder_;
  const InlinePlan plan_;
  Nfa nfa_;
  std::vector<RuleId> called_;                       // rules of the builder; called_[i] is rule i + 1 of nfa_
  std::vector<RuleId> rule_ids_;                     // by rule of the builder; 0: not called yet
  std::unordered_map<std::uint64_t, StateId> memo_;  // of one rule: (expression, next) to entry
  std::unordered_map<std::uint64_t, StateId> bytes_;  // of one rule: (target, first, last) to state
};

}  // namespace

Result<Nfa> make_nfa(const GrammarBuilder& builder, Expr root) {
  return NfaBuilder(builder).build(root);
}

}  // namespace kvasir::grammar
