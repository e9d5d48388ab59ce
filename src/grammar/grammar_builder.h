#pragma once

// Puts a grammar together from expressions and named rules, and compiles it. The front ends add to a builder,
// so that what they make can be wrapped; a tool call, one or more:
//
//   GrammarBuilder b;
//   KVASIR_ASSIGN_OR_RETURN(Expr arguments, add_json_schema(b, schema));
//   Expr call = b.sequence({b.literal("<tool_call>\n{\"name\": \"f\", \"arguments\": "), arguments,
//                           b.literal("}\n</tool_call>")});
//   KVASIR_ASSIGN_OR_RETURN(auto grammar, b.build(b.repeat(call, 1, GrammarBuilder::kUnbounded)));
//
// One thread. What exceeds a limit of grammar/grammar.h is remembered, and build() returns it.

#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/status.h"
#include "grammar/character_class.h"
#include "grammar/grammar.h"

namespace kvasir::grammar {

// An expression of one builder. Immutable, may be used in many places.
enum class Expr : std::uint32_t {};

class GrammarBuilder {
 public:
  static constexpr int kUnbounded = -1;

  Expr empty();                         // matches nothing at all, that is, always
  Expr literal(std::string_view text);  // these bytes
  Expr character(const CharacterClass& characters);
  Expr sequence(std::vector<Expr> parts);
  Expr any_of(std::vector<Expr> alternatives);  // of none: never matches
  // Requires: 0 <= min, and max is kUnbounded or >= min.
  Expr repeat(Expr expression, int min, int max);
  Expr optional(Expr expression) { return repeat(expression, 0, 1); }

  // How a call of a rule is compiled.
  enum class Calls {
    // Small rules become part of their callers: what follows a call is then known when masks are made.
    kMayInline,
    // Always a rule of its own: one automaton, and its masks, for all callers.
    kShare,
  };
  // A rule that is defined later: recursion is possible this way. `name` is for messages.
  RuleId declare(std::string name, Calls calls = Calls::kMayInline);
  void define(RuleId rule, Expr expression);
  Expr call(RuleId rule);
  Expr shared(std::string name, Expr expression);  // declare, define and call

  // The grammar that matches `root`. The builder may go on.
  // Errors: kInvalidArgument for a rule that is left-recursive or not defined, for a root that matches no
  // finite text, and for a limit.
  Result<std::shared_ptr<const Grammar>> build(Expr root) const;

  // The first limit that was exceeded.
  const Status& status() const { return status_; }

  // For the compiler.
  enum class Kind : std::uint8_t { kLiteral, kCharacter, kSequence, kAnyOf, kRepeat, kCall };
  struct Node {
    Kind kind = Kind::kLiteral;
    int min = 0, max = 0;  // kRepeat
    RuleId rule = 0;       // kCall
    int depth = 1;
    std::size_t size = 1;                  // about how many states it takes, without the rules that it calls
    std::string text;                      // kLiteral
    std::vector<Utf8Sequence> characters;  // kCharacter
    std::vector<Expr> parts;               // kSequence, kAnyOf, kRepeat
  };
  struct Rule {
    std::string name;
    Calls calls = Calls::kMayInline;
    std::optional<Expr> expression;
  };
  const Node& node(Expr expression) const { return nodes_[static_cast<std::size_t>(expression)]; }
  const std::vector<Rule>& rules() const { return rules_; }

 private:
  Expr add(Node node);
  Expr add_repeat(Expr expression, int min, int max);
  Expr repeat_in_chunks(Expr expression, int min, int max);
  void fail(Status status);

  std::vector<Node> nodes_;
  std::vector<Rule> rules_;
  Status status_;
};

}  // namespace kvasir::grammar
