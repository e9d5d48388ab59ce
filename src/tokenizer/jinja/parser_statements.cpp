#include <algorithm>
#include <utility>

#include "tokenizer/jinja/parser.h"
#include "tokenizer/jinja/parser_impl.h"
#include "tokenizer/jinja/printing.h"

namespace kvasir::tokenizer::jinja {
namespace {

// A variable that has another value for as long as this lives.
template <typename T>
class Restore {
 public:
  Restore(T& variable, T value) : variable_(variable), before_(std::exchange(variable, value)) {}
  ~Restore() { variable_ = before_; }
  Restore(const Restore&) = delete;
  Restore& operator=(const Restore&) = delete;

 private:
  T& variable_;
  const T before_;
};

Statement make_statement(StatementKind kind, int line) {
  Statement statement{};
  statement.kind = kind;
  statement.line = line;
  return statement;
}

}  // namespace

Parser::Parser(std::vector<Token> tokens) : tokens_(std::move(tokens)) {
  for (const char* name : {"loop", "caller", "varargs", "kwargs"}) symbol(name);
}

Result<SyntaxTree> Parser::run() {
  KVASIR_ASSIGN_OR_RETURN(tree_.body, body({}));
  for (const Unknown& unknown : unknown_) {
    if (!unknown.is_soft)
      return fail(unknown.line, fmt::format("No {} named {}.", unknown.kind, in_quotes(unknown.name)));
  }
  return std::move(tree_);
}

Symbol Parser::symbol(const std::string& name) {
  const auto [place, is_new] = symbols_.emplace(name, static_cast<Symbol>(tree_.names.size()));
  if (is_new) tree_.names.push_back(name);
  return place->second;
}

const Token& Parser::take() {
  const Token& token = current();
  if (token.type != TokenType::kEnd) ++at_;
  return token;
}

bool Parser::take_operator(std::string_view sign) {
  if (!current().is_operator(sign)) return false;
  take();
  return true;
}

bool Parser::take_name(std::string_view name) {
  if (!current().is_name(name)) return false;
  take();
  return true;
}

Status Parser::fail(int line, std::string_view what) const {
  return error(StatusCode::kCorrupt, "line {}: {}", line, what);
}

Status Parser::unexpected(std::string_view expected) const {
  if (current().type == TokenType::kEnd)
    return fail(fmt::format("unexpected end of template, expected '{}'.", expected));
  return fail(fmt::format("expected token '{}', got '{}'", expected, current().describe()));
}

Status Parser::expect_operator(std::string_view sign) {
  return take_operator(sign) ? Status() : unexpected(sign);
}

Status Parser::expect_name(std::string_view name) {
  return take_name(name) ? Status() : unexpected(name);
}

Status Parser::expect(TokenType type, std::string_view what) {
  if (current().type != type) return unexpected(what);
  take();
  return Status();
}

Result<Body> Parser::body(std::initializer_list<std::string_view> ends) {
  const Restore<int> level(statement_depth_, statement_depth_ + 1);
  if (statement_depth_ > kMaxStatementDepth) {
    return fail(fmt::format("statements inside each other more than {} times", kMaxStatementDepth));
  }
  Body out;
  while (current().type != TokenType::kEnd) {
    if (current().type == TokenType::kBlockBegin) {
      const bool is_end =
          std::ranges::any_of(ends, [&](std::string_view end) { return next().is_name(end); });
      if (is_end) {
        take();
        return out;
      }
    }
    KVASIR_RETURN_IF_ERROR(statement(out));
  }
  if (ends.size() == 0) return out;
  return fail(fmt::format("Unexpected end of template. Jinja was looking for the following tags: '{}'.",
                          fmt::join(ends, "' or '")));
}

Status Parser::statement(Body& out) {
  const int line = current().line;
  if (current().type == TokenType::kData) {
    out.push_back(make_statement(StatementKind::kText, line));
    out.back().text = take().text;
    return Status();
  }
  if (current().type == TokenType::kVariableBegin) {
    take();
    Statement print = make_statement(StatementKind::kPrint, line);
    KVASIR_ASSIGN_OR_RETURN(print.expression, tuple(true, false));
    out.push_back(std::move(print));
    return expect(TokenType::kVariableEnd, "end of print statement");
  }
  take();
  if (current().is_name("print")) {
    KVASIR_RETURN_IF_ERROR(print_statement(out));
  } else {
    KVASIR_ASSIGN_OR_RETURN(Statement tag, tag_statement());
    out.push_back(std::move(tag));
  }
  return expect(TokenType::kBlockEnd, "end of statement block");
}

Result<Statement> Parser::tag_statement() {
  const Token& tag = current();
  if (tag.type != TokenType::kName) return fail("tag name expected");
  const std::string& name = tag.text;
  if (name == "for") return for_statement();
  if (name == "if") return if_statement();
  if (name == "set") return set_statement();
  if (name == "with") return with_statement();
  if (name == "macro") return macro_statement();
  if (name == "call") return call_block();
  if (name == "filter") return filter_block();
  if (name == "generation") return scope_statement("endgeneration");
  if (name == "autoescape") return scope_statement("endautoescape");
  if (name == "block") return block_statement();
  if (name == "include" || name == "import" || name == "from" || name == "extends") return load_statement();
  if (name == "break" || name == "continue") {
    if (loop_depth_ == 0) return fail(fmt::format("'{}' outside loop", name));
    take();
    return make_statement(name == "break" ? StatementKind::kBreak : StatementKind::kContinue, tag.line);
  }
  return fail(fmt::format("Encountered unknown tag {}.", in_quotes(name)));
}

// Behind the name of a tag: its end, then statements up to an end tag, whose name is then current.
Result<Body> Parser::closed_body(std::string_view end) {
  const Restore<bool> hard(is_soft_, false);
  take_operator(":");
  KVASIR_RETURN_IF_ERROR(expect(TokenType::kBlockEnd, "end of statement block"));
  KVASIR_ASSIGN_OR_RETURN(Body statements, body({end}));
  take();
  return statements;
}

Result<Statement> Parser::for_statement() {
  Statement loop = make_statement(StatementKind::kFor, take().line);
  KVASIR_ASSIGN_OR_RETURN(loop.target, target(false, "in"));
  KVASIR_RETURN_IF_ERROR(expect_name("in"));
  KVASIR_ASSIGN_OR_RETURN(loop.expression, tuple(false, false, "recursive"));
  if (take_name("if")) {
    KVASIR_ASSIGN_OR_RETURN(loop.condition, expression());
  }
  loop.is_recursive = take_name("recursive");
  const Restore<bool> hard(is_soft_, false);
  take_operator(":");
  KVASIR_RETURN_IF_ERROR(expect(TokenType::kBlockEnd, "end of statement block"));
  {
    const Restore<int> inside(loop_depth_, loop_depth_ + 1);
    const Restore<bool> reads(reads_loop_, false);
    KVASIR_ASSIGN_OR_RETURN(loop.body, body({"endfor", "else"}));
    loop.reads_loop = reads_loop_;
  }
  reads_loop_ |= loop.reads_loop;
  if (take().is_name("endfor")) return loop;
  KVASIR_ASSIGN_OR_RETURN(loop.else_body, closed_body("endfor"));
  return loop;
}

Result<Statement> Parser::if_statement() {
  const Restore<bool> soft(is_soft_, true);
  Statement result = make_statement(StatementKind::kIf, current().line);
  while (true) {  // at the name `if` or `elif`
    take();
    Branch branch;
    KVASIR_ASSIGN_OR_RETURN(branch.condition, tuple(false, false));
    take_operator(":");
    KVASIR_RETURN_IF_ERROR(expect(TokenType::kBlockEnd, "end of statement block"));
    KVASIR_ASSIGN_OR_RETURN(branch.body, body({"elif", "else", "endif"}));
    result.branches.push_back(std::move(branch));
    if (current().is_name("elif")) continue;
    if (take().is_name("endif")) return result;
    take_operator(":");
    KVASIR_RETURN_IF_ERROR(expect(TokenType::kBlockEnd, "end of statement block"));
    KVASIR_ASSIGN_OR_RETURN(result.else_body, body({"endif"}));
    take();
    return result;
  }
}

Result<Statement> Parser::set_statement() {
  Statement set = make_statement(StatementKind::kSet, take().line);
  KVASIR_ASSIGN_OR_RETURN(set.target, target(true));
  if (take_operator("=")) {
    KVASIR_ASSIGN_OR_RETURN(set.expression, tuple(true, false));
    return set;
  }
  set.kind = StatementKind::kSetBlock;
  while (take_operator("|")) {
    KVASIR_ASSIGN_OR_RETURN(set.filter, filter(std::move(set.filter)));
  }
  KVASIR_ASSIGN_OR_RETURN(set.body, closed_body("endset"));
  return set;
}

Result<Statement> Parser::with_statement() {
  Statement with = make_statement(StatementKind::kWith, take().line);
  while (current().type != TokenType::kBlockEnd) {
    if (!with.assignments.empty()) KVASIR_RETURN_IF_ERROR(expect_operator(","));
    Assignment assignment;
    KVASIR_ASSIGN_OR_RETURN(assignment.target, target(false));
    KVASIR_RETURN_IF_ERROR(expect_operator("="));
    KVASIR_ASSIGN_OR_RETURN(assignment.value, expression());
    with.assignments.push_back(std::move(assignment));
  }
  KVASIR_ASSIGN_OR_RETURN(with.body, closed_body("endwith"));
  return with;
}

Status Parser::signature(Statement& macro) {
  KVASIR_RETURN_IF_ERROR(expect_operator("("));
  while (!current().is_operator(")")) {
    if (!macro.parameters.empty()) KVASIR_RETURN_IF_ERROR(expect_operator(","));
    if (current().type != TokenType::kName) return unexpected("name");
    Parameter parameter;
    parameter.name = take().text;
    parameter.symbol = symbol(parameter.name);
    const auto is_same = [&](const Parameter& each) { return each.name == parameter.name; };
    if (std::ranges::any_of(macro.parameters, is_same))
      return fail(fmt::format("duplicate argument {}", in_quotes(parameter.name)));
    if (take_operator("=")) {
      KVASIR_ASSIGN_OR_RETURN(parameter.default_value, expression());
    } else if (!macro.parameters.empty() && macro.parameters.back().default_value != nullptr) {
      return fail("non-default argument follows default argument");
    }
    macro.parameters.push_back(std::move(parameter));
  }
  return expect_operator(")");
}

Status Parser::macro_body(Statement& macro, std::string_view end) {
  const Restore<int> outside(loop_depth_, 0);
  macros_.emplace_back();
  KVASIR_ASSIGN_OR_RETURN(macro.body, closed_body(end));
  macro.reads_caller = macros_.back().caller;
  macro.reads_varargs = macros_.back().varargs;
  macro.reads_kwargs = macros_.back().kwargs;
  macros_.pop_back();
  for (const Parameter& parameter : macro.parameters) {
    if (parameter.symbol == kVarargsSymbol) macro.reads_varargs = false;
    if (parameter.symbol == kKwargsSymbol) macro.reads_kwargs = false;
    if (parameter.symbol != kCallerSymbol) continue;
    if (macro.reads_caller && parameter.default_value == nullptr) {
      return fail(macro.line, "the special \"caller\" argument must be omitted or be given a default.");
    }
    macro.reads_caller = false;
  }
  return Status();
}

Result<Statement> Parser::macro_statement() {
  Statement macro = make_statement(StatementKind::kMacro, take().line);
  if (current().type != TokenType::kName) return unexpected("name");
  macro.text = take().text;
  macro.symbol = symbol(macro.text);
  KVASIR_RETURN_IF_ERROR(signature(macro));
  KVASIR_RETURN_IF_ERROR(macro_body(macro, "endmacro"));
  return macro;
}

Result<Statement> Parser::call_block() {
  Statement block = make_statement(StatementKind::kCallBlock, take().line);
  block.text = "caller";
  if (current().is_operator("(")) KVASIR_RETURN_IF_ERROR(signature(block));
  KVASIR_ASSIGN_OR_RETURN(block.expression, expression());
  if (block.expression->kind != ExpressionKind::kCall) return fail(block.line, "expected call");
  KVASIR_RETURN_IF_ERROR(macro_body(block, "endcall"));
  return block;
}

Result<Statement> Parser::filter_block() {
  Statement block = make_statement(StatementKind::kFilterBlock, take().line);
  KVASIR_ASSIGN_OR_RETURN(block.filter, filter(nullptr));
  while (take_operator("|")) {
    KVASIR_ASSIGN_OR_RETURN(block.filter, filter(std::move(block.filter)));
  }
  KVASIR_ASSIGN_OR_RETURN(block.body, closed_body("endfilter"));
  return block;
}

Result<Statement> Parser::scope_statement(std::string_view end) {
  Statement scope = make_statement(StatementKind::kScope, take().line);
  const bool is_function = end == "endgeneration";
  if (!is_function) {
    KVASIR_ASSIGN_OR_RETURN(const ExpressionPtr setting, expression());
    const bool is_off = setting->kind == ExpressionKind::kConstant && setting->value.is(Type::kBool) &&
                        !setting->value.boolean;
    if (!is_off) return error(StatusCode::kUnsupported, "line {}: autoescape is not supported", scope.line);
  }
  const Restore<int> loops(loop_depth_, is_function ? 0 : loop_depth_);
  KVASIR_ASSIGN_OR_RETURN(scope.body, closed_body(end));
  return scope;
}

Result<Statement> Parser::block_statement() {
  Statement block = make_statement(StatementKind::kBlock, take().line);
  if (current().type != TokenType::kName) return unexpected("name");
  block.text = take().text;
  if (take_name("scoped")) block.kind = StatementKind::kScope;
  take_name("required");
  const Restore<int> outside(loop_depth_, 0);
  KVASIR_ASSIGN_OR_RETURN(block.body, closed_body("endblock"));
  take_name(block.text);
  return block;
}

// include, import, from, extends: there is no place to load templates from, so what they say is passed over.
Result<Statement> Parser::load_statement() {
  Statement load = make_statement(StatementKind::kLoadTemplate, take().line);
  KVASIR_ASSIGN_OR_RETURN(load.expression, expression());
  while (current().type != TokenType::kBlockEnd) {
    if (current().type != TokenType::kName && !current().is_operator(","))
      return unexpected("end of statement block");
    take();
  }
  return load;
}

Status Parser::print_statement(Body& out) {
  const int line = take().line;
  for (bool is_first = true; current().type != TokenType::kBlockEnd; is_first = false) {
    if (!is_first) KVASIR_RETURN_IF_ERROR(expect_operator(","));
    Statement print = make_statement(StatementKind::kPrint, line);
    KVASIR_ASSIGN_OR_RETURN(print.expression, expression());
    out.push_back(std::move(print));
  }
  return Status();
}

Result<Target> Parser::single_target(bool with_attributes) {
  Target result;
  result.line = current().line;
  const Restore<int> level(depth_, depth_ + 1);
  if (depth_ > kMaxDepth) return too_deep(result.line);
  if (take_operator("(")) {
    KVASIR_ASSIGN_OR_RETURN(result, target(false, ")"));
    KVASIR_RETURN_IF_ERROR(expect_operator(")"));
    return result;
  }
  if (current().type != TokenType::kName)
    return fail(fmt::format("can't assign to '{}'", current().describe()));
  const std::string& name = take().text;
  for (const char* constant : {"true", "True", "false", "False", "none", "None"}) {
    if (name == constant) return fail(fmt::format("can't assign to '{}'", name));
  }
  result.symbol = symbol(name);
  if (with_attributes && take_operator(".")) {
    if (current().type != TokenType::kName) return unexpected("name");
    result.attribute = take().text;
  } else if (result.symbol == kLoopSymbol && loop_depth_ > 0) {
    return fail("Can't assign to special loop variable in for-loop target");
  }
  return result;
}

Result<Target> Parser::target(bool with_attributes, std::string_view end_name) {
  Target result;
  result.line = current().line;
  while (true) {
    const bool is_end = current().type == TokenType::kBlockEnd || current().is_operator(")") ||
                        (!result.targets.empty() && current().is_name(end_name));
    if (is_end) break;
    KVASIR_ASSIGN_OR_RETURN(Target part, single_target(with_attributes));
    result.targets.push_back(std::move(part));
    if (!take_operator(",")) break;
    result.is_tuple = true;
  }
  if (result.is_tuple) return result;
  if (!result.targets.empty()) {
    Target only = std::move(result.targets[0]);
    return only;
  }
  if (end_name != ")") return fail(fmt::format("Expected an expression, got '{}'", current().describe()));
  result.is_tuple = true;
  return result;
}

Result<SyntaxTree> parse(std::string_view source) {
  KVASIR_ASSIGN_OR_RETURN(std::vector<Token> tokens, tokenize(source));
  return Parser(std::move(tokens)).run();
}

}  // namespace kvasir::tokenizer::jinja
