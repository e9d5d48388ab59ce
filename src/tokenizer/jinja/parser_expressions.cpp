#include <algorithm>
#include <optional>
#include <utility>

#include "tokenizer/jinja/parser_impl.h"

namespace kvasir::tokenizer::jinja {
namespace {

struct Operator {
  std::string_view sign;
  ExpressionKind kind;
};

// The operator at a token, or null.
template <std::size_t kSize>
const Operator* find_operator(const Operator (&table)[kSize], const Token& token) {
  for (const Operator& each : table) {
    if (token.is_operator(each.sign)) return &each;
  }
  return nullptr;
}

// Counts a level of recursion for as long as it lives.
class Level {
 public:
  explicit Level(int& depth) : depth_(depth) { ++depth_; }
  ~Level() { --depth_; }
  Level(const Level&) = delete;
  Level& operator=(const Level&) = delete;

 private:
  int& depth_;
};

}  // namespace

ExpressionPtr Parser::make(ExpressionKind kind, int line) const {
  auto node = std::make_unique<Expression>();
  node->kind = kind;
  node->line = line;
  return node;
}

Status Parser::too_deep(int line) const {
  return fail(line, fmt::format("expressions inside each other more than {} times", kMaxDepth));
}

Status Parser::add_operand(Expression& node, ExpressionPtr operand) const {
  if (operand != nullptr) {
    node.depth = std::max(node.depth, operand->depth + 1);
    if (node.depth > kMaxDepth) return too_deep(node.line);
  }
  node.operands.push_back(std::move(operand));
  return Status();
}

Parser::Parsed Parser::binary(ExpressionKind kind, ExpressionPtr left, ExpressionPtr right, int line) {
  ExpressionPtr node = make(kind, line);
  KVASIR_RETURN_IF_ERROR(add_operand(*node, std::move(left)));
  KVASIR_RETURN_IF_ERROR(add_operand(*node, std::move(right)));
  return node;
}

Parser::Parsed Parser::expression(bool with_condition) {
  const Level level(depth_);
  if (depth_ > kMaxDepth) return too_deep(current().line);
  return with_condition ? condition() : either();
}

Parser::Parsed Parser::condition() {
  const int line = current().line;
  const std::size_t first_unknown = unknown_.size();
  KVASIR_ASSIGN_OR_RETURN(ExpressionPtr value, either());
  while (take_name("if")) {
    KVASIR_ASSIGN_OR_RETURN(ExpressionPtr test, either());
    ExpressionPtr otherwise;
    if (take_name("else")) {
      KVASIR_ASSIGN_OR_RETURN(otherwise, expression());
    }
    for (std::size_t i = first_unknown; i < unknown_.size(); ++i) unknown_[i].is_soft = true;
    ExpressionPtr node = make(ExpressionKind::kCondition, line);
    KVASIR_RETURN_IF_ERROR(add_operand(*node, std::move(test)));
    KVASIR_RETURN_IF_ERROR(add_operand(*node, std::move(value)));
    KVASIR_RETURN_IF_ERROR(add_operand(*node, std::move(otherwise)));
    value = std::move(node);
  }
  return value;
}

Parser::Parsed Parser::either() {
  const int line = current().line;
  KVASIR_ASSIGN_OR_RETURN(ExpressionPtr left, both());
  while (take_name("or")) {
    KVASIR_ASSIGN_OR_RETURN(ExpressionPtr right, both());
    KVASIR_ASSIGN_OR_RETURN(left, binary(ExpressionKind::kOr, std::move(left), std::move(right), line));
  }
  return left;
}

Parser::Parsed Parser::both() {
  const int line = current().line;
  KVASIR_ASSIGN_OR_RETURN(ExpressionPtr left, negation());
  while (take_name("and")) {
    KVASIR_ASSIGN_OR_RETURN(ExpressionPtr right, negation());
    KVASIR_ASSIGN_OR_RETURN(left, binary(ExpressionKind::kAnd, std::move(left), std::move(right), line));
  }
  return left;
}

Parser::Parsed Parser::negation() {
  if (!current().is_name("not")) return comparison();
  const Level level(depth_);
  if (depth_ > kMaxDepth) return too_deep(current().line);
  ExpressionPtr node = make(ExpressionKind::kNot, take().line);
  KVASIR_ASSIGN_OR_RETURN(ExpressionPtr operand, negation());
  KVASIR_RETURN_IF_ERROR(add_operand(*node, std::move(operand)));
  return node;
}

Parser::Parsed Parser::comparison() {
  constexpr std::pair<std::string_view, Comparison> kSigns[] = {
      {"==", Comparison::kEqual},     {"!=", Comparison::kNotEqual}, {"<", Comparison::kLess},
      {"<=", Comparison::kLessEqual}, {">", Comparison::kGreater},   {">=", Comparison::kGreaterEqual}};
  const int line = current().line;
  KVASIR_ASSIGN_OR_RETURN(ExpressionPtr first, sum());
  ExpressionPtr node;
  while (true) {
    std::optional<Comparison> found;
    for (const auto& [sign, comparison] : kSigns) {
      if (current().is_operator(sign)) found = comparison;
    }
    if (current().is_name("in")) found = Comparison::kIn;
    if (current().is_name("not") && next().is_name("in")) {
      take();
      found = Comparison::kNotIn;
    }
    if (!found) break;
    take();
    if (node == nullptr) {
      node = make(ExpressionKind::kCompare, line);
      KVASIR_RETURN_IF_ERROR(add_operand(*node, std::move(first)));
    }
    KVASIR_ASSIGN_OR_RETURN(ExpressionPtr right, sum());
    KVASIR_RETURN_IF_ERROR(add_operand(*node, std::move(right)));
    node->comparisons.push_back(*found);
  }
  return node == nullptr ? std::move(first) : std::move(node);
}

Parser::Parsed Parser::sum() {
  constexpr Operator kOperators[] = {{"+", ExpressionKind::kAdd}, {"-", ExpressionKind::kSubtract}};
  const int line = current().line;
  KVASIR_ASSIGN_OR_RETURN(ExpressionPtr left, concatenation());
  while (const Operator* const found = find_operator(kOperators, current())) {
    take();
    KVASIR_ASSIGN_OR_RETURN(ExpressionPtr right, concatenation());
    KVASIR_ASSIGN_OR_RETURN(left, binary(found->kind, std::move(left), std::move(right), line));
  }
  return left;
}

Parser::Parsed Parser::concatenation() {
  const int line = current().line;
  KVASIR_ASSIGN_OR_RETURN(ExpressionPtr first, product());
  if (!current().is_operator("~")) return first;
  ExpressionPtr node = make(ExpressionKind::kConcat, line);
  KVASIR_RETURN_IF_ERROR(add_operand(*node, std::move(first)));
  while (take_operator("~")) {
    KVASIR_ASSIGN_OR_RETURN(ExpressionPtr operand, product());
    KVASIR_RETURN_IF_ERROR(add_operand(*node, std::move(operand)));
  }
  return node;
}

Parser::Parsed Parser::product() {
  constexpr Operator kOperators[] = {{"*", ExpressionKind::kMultiply},
                                     {"/", ExpressionKind::kDivide},
                                     {"//", ExpressionKind::kFloorDivide},
                                     {"%", ExpressionKind::kModulo}};
  const int line = current().line;
  KVASIR_ASSIGN_OR_RETURN(ExpressionPtr left, power());
  while (const Operator* const found = find_operator(kOperators, current())) {
    take();
    KVASIR_ASSIGN_OR_RETURN(ExpressionPtr right, power());
    KVASIR_ASSIGN_OR_RETURN(left, binary(found->kind, std::move(left), std::move(right), line));
  }
  return left;
}

// From left to right, unlike Python.
Parser::Parsed Parser::power() {
  const int line = current().line;
  KVASIR_ASSIGN_OR_RETURN(ExpressionPtr left, unary(true));
  while (take_operator("**")) {
    KVASIR_ASSIGN_OR_RETURN(ExpressionPtr right, unary(true));
    KVASIR_ASSIGN_OR_RETURN(left, binary(ExpressionKind::kPower, std::move(left), std::move(right), line));
  }
  return left;
}

Parser::Parsed Parser::unary(bool with_filters) {
  const Level level(depth_);
  if (depth_ > kMaxDepth) return too_deep(current().line);
  ExpressionPtr node;
  if (current().is_operator("-") || current().is_operator("+")) {
    const bool is_minus = current().is_operator("-");
    node = make(is_minus ? ExpressionKind::kNegate : ExpressionKind::kPlus, take().line);
    KVASIR_ASSIGN_OR_RETURN(ExpressionPtr operand, unary(false));
    KVASIR_RETURN_IF_ERROR(add_operand(*node, std::move(operand)));
  } else {
    KVASIR_ASSIGN_OR_RETURN(node, primary());
  }
  KVASIR_ASSIGN_OR_RETURN(node, postfix(std::move(node)));
  if (!with_filters) return node;
  return filters_and_tests(std::move(node));
}

Parser::Parsed Parser::name_expression(const Token& token) {
  ExpressionPtr node = make(ExpressionKind::kConstant, token.line);
  const std::string& name = token.text;
  if (name == "true" || name == "True" || name == "false" || name == "False") {
    node->value = make_bool(name == "true" || name == "True");
  } else if (name == "none" || name == "None") {
    node->value = make_none();
  } else {
    node->kind = ExpressionKind::kName;
    node->symbol = symbol(name);
    reads_loop_ |= node->symbol == kLoopSymbol;
    for (Reads& reads : macros_) {
      reads.caller |= node->symbol == kCallerSymbol;
      reads.varargs |= node->symbol == kVarargsSymbol;
      reads.kwargs |= node->symbol == kKwargsSymbol;
    }
  }
  return node;
}

Parser::Parsed Parser::primary() {
  const int line = current().line;
  ExpressionPtr node = make(ExpressionKind::kConstant, line);
  switch (current().type) {
    case TokenType::kName:
      return name_expression(take());
    case TokenType::kString:
      while (current().type == TokenType::kString) node->text += take().text;
      node->value = borrow_text(node->text);
      return node;
    case TokenType::kInteger: {
      const Int value = take().integer;
      node->value = make_int(static_cast<std::int64_t>(value));
      if (value > INT64_MAX) {
        node->wide = std::make_unique<Int>(value);
        node->value.detail = kWide;
        node->value.wide = node->wide.get();
      }
      return node;
    }
    case TokenType::kFloat:
      node->value = make_float(take().real);
      return node;
    case TokenType::kOperator:
      if (take_operator("(")) {
        KVASIR_ASSIGN_OR_RETURN(node, tuple(true, true));
        KVASIR_RETURN_IF_ERROR(expect_operator(")"));
        return node;
      }
      if (current().is_operator("[")) return list();
      if (current().is_operator("{")) return dict();
      break;
    default:
      break;
  }
  return fail(fmt::format("unexpected '{}'", current().describe()));
}

// Expressions with commas between them; one without a comma is itself.
Parser::Parsed Parser::tuple(bool with_condition, bool in_parentheses, std::string_view end_name) {
  const int line = current().line;
  ExpressionPtr node = make(ExpressionKind::kTuple, line);
  bool is_tuple = false;
  const auto is_end = [&] {
    const TokenType type = current().type;
    return type == TokenType::kVariableEnd || type == TokenType::kBlockEnd || current().is_operator(")") ||
           (!end_name.empty() && current().is_name(end_name));
  };
  while (!is_end()) {
    KVASIR_ASSIGN_OR_RETURN(ExpressionPtr operand, expression(with_condition));
    KVASIR_RETURN_IF_ERROR(add_operand(*node, std::move(operand)));
    if (!take_operator(",")) break;
    is_tuple = true;
  }
  if (is_tuple) return node;
  if (!node->operands.empty()) return std::move(node->operands[0]);
  if (!in_parentheses) return fail(fmt::format("Expected an expression, got '{}'", current().describe()));
  return node;
}

Parser::Parsed Parser::list() {
  ExpressionPtr node = make(ExpressionKind::kList, take().line);
  while (!current().is_operator("]")) {
    if (!node->operands.empty()) KVASIR_RETURN_IF_ERROR(expect_operator(","));
    if (current().is_operator("]")) break;
    KVASIR_ASSIGN_OR_RETURN(ExpressionPtr item, expression());
    KVASIR_RETURN_IF_ERROR(add_operand(*node, std::move(item)));
  }
  KVASIR_RETURN_IF_ERROR(expect_operator("]"));
  return node;
}

Parser::Parsed Parser::dict() {
  ExpressionPtr node = make(ExpressionKind::kDict, take().line);
  while (!current().is_operator("}")) {
    if (!node->operands.empty()) KVASIR_RETURN_IF_ERROR(expect_operator(","));
    if (current().is_operator("}")) break;
    KVASIR_ASSIGN_OR_RETURN(ExpressionPtr key, expression());
    KVASIR_RETURN_IF_ERROR(add_operand(*node, std::move(key)));
    KVASIR_RETURN_IF_ERROR(expect_operator(":"));
    KVASIR_ASSIGN_OR_RETURN(ExpressionPtr value, expression());
    KVASIR_RETURN_IF_ERROR(add_operand(*node, std::move(value)));
  }
  KVASIR_RETURN_IF_ERROR(expect_operator("}"));
  return node;
}

Parser::Parsed Parser::postfix(ExpressionPtr operand) {
  while (true) {
    if (current().is_operator(".") || current().is_operator("[")) {
      KVASIR_ASSIGN_OR_RETURN(operand, subscript(std::move(operand)));
    } else if (current().is_operator("(")) {
      KVASIR_ASSIGN_OR_RETURN(operand, call(std::move(operand)));
    } else {
      return operand;
    }
  }
}

Parser::Parsed Parser::filters_and_tests(ExpressionPtr operand) {
  while (true) {
    if (take_operator("|")) {
      KVASIR_ASSIGN_OR_RETURN(operand, filter(std::move(operand)));
    } else if (current().is_name("is")) {
      KVASIR_ASSIGN_OR_RETURN(operand, test(std::move(operand)));
    } else if (current().is_operator("(")) {
      KVASIR_ASSIGN_OR_RETURN(operand, call(std::move(operand)));
    } else {
      return operand;
    }
  }
}

Parser::Parsed Parser::subscript(ExpressionPtr operand) {
  const Token& begin = take();
  const int line = begin.line;
  if (begin.is_operator(".")) {
    const Token& name = take();
    if (name.type == TokenType::kName) {
      ExpressionPtr node = make(ExpressionKind::kAttribute, line);
      node->text = name.text;
      KVASIR_RETURN_IF_ERROR(add_operand(*node, std::move(operand)));
      return node;
    }
    if (name.type != TokenType::kInteger) return fail(name.line, "expected name or number");
    ExpressionPtr index = make(ExpressionKind::kConstant, line);
    index->value = make_int(static_cast<std::int64_t>(std::min(name.integer, Int{INT64_MAX})));
    return binary(ExpressionKind::kItem, std::move(operand), std::move(index), line);
  }
  if (current().is_operator(":")) return slice(std::move(operand), nullptr, line);
  if (current().is_operator("]")) return fail("Expected an expression, got ']'");
  KVASIR_ASSIGN_OR_RETURN(ExpressionPtr key, expression());
  if (current().is_operator(":")) return slice(std::move(operand), std::move(key), line);
  if (current().is_operator(",")) {  // a key of several parts
    ExpressionPtr parts = make(ExpressionKind::kTuple, line);
    KVASIR_RETURN_IF_ERROR(add_operand(*parts, std::move(key)));
    while (take_operator(",")) {
      KVASIR_ASSIGN_OR_RETURN(ExpressionPtr part, expression());
      KVASIR_RETURN_IF_ERROR(add_operand(*parts, std::move(part)));
    }
    key = std::move(parts);
  }
  KVASIR_RETURN_IF_ERROR(expect_operator("]"));
  return binary(ExpressionKind::kItem, std::move(operand), std::move(key), line);
}

// At the first colon.
Parser::Parsed Parser::slice(ExpressionPtr operand, ExpressionPtr start, int line) {
  ExpressionPtr node = make(ExpressionKind::kSlice, line);
  KVASIR_RETURN_IF_ERROR(add_operand(*node, std::move(operand)));
  KVASIR_RETURN_IF_ERROR(add_operand(*node, std::move(start)));
  for (int i = 0; i < 2; ++i) {
    ExpressionPtr part;
    const bool has_colon = take_operator(":");
    if (has_colon && !current().is_operator(":") && !current().is_operator("]")) {
      KVASIR_ASSIGN_OR_RETURN(part, expression());
    }
    KVASIR_RETURN_IF_ERROR(add_operand(*node, std::move(part)));
  }
  KVASIR_RETURN_IF_ERROR(expect_operator("]"));
  return node;
}

}  // namespace kvasir::tokenizer::jinja
