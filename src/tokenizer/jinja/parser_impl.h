#pragma once

// The parser's state, and its parts: parser_statements.cpp, parser_expressions.cpp, parser_calls.cpp.

#include <algorithm>
#include <initializer_list>
#include <string>
#include <unordered_map>
#include <vector>

#include "tokenizer/jinja/ast.h"
#include "tokenizer/jinja/lexer.h"

namespace kvasir::tokenizer::jinja {

class Parser {
 public:
  explicit Parser(std::vector<Token> tokens);

  Result<SyntaxTree> run();

 private:
  // Of expressions and of statements inside each other.
  static constexpr int kMaxDepth = 200;
  static constexpr int kMaxStatementDepth = 60;

  using Parsed = Result<ExpressionPtr>;

  // Tokens.
  const Token& current() const { return tokens_[at_]; }
  const Token& next() const { return tokens_[std::min(at_ + 1, tokens_.size() - 1)]; }
  const Token& take();
  bool take_operator(std::string_view sign);
  bool take_name(std::string_view name);
  Status expect_operator(std::string_view sign);
  Status expect_name(std::string_view name);
  Status expect(TokenType type, std::string_view what);
  Status fail(int line, std::string_view what) const;
  Status fail(std::string_view what) const { return fail(current().line, what); }
  Status unexpected(std::string_view expected) const;

  // Expressions, from the loosest binding to the tightest.
  Parsed expression(bool with_condition = true);
  Parsed condition();
  Parsed either();
  Parsed both();
  Parsed negation();
  Parsed comparison();
  Parsed sum();
  Parsed concatenation();
  Parsed product();
  Parsed power();
  Parsed unary(bool with_filters);
  Parsed primary();
  Parsed postfix(ExpressionPtr operand);
  Parsed filters_and_tests(ExpressionPtr operand);
  Parsed tuple(bool with_condition, bool in_parentheses, std::string_view end_name = "");
  Parsed list();
  Parsed dict();
  Parsed subscript(ExpressionPtr operand);
  Parsed slice(ExpressionPtr operand, ExpressionPtr start, int line);
  Parsed call(ExpressionPtr callee);
  Parsed filter(ExpressionPtr operand);  // behind the |
  Parsed test(ExpressionPtr operand);
  Result<std::unique_ptr<Call>> call_arguments();
  Status add_arguments(Expression& node);
  Status too_deep(int line) const;
  Parsed binary(ExpressionKind kind, ExpressionPtr left, ExpressionPtr right, int line);
  ExpressionPtr make(ExpressionKind kind, int line) const;
  // The node with one more operand (may be null). Errors: a tree that is too deep.
  Status add_operand(Expression& node, ExpressionPtr operand) const;
  Parsed name_expression(const Token& token);

  // Statements.
  Result<Body> body(std::initializer_list<std::string_view> ends);
  Status statement(Body& out);
  Result<Statement> tag_statement();
  Result<Statement> for_statement();
  Result<Statement> if_statement();
  Result<Statement> set_statement();
  Result<Statement> with_statement();
  Result<Statement> macro_statement();
  Result<Statement> call_block();
  Result<Statement> filter_block();
  Result<Statement> scope_statement(std::string_view end);
  Result<Statement> block_statement();
  Result<Statement> load_statement();
  Status print_statement(Body& out);
  // The body up to the end tag, which is taken. It has a scope of its own.
  Result<Body> closed_body(std::string_view end);
  Status signature(Statement& macro);
  Status macro_body(Statement& macro, std::string_view end);
  Result<Target> target(bool with_attributes, std::string_view end_name = "");
  Result<Target> single_target(bool with_attributes);

  Symbol symbol(const std::string& name);

  std::vector<Token> tokens_;
  std::size_t at_ = 0;
  std::unordered_map<std::string, Symbol> symbols_;
  SyntaxTree tree_;
  int depth_ = 0;  // of expressions
  int statement_depth_ = 0;
  int loop_depth_ = 0;  // loops around here in the same macro
  // Filters and tests that there are not. Inside an `if` they are soft: a failure only when they are reached.
  struct Unknown {
    int line;
    std::string_view kind;
    std::string name;
    bool is_soft;
  };
  std::vector<Unknown> unknown_;
  bool is_soft_ = false;
  bool reads_loop_ = false;  // the body of the innermost loop so far
  // Of the macros around here, the innermost last: which special variables they read.
  struct Reads {
    bool caller = false, varargs = false, kwargs = false;
  };
  std::vector<Reads> macros_;
};

}  // namespace kvasir::tokenizer::jinja
