#include <algorithm>
#include <utility>

#include "tokenizer/jinja/builtins.h"
#include "tokenizer/jinja/interpreter.h"
#include "tokenizer/jinja/operators.h"
#include "tokenizer/jinja/printing.h"
#include "tokenizer/jinja/sequences.h"

namespace kvasir::tokenizer::jinja {
namespace {

Result<bool> compare(Runtime& runtime, Comparison comparison, const Value& a, const Value& b) {
  switch (comparison) {
    case Comparison::kEqual:
      return equals(runtime, a, b);
    case Comparison::kNotEqual: {
      KVASIR_ASSIGN_OR_RETURN(const bool is_equal, equals(runtime, a, b));
      return !is_equal;
    }
    case Comparison::kLess:
      return less(runtime, a, b);
    case Comparison::kGreater:
      return less(runtime, b, a);
    case Comparison::kLessEqual:
    case Comparison::kGreaterEqual: {
      const bool is_swapped = comparison == Comparison::kGreaterEqual;
      KVASIR_ASSIGN_OR_RETURN(const bool is_less, is_swapped ? less(runtime, b, a) : less(runtime, a, b));
      if (is_less) return true;
      return equals(runtime, a, b);
    }
    case Comparison::kIn:
      return contains(runtime, b, a);
    case Comparison::kNotIn: {
      KVASIR_ASSIGN_OR_RETURN(const bool is_in, contains(runtime, b, a));
      return !is_in;
    }
  }
  return false;
}

}  // namespace

Result<Value> Interpreter::evaluate(const Expression& expression, Scope* scope) {
  KVASIR_RETURN_IF_ERROR(runtime_.spend(1));
  // The two that are most often met cannot recurse.
  if (expression.kind == ExpressionKind::kConstant) return expression.value;
  if (expression.kind == ExpressionKind::kName) return lookup(expression.symbol, scope);
  if (depth_ >= runtime_.limits().max_depth) return failure("maximum recursion depth exceeded");
  ++depth_;
  Result<Value> value = evaluate_kind(expression, scope);
  --depth_;
  if (!value.ok() && line_ == 0) line_ = expression.line;
  return value;
}

Result<Value> Interpreter::evaluate_kind(const Expression& expression, Scope* scope) {
  const auto& operands = expression.operands;
  switch (expression.kind) {
    case ExpressionKind::kConstant:
      return expression.value;
    case ExpressionKind::kName:
      return lookup(expression.symbol, scope);
    case ExpressionKind::kTuple:
    case ExpressionKind::kList:
      return evaluate_items(expression, scope);
    case ExpressionKind::kDict:
      return evaluate_dict(expression, scope);
    case ExpressionKind::kCondition:
      return evaluate_condition(expression, scope);
    case ExpressionKind::kOr:
    case ExpressionKind::kAnd: {
      KVASIR_ASSIGN_OR_RETURN(const Value left, evaluate(*operands[0], scope));
      const bool is_decided = is_true(left) == (expression.kind == ExpressionKind::kOr);
      return is_decided ? left : evaluate(*operands[1], scope);
    }
    case ExpressionKind::kNot: {
      KVASIR_ASSIGN_OR_RETURN(const Value value, evaluate(*operands[0], scope));
      return make_bool(!is_true(value));
    }
    case ExpressionKind::kCompare:
      return evaluate_compare(expression, scope);
    case ExpressionKind::kConcat:
      return evaluate_concat(expression, scope);
    case ExpressionKind::kAttribute: {
      KVASIR_ASSIGN_OR_RETURN(const Value value, evaluate(*operands[0], scope));
      return get_attribute(runtime_, value, expression.text);
    }
    case ExpressionKind::kItem: {
      KVASIR_ASSIGN_OR_RETURN(const Value value, evaluate(*operands[0], scope));
      KVASIR_ASSIGN_OR_RETURN(const Value key, evaluate(*operands[1], scope));
      return get_item(runtime_, value, key);
    }
    case ExpressionKind::kSlice:
      return evaluate_slice(expression, scope);
    case ExpressionKind::kCall:
      return evaluate_call(expression, scope);
    case ExpressionKind::kFilter:
      return evaluate_filter(expression, scope);
    case ExpressionKind::kTest:
      return evaluate_test(expression, scope);
    default:
      return evaluate_binary(expression, scope);
  }
}

Result<Value> Interpreter::evaluate_items(const Expression& expression, Scope* scope) {
  KVASIR_ASSIGN_OR_RETURN(const std::span<Value> items, runtime_.items(expression.operands.size()));
  for (std::size_t i = 0; i < items.size(); ++i) {
    KVASIR_ASSIGN_OR_RETURN(items[i], evaluate(*expression.operands[i], scope));
  }
  return borrow_items(expression.kind == ExpressionKind::kList ? Type::kList : Type::kTuple, items);
}

Result<Value> Interpreter::evaluate_dict(const Expression& expression, Scope* scope) {
  std::vector<Entry> entries(expression.operands.size() / 2);
  for (std::size_t i = 0; i < entries.size(); ++i) {
    KVASIR_ASSIGN_OR_RETURN(entries[i].key, evaluate(*expression.operands[2 * i], scope));
    KVASIR_ASSIGN_OR_RETURN(entries[i].value, evaluate(*expression.operands[2 * i + 1], scope));
  }
  return runtime_.dict(entries);
}

Result<Value> Interpreter::evaluate_condition(const Expression& expression, Scope* scope) {
  KVASIR_ASSIGN_OR_RETURN(const Value condition, evaluate(*expression.operands[0], scope));
  if (is_true(condition)) return evaluate(*expression.operands[1], scope);
  if (expression.operands[2] != nullptr) return evaluate(*expression.operands[2], scope);
  return make_undefined("the inline if-expression evaluated to false and no else section was defined.",
                        kMessage);
}

Result<Value> Interpreter::evaluate_compare(const Expression& expression, Scope* scope) {
  KVASIR_ASSIGN_OR_RETURN(Value left, evaluate(*expression.operands[0], scope));
  for (std::size_t i = 0; i < expression.comparisons.size(); ++i) {
    KVASIR_ASSIGN_OR_RETURN(const Value right, evaluate(*expression.operands[i + 1], scope));
    KVASIR_ASSIGN_OR_RETURN(const bool holds, compare(runtime_, expression.comparisons[i], left, right));
    if (!holds) return make_bool(false);
    left = right;
  }
  return make_bool(true);
}

Result<Value> Interpreter::evaluate_binary(const Expression& expression, Scope* scope) {
  KVASIR_ASSIGN_OR_RETURN(const Value a, evaluate(*expression.operands[0], scope));
  if (expression.kind == ExpressionKind::kNegate) return negate(runtime_, a);
  if (expression.kind == ExpressionKind::kPlus) return plus(runtime_, a);
  KVASIR_ASSIGN_OR_RETURN(const Value b, evaluate(*expression.operands[1], scope));
  switch (expression.kind) {
    case ExpressionKind::kAdd:
      return add(runtime_, a, b);
    case ExpressionKind::kSubtract:
      return subtract(runtime_, a, b);
    case ExpressionKind::kMultiply:
      return multiply(runtime_, a, b);
    case ExpressionKind::kDivide:
      return divide(runtime_, a, b);
    case ExpressionKind::kFloorDivide:
      return floor_divide(runtime_, a, b);
    case ExpressionKind::kModulo:
      return modulo(runtime_, a, b);
    default:
      return jinja::power(runtime_, a, b);
  }
}

Result<Value> Interpreter::evaluate_concat(const Expression& expression, Scope* scope) {
  std::vector<Value> parts;
  for (const ExpressionPtr& operand : expression.operands) {
    KVASIR_ASSIGN_OR_RETURN(const Value value, evaluate(*operand, scope));
    KVASIR_ASSIGN_OR_RETURN(const Value text, to_text(runtime_, value));
    parts.push_back(text);
  }
  Value joined = parts[0];
  for (std::size_t i = 1; i < parts.size(); ++i) {
    KVASIR_ASSIGN_OR_RETURN(joined, runtime_.join(joined.text(), parts[i].text(), false));
  }
  return joined;
}

Result<Value> Interpreter::evaluate_slice(const Expression& expression, Scope* scope) {
  KVASIR_ASSIGN_OR_RETURN(const Value value, evaluate(*expression.operands[0], scope));
  std::array<Value, 3> bounds;
  for (std::size_t i = 0; i < bounds.size(); ++i) {
    bounds[i] = make_none();
    if (expression.operands[i + 1] == nullptr) continue;
    KVASIR_ASSIGN_OR_RETURN(bounds[i], evaluate(*expression.operands[i + 1], scope));
  }
  return slice(runtime_, value, bounds[0], bounds[1], bounds[2]);
}

Result<Interpreter::CallArguments> Interpreter::arguments(const Call& call, Scope* scope) {
  CallArguments result;
  for (const ExpressionPtr& argument : call.positional) {
    KVASIR_ASSIGN_OR_RETURN(const Value value, evaluate(*argument, scope));
    result.positional.push_back(value);
  }
  for (const auto& [name, argument] : call.named) {
    KVASIR_ASSIGN_OR_RETURN(const Value value, evaluate(*argument, scope));
    result.named.push_back({name, value});
  }
  if (call.star != nullptr) {
    KVASIR_ASSIGN_OR_RETURN(const Value list, evaluate(*call.star, scope));
    KVASIR_ASSIGN_OR_RETURN(const std::span<const Value> items, elements_of(runtime_, list));
    result.positional.insert(result.positional.end(), items.begin(), items.end());
  }
  if (call.double_star == nullptr) return result;
  KVASIR_ASSIGN_OR_RETURN(const Value dict, evaluate(*call.double_star, scope));
  if (!dict.is(Type::kDict)) return failure("argument after ** must be a mapping, not {}", type_name(dict));
  for (const Entry& entry : dict.dict->entries) {
    if (!entry.key.is_string()) return failure("keywords must be strings");
    const auto is_same = [&](const NamedValue& each) { return each.name == entry.key.text(); };
    KVASIR_RETURN_IF_ERROR(runtime_.spend(1 + call.named.size()));
    const auto written = std::span(result.named).first(call.named.size());
    if (std::ranges::any_of(written, is_same)) {
      return failure("got multiple values for keyword argument {}", in_quotes(entry.key.text()));
    }
    result.named.push_back({entry.key.text(), entry.value});
  }
  return result;
}

Result<Value> Interpreter::evaluate_call(const Expression& expression, Scope* scope, const Value& caller) {
  KVASIR_ASSIGN_OR_RETURN(const Value callee, evaluate(*expression.operands[0], scope));
  KVASIR_ASSIGN_OR_RETURN(CallArguments given, arguments(*expression.call, scope));
  if (!caller.is_missing()) given.named.push_back({"caller", caller});
  return call(callee, given.view());
}

Result<Value> Interpreter::call(const Value& callee, const Arguments& arguments) {
  switch (callee.type) {
    case Type::kUndefined:
      return undefined_failure(callee);
    case Type::kFunction: {
      const Function& function = *callee.function;
      if (function.builtin != nullptr)
        return call_builtin(runtime_, *function.builtin, function.self, arguments);
      return call_macro(function, arguments);
    }
    case Type::kLoop: {
      const Loop& loop = *callee.loop;
      if (loop.recursive == nullptr) {
        return failure("The loop must have the 'recursive' marker to be called recursively.");
      }
      if (arguments.positional.size() != 1 || !arguments.named.empty()) {
        return failure("loop() takes one argument, got {}",
                       arguments.positional.size() + arguments.named.size());
      }
      std::string buffer;
      std::string* const outer = std::exchange(out_, &buffer);
      const Result<Flow> flow =
          run_loop(*loop.recursive, loop.scope, arguments.positional[0], loop.depth0 + 1);
      out_ = outer;
      if (!flow.ok()) return flow.status();
      return runtime_.text(buffer);
    }
    case Type::kJoiner:
      if (std::exchange(callee.joiner->is_used, true)) return callee.joiner->separator;
      return borrow_text("");
    default:
      return failure("'{}' object is not callable", type_name(callee));
  }
}

Status Interpreter::bind_parameters(const Statement& macro, const Arguments& arguments, Scope* scope) {
  const std::size_t num_parameters = macro.parameters.size();
  const std::size_t num_given = std::min(arguments.positional.size(), num_parameters);
  if (!macro.reads_varargs && arguments.positional.size() > num_parameters) {
    return failure("macro {} takes not more than {} argument(s)", in_quotes(macro.text), num_parameters);
  }
  std::vector<NamedValue> named(arguments.named.begin(), arguments.named.end());
  const auto take = [&](std::string_view name) {
    const auto found = std::ranges::find(named, name, &NamedValue::name);
    if (found == named.end()) return Value();
    const Value value = found->value;
    named.erase(found);
    return value;
  };
  for (std::size_t i = 0; i < num_parameters; ++i) {
    const Parameter& parameter = macro.parameters[i];
    Value value = i < num_given ? arguments.positional[i] : take(parameter.name);
    if (value.is_missing() && parameter.default_value != nullptr) {
      KVASIR_ASSIGN_OR_RETURN(value, evaluate(*parameter.default_value, scope));
    } else if (value.is_missing()) {
      KVASIR_ASSIGN_OR_RETURN(
          value, runtime_.undefined(fmt::format("parameter {} was not provided", in_quotes(parameter.name))));
    }
    KVASIR_RETURN_IF_ERROR(set(parameter.symbol, value, scope));
  }
  if (macro.reads_caller) {
    Value caller = take("caller");
    if (caller.is_missing() || caller.is_none()) caller = make_undefined("No caller defined", kMessage);
    KVASIR_RETURN_IF_ERROR(set(kCallerSymbol, caller, scope));
  }
  if (macro.reads_kwargs) {
    std::vector<Entry> entries;
    for (const auto& [name, value] : named) entries.push_back({borrow_text(name), value});
    KVASIR_ASSIGN_OR_RETURN(const Value kwargs, runtime_.dict(entries));
    KVASIR_RETURN_IF_ERROR(set(kKwargsSymbol, kwargs, scope));
  } else if (!named.empty()) {
    return failure("macro {} takes no keyword argument {}", in_quotes(macro.text), in_quotes(named[0].name));
  }
  if (!macro.reads_varargs) return Status();
  KVASIR_ASSIGN_OR_RETURN(const Value varargs, runtime_.tuple(arguments.positional.subspan(num_given)));
  return set(kVarargsSymbol, varargs, scope);
}

Result<Value> Interpreter::call_macro(const Function& function, const Arguments& arguments) {
  KVASIR_ASSIGN_OR_RETURN(Scope* const scope, new_scope(function.scope));
  KVASIR_RETURN_IF_ERROR(bind_parameters(*function.macro, arguments, scope));
  Flow flow = Flow::kNormal;
  return capture(function.macro->body, scope, flow);
}

Result<Value> Interpreter::evaluate_filter(const Expression& expression, Scope* scope, const Value& block) {
  Value operand = block;
  if (expression.operands[0] != nullptr) {
    const Expression& first = *expression.operands[0];
    const bool is_block_filter = !block.is_missing() && first.kind == ExpressionKind::kFilter;
    KVASIR_ASSIGN_OR_RETURN(operand,
                            is_block_filter ? evaluate_filter(first, scope, block) : evaluate(first, scope));
  }
  if (expression.builtin == nullptr) return failure("No filter named {}.", in_quotes(expression.text));
  KVASIR_ASSIGN_OR_RETURN(const CallArguments given, arguments(*expression.call, scope));
  return call_builtin(runtime_, *expression.builtin, operand, given.view());
}

Result<Value> Interpreter::evaluate_test(const Expression& expression, Scope* scope) {
  KVASIR_ASSIGN_OR_RETURN(const Value operand, evaluate(*expression.operands[0], scope));
  if (expression.builtin == nullptr) return failure("No test named {}.", in_quotes(expression.text));
  KVASIR_ASSIGN_OR_RETURN(const CallArguments given, arguments(*expression.call, scope));
  return call_builtin(runtime_, *expression.builtin, operand, given.view());
}

}  // namespace kvasir::tokenizer::jinja
