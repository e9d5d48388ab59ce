#pragma once

// A template as a tree. Immutable after parsing, so that any number of threads may walk it.

#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "tokenizer/jinja/value.h"

namespace kvasir::tokenizer::jinja {

struct Expression;
struct Statement;
struct Builtin;
using ExpressionPtr = std::unique_ptr<Expression>;
using Body = std::vector<Statement>;

// A variable's name as a number: an index into SyntaxTree::names.
using Symbol = int;
inline constexpr Symbol kNoSymbol = -1;

struct Call {
  std::vector<ExpressionPtr> positional;
  std::vector<std::pair<std::string, ExpressionPtr>> named;
  ExpressionPtr star, double_star;  // *list and **dict, or null
};

enum class ExpressionKind : std::uint8_t {
  kConstant,   // value
  kName,       // symbol
  kTuple,      // operands
  kList,       // operands
  kDict,       // operands: key, value, key, value
  kCondition,  // operands: condition, value, else (may be null)
  kOr,
  kAnd,
  kNot,
  kCompare,  // operands: one more than comparisons
  kAdd,
  kSubtract,
  kMultiply,
  kDivide,
  kFloorDivide,
  kModulo,
  kPower,
  kConcat,
  kNegate,
  kPlus,
  kAttribute,  // operand, text
  kItem,       // operands: value, key
  kSlice,      // operands: value, start, stop, step (null: none)
  kCall,       // operand, call
  kFilter,     // operand (null: the text of a block), text, builtin, call
  kTest,       // operand, text, builtin, call
};

enum class Comparison : std::uint8_t {
  kEqual,
  kNotEqual,
  kLess,
  kLessEqual,
  kGreater,
  kGreaterEqual,
  kIn,
  kNotIn
};

struct Expression {
  ExpressionKind kind;
  int line = 0;
  int depth = 1;  // of the tree below
  Symbol symbol = kNoSymbol;
  const Builtin* builtin = nullptr;  // of a filter or test; null: there is none of that name
  Value value;                       // a string's bytes are in `text`, a wide integer is in `wide`
  std::string text;
  std::unique_ptr<Int> wide;
  std::vector<ExpressionPtr> operands;
  std::vector<Comparison> comparisons;
  std::unique_ptr<Call> call;
};

// What is assigned to: a name, an attribute of a namespace, or several of these.
struct Target {
  int line = 0;
  Symbol symbol = kNoSymbol;    // of the name, or of the namespace
  std::string attribute;        // empty: the name itself
  std::vector<Target> targets;  // not empty: a tuple
  bool is_tuple = false;
};

struct Parameter {
  Symbol symbol;
  std::string name;
  ExpressionPtr default_value;  // may be null
};

enum class StatementKind : std::uint8_t {
  kText,         // text
  kPrint,        // expression
  kFor,          // target, expression, condition (may be null), body, else_body
  kIf,           // branches, else_body
  kSet,          // target, expression
  kSetBlock,     // target, filter (may be null), body
  kWith,         // assignments, body
  kMacro,        // symbol, text (its name), parameters, body
  kCallBlock,    // expression (a call), parameters, body
  kFilterBlock,  // filter, body
  kScope,        // body: {% generation %}, {% autoescape false %}, {% block name scoped %}
  kBlock,        // body: sees top-level variables only
  kBreak,
  kContinue,
  kLoadTemplate,  // include, import, extends: there is nothing to load from
};

struct Branch {
  ExpressionPtr condition;
  Body body;
};

struct Assignment {
  Target target;
  ExpressionPtr value;
};

struct Statement {
  StatementKind kind;
  int line = 0;
  std::string text;
  Symbol symbol = kNoSymbol;
  Target target;
  ExpressionPtr expression, condition, filter;
  Body body, else_body;
  std::vector<Branch> branches;
  std::vector<Assignment> assignments;
  std::vector<Parameter> parameters;
  bool is_recursive = false;
  bool reads_loop = false;  // the body has the name `loop` in it
  // Of a macro or call block: which of the special variables its body reads.
  bool reads_caller = false, reads_varargs = false, reads_kwargs = false;
};

// Names that statements define by themselves.
inline constexpr Symbol kLoopSymbol = 0, kCallerSymbol = 1, kVarargsSymbol = 2, kKwargsSymbol = 3;

struct SyntaxTree {
  std::vector<std::string> names;  // by symbol
  Body body;
};

}  // namespace kvasir::tokenizer::jinja
