// Calls, filters and tests: what has arguments.

#include <algorithm>
#include <utility>

#include "tokenizer/jinja/builtins.h"
#include "tokenizer/jinja/parser_impl.h"
#include "tokenizer/jinja/printing.h"

namespace kvasir::tokenizer::jinja {

Parser::Parsed Parser::call(ExpressionPtr callee) {
  ExpressionPtr node = make(ExpressionKind::kCall, current().line);
  KVASIR_RETURN_IF_ERROR(add_operand(*node, std::move(callee)));
  KVASIR_RETURN_IF_ERROR(add_arguments(*node));
  return node;
}

Status Parser::add_arguments(Expression& node) {
  KVASIR_ASSIGN_OR_RETURN(node.call, call_arguments());
  const auto add = [&](const ExpressionPtr& argument) {
    if (argument != nullptr) node.depth = std::max(node.depth, argument->depth + 1);
  };
  for (const ExpressionPtr& argument : node.call->positional) add(argument);
  for (const auto& [name, argument] : node.call->named) add(argument);
  add(node.call->star);
  add(node.call->double_star);
  return node.depth <= kMaxDepth ? Status() : too_deep(node.line);
}

Result<std::unique_ptr<Call>> Parser::call_arguments() {
  const int line = current().line;
  KVASIR_RETURN_IF_ERROR(expect_operator("("));
  auto call = std::make_unique<Call>();
  const auto invalid = [&] { return fail(line, "invalid syntax for function call expression"); };
  for (bool is_first = true; !current().is_operator(")"); is_first = false) {
    if (!is_first) {
      KVASIR_RETURN_IF_ERROR(expect_operator(","));
      if (current().is_operator(")")) break;
    }
    if (take_operator("*")) {
      if (call->star || call->double_star) return invalid();
      KVASIR_ASSIGN_OR_RETURN(call->star, expression());
    } else if (take_operator("**")) {
      if (call->double_star) return invalid();
      KVASIR_ASSIGN_OR_RETURN(call->double_star, expression());
    } else if (current().type == TokenType::kName && next().is_operator("=")) {
      if (call->double_star) return invalid();
      std::string name = take().text;
      take();
      KVASIR_ASSIGN_OR_RETURN(ExpressionPtr value, expression());
      const auto is_same = [&](const auto& each) { return each.first == name; };
      if (std::ranges::any_of(call->named, is_same))
        return fail(line, fmt::format("keyword argument repeated: {}", name));
      call->named.emplace_back(std::move(name), std::move(value));
    } else {
      if (call->star || call->double_star || !call->named.empty()) return invalid();
      KVASIR_ASSIGN_OR_RETURN(ExpressionPtr value, expression());
      call->positional.push_back(std::move(value));
    }
  }
  KVASIR_RETURN_IF_ERROR(expect_operator(")"));
  return call;
}

Parser::Parsed Parser::filter(ExpressionPtr operand) {
  if (current().type != TokenType::kName) return unexpected("name");
  ExpressionPtr node = make(ExpressionKind::kFilter, current().line);
  node->text = take().text;
  while (take_operator(".")) {
    if (current().type != TokenType::kName) return unexpected("name");
    node->text += "." + take().text;
  }
  node->builtin = find_filter(node->text);
  if (is_unsupported_filter(node->text)) {
    return error(StatusCode::kUnsupported, "line {}: the filter {} is not supported", node->line,
                 in_quotes(node->text));
  }
  KVASIR_RETURN_IF_ERROR(add_operand(*node, std::move(operand)));
  node->call = std::make_unique<Call>();
  if (current().is_operator("(")) {
    KVASIR_RETURN_IF_ERROR(add_arguments(*node));
  }
  if (node->builtin == nullptr) unknown_.push_back({node->line, "filter", node->text, is_soft_});
  return node;
}

Parser::Parsed Parser::test(ExpressionPtr operand) {
  ExpressionPtr node = make(ExpressionKind::kTest, take().line);
  const bool is_negated = take_name("not");
  if (current().type != TokenType::kName) return unexpected("name");
  node->text = take().text;
  while (take_operator(".")) {
    if (current().type != TokenType::kName) return unexpected("name");
    node->text += "." + take().text;
  }
  node->builtin = find_test(node->text);
  if (node->builtin == nullptr) unknown_.push_back({node->line, "test", node->text, is_soft_});
  KVASIR_RETURN_IF_ERROR(add_operand(*node, std::move(operand)));
  node->call = std::make_unique<Call>();
  const Token& token = current();
  const bool is_literal = token.type == TokenType::kString || token.type == TokenType::kInteger ||
                          token.type == TokenType::kFloat || token.is_operator("[") || token.is_operator("{");
  const bool is_name = token.type == TokenType::kName && !token.is_name("else") && !token.is_name("or") &&
                       !token.is_name("and");
  if (token.is_operator("(")) {
    KVASIR_RETURN_IF_ERROR(add_arguments(*node));
  } else if (is_literal || is_name) {
    if (token.is_name("is")) return fail("You cannot chain multiple tests with is");
    KVASIR_ASSIGN_OR_RETURN(ExpressionPtr argument, primary());
    KVASIR_ASSIGN_OR_RETURN(argument, postfix(std::move(argument)));
    node->depth = std::max(node->depth, argument->depth + 1);
    if (node->depth > kMaxDepth) return too_deep(node->line);
    node->call->positional.push_back(std::move(argument));
  }
  if (!is_negated) return node;
  ExpressionPtr negated = make(ExpressionKind::kNot, node->line);
  KVASIR_RETURN_IF_ERROR(add_operand(*negated, std::move(node)));
  return negated;
}

}  // namespace kvasir::tokenizer::jinja
