#include "tokenizer/jinja/interpreter.h"

#include <algorithm>
#include <utility>

#include "tokenizer/jinja/builtins.h"
#include "tokenizer/jinja/operators.h"
#include "tokenizer/jinja/printing.h"
#include "tokenizer/jinja/sequences.h"

namespace kvasir::tokenizer::jinja {

Interpreter::Interpreter(const SyntaxTree& tree, Runtime& runtime)
    : tree_(tree), runtime_(runtime), globals_(tree.names.size()) {}

void Interpreter::define(std::string_view name, const Value& value) {
  const auto found = std::ranges::find(tree_.names, name);
  if (found != tree_.names.end()) globals_[static_cast<std::size_t>(found - tree_.names.begin())] = value;
}

Result<std::string> Interpreter::render() {
  std::string output;
  out_ = &output;
  const Result<Flow> flow = run(tree_.body, nullptr);
  if (!flow.ok()) return flow.status();
  return output;
}

Result<Scope*> Interpreter::new_scope(Scope* parent) {
  return runtime_.make<Scope>({parent});
}

Result<Value> Interpreter::lookup(Symbol symbol, const Scope* scope) {
  for (; scope != nullptr; scope = scope->parent) {
    KVASIR_RETURN_IF_ERROR(runtime_.spend(scope->size / 16));
    for (std::uint32_t i = 0; i < scope->size; ++i) {
      if (scope->variables[i].symbol == symbol) return scope->variables[i].value;
    }
  }
  const Value& found = globals_[static_cast<std::size_t>(symbol)];
  return found.is_missing() ? make_undefined(tree_.names[static_cast<std::size_t>(symbol)], kVariable)
                            : found;
}

Status Interpreter::set(Symbol symbol, const Value& value, Scope* scope) {
  if (scope == nullptr) {
    globals_[static_cast<std::size_t>(symbol)] = value;
    return Status();
  }
  KVASIR_RETURN_IF_ERROR(runtime_.spend(scope->size / 16));
  for (std::uint32_t i = 0; i < scope->size; ++i) {
    if (scope->variables[i].symbol != symbol) continue;
    scope->variables[i].value = value;
    return Status();
  }
  if (scope->size == scope->capacity) {
    const std::uint32_t capacity = std::max<std::uint32_t>(4, 2 * scope->capacity);
    KVASIR_ASSIGN_OR_RETURN(Variable* const variables, runtime_.allocate<Variable>(capacity));
    std::copy_n(scope->variables, scope->size, variables);
    scope->variables = variables;
    scope->capacity = capacity;
  }
  scope->variables[scope->size++] = {symbol, value};
  return Status();
}

Status Interpreter::assign(const Target& target, const Value& value, Scope* scope) {
  if (!target.is_tuple && target.attribute.empty()) return set(target.symbol, value, scope);
  if (!target.attribute.empty()) {
    KVASIR_ASSIGN_OR_RETURN(const Value owner, lookup(target.symbol, scope));
    if (!owner.is(Type::kNamespace)) return failure("cannot assign attribute on non-namespace object");
    return jinja::assign(runtime_, *owner.names, target.attribute, value);
  }
  KVASIR_ASSIGN_OR_RETURN(const std::span<const Value> parts, elements_of(runtime_, value));
  if (parts.size() != target.targets.size()) {
    return failure("{} values to unpack (expected {}, got {})",
                   parts.size() < target.targets.size() ? "not enough" : "too many", target.targets.size(),
                   parts.size());
  }
  for (std::size_t i = 0; i < parts.size(); ++i) {
    KVASIR_RETURN_IF_ERROR(assign(target.targets[i], parts[i], scope));
  }
  return Status();
}

Status Interpreter::emit(std::string_view text) {
  KVASIR_RETURN_IF_ERROR(runtime_.spend_text(text.size()));
  const std::size_t most = runtime_.limits().max_output_bytes;
  if (text.size() > most - out_->size()) return failure("the template's output is more than {} bytes", most);
  KVASIR_RETURN_IF_ERROR(runtime_.spend_memory(text.size()));
  *out_ += text;
  return Status();
}

Status Interpreter::print(const Value& value) {
  if (value.is_string()) return emit(value.text());
  KVASIR_ASSIGN_OR_RETURN(const Value text, to_text(runtime_, value));
  return emit(text.text());
}

Result<Value> Interpreter::capture(const Body& body, Scope* scope, Flow& flow) {
  std::string buffer;
  std::string* const outer = std::exchange(out_, &buffer);
  const Result<Flow> result = run(body, scope);
  out_ = outer;
  if (!result.ok()) return result.status();
  flow = *result;
  return runtime_.text(buffer);
}

Result<Interpreter::Flow> Interpreter::run(const Body& body, Scope* scope) {
  for (const Statement& statement : body) {
    KVASIR_ASSIGN_OR_RETURN(const Flow flow, run(statement, scope));
    if (flow != Flow::kNormal) return flow;
  }
  return Flow::kNormal;
}

Result<Interpreter::Flow> Interpreter::run(const Statement& statement, Scope* scope) {
  if (++depth_ > runtime_.limits().max_depth) {
    --depth_;
    return failure("maximum recursion depth exceeded");
  }
  Status status = runtime_.spend(1);
  Result<Flow> flow = Flow::kNormal;
  if (!status.ok()) {
    flow = std::move(status);
  } else {
    flow = run_kind(statement, scope);
  }
  --depth_;
  if (!flow.ok() && line_ == 0) line_ = statement.line;
  return flow;
}

Result<Interpreter::Flow> Interpreter::run_kind(const Statement& statement, Scope* scope) {
  switch (statement.kind) {
    case StatementKind::kText:
      KVASIR_RETURN_IF_ERROR(emit(statement.text));
      return Flow::kNormal;
    case StatementKind::kPrint: {
      KVASIR_ASSIGN_OR_RETURN(const Value value, evaluate(*statement.expression, scope));
      KVASIR_RETURN_IF_ERROR(print(value));
      return Flow::kNormal;
    }
    case StatementKind::kFor: {
      KVASIR_ASSIGN_OR_RETURN(const Value iterable, evaluate(*statement.expression, scope));
      return run_loop(statement, scope, iterable, 0);
    }
    case StatementKind::kIf:
      return run_if(statement, scope);
    case StatementKind::kSet: {
      KVASIR_ASSIGN_OR_RETURN(const Value value, evaluate(*statement.expression, scope));
      KVASIR_RETURN_IF_ERROR(assign(statement.target, value, scope));
      return Flow::kNormal;
    }
    case StatementKind::kSetBlock:
      return set_block(statement, scope);
    case StatementKind::kFilterBlock:
      return filter_block(statement, scope);
    case StatementKind::kWith:
      return run_with(statement, scope);
    case StatementKind::kMacro: {
      KVASIR_ASSIGN_OR_RETURN(const Value macro, make_macro(statement, statement.text, scope));
      KVASIR_RETURN_IF_ERROR(set(statement.symbol, macro, scope));
      return Flow::kNormal;
    }
    case StatementKind::kCallBlock:
      KVASIR_RETURN_IF_ERROR(call_block(statement, scope));
      return Flow::kNormal;
    case StatementKind::kScope:
    case StatementKind::kBlock: {
      const bool sees_all = statement.kind == StatementKind::kScope;
      KVASIR_ASSIGN_OR_RETURN(Scope* const inner, new_scope(sees_all ? scope : nullptr));
      return run(statement.body, inner);
    }
    case StatementKind::kBreak:
      return Flow::kBreak;
    case StatementKind::kContinue:
      return Flow::kContinue;
    case StatementKind::kLoadTemplate:
      return failure("no loader for this environment specified");
  }
  return Flow::kNormal;
}

Result<Interpreter::Flow> Interpreter::run_if(const Statement& statement, Scope* scope) {
  for (const Branch& branch : statement.branches) {
    KVASIR_ASSIGN_OR_RETURN(const Value condition, evaluate(*branch.condition, scope));
    if (is_true(condition)) return run(branch.body, scope);
  }
  return run(statement.else_body, scope);
}

Result<Interpreter::Flow> Interpreter::run_with(const Statement& statement, Scope* scope) {
  KVASIR_ASSIGN_OR_RETURN(Scope* const inner, new_scope(scope));
  for (const Assignment& assignment : statement.assignments) {
    KVASIR_ASSIGN_OR_RETURN(const Value value, evaluate(*assignment.value, scope));
    KVASIR_RETURN_IF_ERROR(assign(assignment.target, value, inner));
  }
  return run(statement.body, inner);
}

Result<bool> Interpreter::is_selected(const Statement& loop, Scope* scope, const Value& item) {
  if (loop.condition == nullptr) return true;
  KVASIR_ASSIGN_OR_RETURN(Scope* const inner, new_scope(scope));
  KVASIR_RETURN_IF_ERROR(assign(loop.target, item, inner));
  KVASIR_ASSIGN_OR_RETURN(const Value value, evaluate(*loop.condition, inner));
  return is_true(value);
}

Result<std::span<const Value>> Interpreter::select(const Statement& loop, Scope* scope,
                                                   std::span<const Value> items) {
  if (loop.condition == nullptr) return items;
  KVASIR_ASSIGN_OR_RETURN(const std::span<Value> kept, runtime_.items(items.size()));
  std::size_t num_kept = 0;
  for (const Value& item : items) {
    KVASIR_ASSIGN_OR_RETURN(const bool is_kept, is_selected(loop, scope, item));
    if (is_kept) kept[num_kept++] = item;
  }
  return std::span<const Value>(kept.first(num_kept));
}

Result<Interpreter::Flow> Interpreter::run_loop(const Statement& statement, Scope* scope,
                                                const Value& iterable, int depth0) {
  Iterator* const iterator = iterable.is(Type::kIterator) ? iterable.iterator : nullptr;
  const std::size_t first = iterator == nullptr ? 0 : iterator->position;
  KVASIR_ASSIGN_OR_RETURN(std::span<const Value> items, elements_of(runtime_, iterable));
  // `loop` knows how many items there are, so the condition is asked for all of them first; without it each
  // is asked in its turn, after what the body before it has changed.
  if (statement.reads_loop) {
    KVASIR_ASSIGN_OR_RETURN(items, select(statement, scope, items));
  }
  KVASIR_ASSIGN_OR_RETURN(Loop* const loop, runtime_.make<Loop>({}));
  loop->items = items;
  loop->depth0 = depth0;
  loop->recursive = statement.is_recursive ? &statement : nullptr;
  loop->scope = scope;
  Value loop_value;
  loop_value.type = Type::kLoop;
  loop_value.loop = loop;
  Scope* inner = nullptr;
  bool has_finished_body = false;
  for (std::size_t i = 0; i < items.size(); ++i) {
    if (!statement.reads_loop) {
      KVASIR_ASSIGN_OR_RETURN(const bool is_kept, is_selected(statement, scope, items[i]));
      if (!is_kept) continue;
    }
    loop->index0 = static_cast<std::int64_t>(i);
    if (inner == nullptr || inner->is_captured) {
      KVASIR_ASSIGN_OR_RETURN(inner, new_scope(scope));
    }
    inner->size = 0;
    if (statement.reads_loop || statement.is_recursive) {
      KVASIR_RETURN_IF_ERROR(set(kLoopSymbol, loop_value, inner));
    }
    KVASIR_RETURN_IF_ERROR(assign(statement.target, items[i], inner));
    KVASIR_ASSIGN_OR_RETURN(const Flow flow, run(statement.body, inner));
    has_finished_body |= flow == Flow::kNormal;
    if (flow != Flow::kBreak) continue;
    if (iterator != nullptr && statement.condition == nullptr) iterator->position = first + i + 1;
    break;
  }
  // As in jinja2, a body that always ends in continue or break counts as not run.
  if (has_finished_body || statement.else_body.empty()) return Flow::kNormal;
  KVASIR_ASSIGN_OR_RETURN(Scope* const otherwise, new_scope(scope));
  return run(statement.else_body, otherwise);
}

Result<Interpreter::Flow> Interpreter::set_block(const Statement& statement, Scope* scope) {
  KVASIR_ASSIGN_OR_RETURN(Scope* const inner, new_scope(scope));
  Flow flow = Flow::kNormal;
  KVASIR_ASSIGN_OR_RETURN(Value text, capture(statement.body, inner, flow));
  if (flow != Flow::kNormal) return flow;
  if (statement.filter != nullptr) {
    KVASIR_ASSIGN_OR_RETURN(text, evaluate_filter(*statement.filter, inner, text));
  }
  KVASIR_RETURN_IF_ERROR(assign(statement.target, text, scope));
  return Flow::kNormal;
}

Result<Interpreter::Flow> Interpreter::filter_block(const Statement& statement, Scope* scope) {
  KVASIR_ASSIGN_OR_RETURN(Scope* const inner, new_scope(scope));
  Flow flow = Flow::kNormal;
  KVASIR_ASSIGN_OR_RETURN(const Value text, capture(statement.body, inner, flow));
  if (flow != Flow::kNormal) return flow;
  KVASIR_ASSIGN_OR_RETURN(const Value filtered, evaluate_filter(*statement.filter, inner, text));
  KVASIR_RETURN_IF_ERROR(print(filtered));
  return Flow::kNormal;
}

Status Interpreter::call_block(const Statement& statement, Scope* scope) {
  KVASIR_ASSIGN_OR_RETURN(const Value caller, make_macro(statement, statement.text, scope));
  KVASIR_ASSIGN_OR_RETURN(const Value value, evaluate_call(*statement.expression, scope, caller));
  return print(value);
}

Result<Value> Interpreter::make_macro(const Statement& statement, std::string_view name, Scope* scope) {
  for (Scope* each = scope; each != nullptr && !each->is_captured; each = each->parent)
    each->is_captured = true;
  Value macro;
  macro.type = Type::kFunction;
  KVASIR_ASSIGN_OR_RETURN(macro.function, runtime_.make<Function>({name, nullptr, {}, &statement, scope}));
  return macro;
}

}  // namespace kvasir::tokenizer::jinja
