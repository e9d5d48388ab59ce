#pragma once

// Runs a template: walks its tree and appends to the output. One object a render.

#include <nlohmann/json_fwd.hpp>
#include <string>
#include <vector>

#include "tokenizer/jinja/ast.h"
#include "tokenizer/jinja/runtime.h"

namespace kvasir::tokenizer::jinja {

// The JSON value as a template's value. Its strings are not copied: `json` must outlive the render.
// Errors: the budgets', and values too deep inside each other.
Result<Value> from_json(Runtime& runtime, const nlohmann::ordered_json& json);

// The variables that a block of statements has set. Names that it has not are looked up in its parents, and
// then among the top-level variables.
//
//   top level (null)  <-  for, first iteration  <-  set block
//                     <-  macro's call
struct Variable {
  Symbol symbol;
  Value value;
};
struct Scope {
  Scope* parent = nullptr;  // null: the top level
  Variable* variables = nullptr;
  std::uint32_t size = 0, capacity = 0;
  bool is_captured = false;  // a macro refers to it, so it is not used again
};

class Interpreter {
 public:
  // The tree and the runtime must outlive the interpreter.
  Interpreter(const SyntaxTree& tree, Runtime& runtime);

  // Sets a top-level variable, where the template has such a name.
  void define(std::string_view name, const Value& value);

  // Errors: kInvalidArgument for whatever is an exception in jinja2, and for exceeding a limit.
  Result<std::string> render();

  // Where the failure was, after one.
  int line() const { return line_; }

 private:
  enum class Flow : std::uint8_t { kNormal, kBreak, kContinue };

  // Statements (interpreter.cpp).
  Result<Flow> run(const Body& body, Scope* scope);
  Result<Flow> run(const Statement& statement, Scope* scope);
  Result<Flow> run_kind(const Statement& statement, Scope* scope);
  Result<Flow> run_if(const Statement& statement, Scope* scope);
  Result<Flow> run_with(const Statement& statement, Scope* scope);
  // Over `iterable`; the loop is `depth0` calls of itself deep.
  Result<Flow> run_loop(const Statement& statement, Scope* scope, const Value& iterable, int depth0);
  Result<std::span<const Value>> select(const Statement& loop, Scope* scope, std::span<const Value> items);
  Result<bool> is_selected(const Statement& loop, Scope* scope, const Value& item);
  Result<Flow> set_block(const Statement& statement, Scope* scope);
  Result<Flow> filter_block(const Statement& statement, Scope* scope);
  Status call_block(const Statement& statement, Scope* scope);
  // The output of a body as a string; what flow its end was goes to `flow`.
  Result<Value> capture(const Body& body, Scope* scope, Flow& flow);
  Status print(const Value& value);
  Status emit(std::string_view text);

  // Variables.
  Result<Scope*> new_scope(Scope* parent);
  Result<Value> lookup(Symbol symbol, const Scope* scope);
  Status set(Symbol symbol, const Value& value, Scope* scope);
  Status assign(const Target& target, const Value& value, Scope* scope);

  // Expressions (interpreter_expressions.cpp).
  Result<Value> evaluate(const Expression& expression, Scope* scope);
  Result<Value> evaluate_kind(const Expression& expression, Scope* scope);
  Result<Value> evaluate_items(const Expression& expression, Scope* scope);
  Result<Value> evaluate_dict(const Expression& expression, Scope* scope);
  Result<Value> evaluate_condition(const Expression& expression, Scope* scope);
  Result<Value> evaluate_compare(const Expression& expression, Scope* scope);
  Result<Value> evaluate_binary(const Expression& expression, Scope* scope);
  Result<Value> evaluate_concat(const Expression& expression, Scope* scope);
  Result<Value> evaluate_slice(const Expression& expression, Scope* scope);
  Result<Value> evaluate_call(const Expression& expression, Scope* scope, const Value& caller = {});
  // `block`: the text that the first of several filters is applied to where it has no operand.
  Result<Value> evaluate_filter(const Expression& expression, Scope* scope, const Value& block = {});
  Result<Value> evaluate_test(const Expression& expression, Scope* scope);

  struct CallArguments {
    std::vector<Value> positional;
    std::vector<NamedValue> named;

    Arguments view() const { return {positional, named}; }
  };
  Result<CallArguments> arguments(const Call& call, Scope* scope);
  Result<Value> call(const Value& callee, const Arguments& arguments);
  Result<Value> call_macro(const Function& function, const Arguments& arguments);
  Status bind_parameters(const Statement& macro, const Arguments& arguments, Scope* scope);
  Result<Value> make_macro(const Statement& statement, std::string_view name, Scope* scope);

  const SyntaxTree& tree_;
  Runtime& runtime_;
  std::vector<Value> globals_;  // the top level, by symbol
  std::string* out_ = nullptr;
  int depth_ = 0;
  int line_ = 0;
};

}  // namespace kvasir::tokenizer::jinja
