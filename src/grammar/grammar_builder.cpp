#include "grammar/grammar_builder.h"

#include <algorithm>
#include <cmath>
#include <utility>

#include "base/check.h"
#include "grammar/automaton.h"

namespace kvasir::grammar {
namespace {

// A repetition is written out up to this size. Above, it is made of chunks that are rules, about the square
// root of it, but not short ones: a mask near the end of a chunk depends on what is behind.
constexpr std::size_t kMaxWrittenOut = 20'000;
constexpr int kMinChunk = 256;
// What is larger becomes a rule before it is repeated many times.
constexpr std::size_t kMaxRepeatedSize = 64;

}  // namespace

void GrammarBuilder::fail(Status status) {
  if (status_.ok()) status_ = std::move(status);
}

Expr GrammarBuilder::add(Node node) {
  for (const Expr part : node.parts) node.depth = std::max(node.depth, this->node(part).depth + 1);
  if (node.depth > kMaxExpressionDepth) {
    fail(error(StatusCode::kInvalidArgument, "grammar: expressions are nested deeper than {}",
               kMaxExpressionDepth));
  }
  if (nodes_.size() >= kMaxExpressions) {
    fail(error(StatusCode::kInvalidArgument, "grammar: more than {} expressions", kMaxExpressions));
  }
  if (!status_.ok()) {
    // Whatever is added now will not be built; a leaf in its place keeps sizes and depths within bounds.
    if (!nodes_.empty()) return Expr{0};
    node = Node{};
  }
  nodes_.push_back(std::move(node));
  return Expr{static_cast<std::uint32_t>(nodes_.size() - 1)};
}

Expr GrammarBuilder::empty() {
  return literal("");
}

Expr GrammarBuilder::literal(std::string_view text) {
  Node node;
  node.kind = Kind::kLiteral;
  node.text = text;
  node.size = text.size();
  return add(std::move(node));
}

Expr GrammarBuilder::character(const CharacterClass& characters) {
  Node node;
  node.kind = Kind::kCharacter;
  node.characters = to_utf8_sequences(characters);
  node.size = 1 + node.characters.size();
  return add(std::move(node));
}

Expr GrammarBuilder::sequence(std::vector<Expr> parts) {
  if (parts.size() == 1) return parts[0];
  Node node;
  node.kind = Kind::kSequence;
  node.size = 0;
  for (const Expr part : parts) node.size += this->node(part).size;
  node.parts = std::move(parts);
  return add(std::move(node));
}

Expr GrammarBuilder::any_of(std::vector<Expr> alternatives) {
  if (alternatives.size() == 1) return alternatives[0];
  Node node;
  node.kind = Kind::kAnyOf;
  for (const Expr part : alternatives) node.size += this->node(part).size;
  node.parts = std::move(alternatives);
  return add(std::move(node));
}

Expr GrammarBuilder::repeat(Expr expression, int min, int max) {
  KVASIR_CHECK(min >= 0 && (max == kUnbounded || max >= min));
  if (std::max(min, max) > kMaxRepetitions) {
    fail(error(StatusCode::kInvalidArgument, "grammar: {} repetitions, expected at most {}",
               std::max(min, max), kMaxRepetitions));
    return expression;
  }
  if (min == 1 && max == 1) return expression;
  const auto num_copies = static_cast<std::size_t>(std::max({min, max, 1}));
  const std::size_t size = node(expression).size;
  if (num_copies * size <= kMaxWrittenOut) return add_repeat(expression, min, max);
  if (size > kMaxRepeatedSize && num_copies > 1) return repeat(shared("repeated", expression), min, max);
  if (num_copies == 1) return add_repeat(expression, min, max);
  return repeat_in_chunks(expression, min, max);
}

Expr GrammarBuilder::add_repeat(Expr expression, int min, int max) {
  Node node;
  node.kind = Kind::kRepeat;
  node.min = min;
  node.max = max;
  node.size = (this->node(expression).size + 1) * static_cast<std::size_t>(std::max({min, max, 1}));
  node.parts = {expression};
  return add(std::move(node));
}

// With chunks C = E{c}: E{m} is C{m / c} E{m % c}, and E{0,n} is C{0, n / c - 1} E{0, c - 1} | C{n / c} E{0,
// n % c}.
Expr GrammarBuilder::repeat_in_chunks(Expr expression, int min, int max) {
  const int chunk = std::max(kMinChunk, static_cast<int>(std::ceil(std::sqrt(std::max(min, max)))));
  const Expr whole = shared("chunk", add_repeat(expression, chunk, chunk));
  std::vector<Expr> parts = {add_repeat(whole, min / chunk, min / chunk),
                             add_repeat(expression, min % chunk, min % chunk)};
  if (max == kUnbounded) {
    parts.push_back(add_repeat(expression, 0, kUnbounded));
  } else if (const int more = max - min; more < chunk) {
    parts.push_back(add_repeat(expression, 0, more));
  } else {
    const Expr part = shared("part of a chunk", add_repeat(expression, 0, chunk - 1));
    const int num_chunks = more / chunk;
    parts.push_back(any_of(
        {sequence({add_repeat(whole, 0, num_chunks - 1), part}),
         sequence({add_repeat(whole, num_chunks, num_chunks), add_repeat(expression, 0, more % chunk)})}));
  }
  return sequence(std::move(parts));
}

RuleId GrammarBuilder::declare(std::string name, Calls calls) {
  if (rules_.size() >= kMaxRules) {
    fail(error(StatusCode::kInvalidArgument, "grammar: more than {} rules", kMaxRules));
    return 0;
  }
  rules_.push_back({std::move(name), calls, std::nullopt});
  return static_cast<RuleId>(rules_.size() - 1);
}

void GrammarBuilder::define(RuleId rule, Expr expression) {
  rules_[rule].expression = expression;
}

Expr GrammarBuilder::call(RuleId rule) {
  Node node;
  node.kind = Kind::kCall;
  node.rule = rule;
  return add(std::move(node));
}

Expr GrammarBuilder::shared(std::string name, Expr expression) {
  const RuleId rule = declare(std::move(name), Calls::kShare);
  define(rule, expression);
  return call(rule);
}

Result<std::shared_ptr<const Grammar>> GrammarBuilder::build(Expr root) const {
  KVASIR_RETURN_IF_ERROR(status_);
  KVASIR_ASSIGN_OR_RETURN(const Nfa nfa, make_nfa(*this, root));
  KVASIR_ASSIGN_OR_RETURN(Automaton automaton, determinize(nfa));
  KVASIR_RETURN_IF_ERROR(check_and_trim(automaton));
  return std::make_shared<const Grammar>(std::move(automaton.rules), std::move(automaton.states));
}

}  // namespace kvasir::grammar
