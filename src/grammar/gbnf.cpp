#include "grammar/gbnf.h"

#include <algorithm>
#include <map>
#include <string>
#include <utility>
#include <vector>

#include "grammar/text_cursor.h"

namespace kvasir::grammar {
namespace {

constexpr int kMaxGroupDepth = 100;

bool is_name_character(char32_t c) {
  return (c >= U'a' && c <= U'z') || (c >= U'A' && c <= U'Z') || (c >= U'0' && c <= U'9') || c == U'-' ||
         c == U'_';
}

class GbnfParser {
 public:
  GbnfParser(GrammarBuilder& builder, std::string_view text) : builder_(builder), cursor_(text) {}

  Result<Expr> parse() {
    if (cursor_.text().size() > kMaxTextBytes) {
      return error(StatusCode::kInvalidArgument, "grammar: {} bytes, expected at most {}",
                   cursor_.text().size(), kMaxTextBytes);
    }
    for (skip_space(); !cursor_.at_end(); skip_space()) KVASIR_RETURN_IF_ERROR(parse_rule());
    for (const auto& [name, rule] : rules_) {
      if (!rule.is_defined) return error_at(rule.first_use, fmt::format("rule '{}' is not defined", name));
    }
    const auto root = rules_.find("root");
    if (root == rules_.end())
      return error(StatusCode::kInvalidArgument, "grammar: expected a rule named 'root'");
    return builder_.call(root->second.id);
  }

 private:
  struct NamedRule {
    RuleId id = 0;
    bool is_defined = false;
    std::size_t first_use = 0;
  };

  Status error_at(std::size_t position, std::string_view what) const {
    const std::string_view before = cursor_.text().substr(0, position);
    const auto line = 1 + std::count(before.begin(), before.end(), '\n');
    const std::size_t line_begin = before.rfind('\n') + 1;  // npos + 1 is 0
    return error(StatusCode::kInvalidArgument, "grammar: line {}, column {}: {}", line,
                 position - line_begin + 1, what);
  }
  Status invalid(std::string_view what) const { return error_at(cursor_.position(), what); }

  void skip_space() {
    for (;;) {
      const char32_t next = cursor_.peek();
      if (next == U'#') {
        while (!cursor_.at_end() && cursor_.peek() != U'\n') cursor_.take();
      } else if (next == U' ' || next == U'\t' || next == U'\r' || next == U'\n') {
        cursor_.take();
      } else {
        return;
      }
    }
  }

  std::string take_name() {
    std::string name;
    while (is_name_character(cursor_.peek())) name += static_cast<char>(cursor_.take());
    return name;
  }

  NamedRule& rule_named(const std::string& name, std::size_t position) {
    const auto [found, is_new] = rules_.try_emplace(name);
    if (is_new) found->second = {builder_.declare(name), false, position};
    return found->second;
  }

  Status parse_rule() {
    const std::size_t begin = cursor_.position();
    const std::string name = take_name();
    if (name.empty()) return invalid("expected the name of a rule");
    skip_space();
    if (!cursor_.take_if("::=")) return invalid("expected '::='");
    KVASIR_ASSIGN_OR_RETURN(const Expr expression, parse_alternatives(0));
    NamedRule& rule = rule_named(name, begin);
    if (rule.is_defined) return error_at(begin, fmt::format("rule '{}' is defined twice", name));
    rule.is_defined = true;
    builder_.define(rule.id, expression);
    return builder_.status();
  }

  Result<Expr> parse_alternatives(int depth) {
    std::vector<Expr> alternatives;
    do {
      KVASIR_ASSIGN_OR_RETURN(const Expr alternative, parse_sequence(depth));
      alternatives.push_back(alternative);
    } while (cursor_.take_if(U'|'));
    return builder_.any_of(std::move(alternatives));
  }

  // The next rule begins here.
  bool at_rule() {
    const std::size_t begin = cursor_.position();
    take_name();
    skip_space();
    const bool result = cursor_.rest().starts_with("::=");
    cursor_.move_to(begin);
    return result;
  }

  Result<Expr> parse_sequence(int depth) {
    std::vector<Expr> parts;
    for (;;) {
      skip_space();
      const char32_t next = cursor_.peek();
      if (next == TextCursor::kEnd || next == U'|' || next == U')') break;
      if (is_name_character(next) && at_rule()) break;
      KVASIR_ASSIGN_OR_RETURN(const Expr atom, parse_atom(depth));
      skip_space();
      KVASIR_ASSIGN_OR_RETURN(const Expr repeated, parse_repetition(atom));
      parts.push_back(repeated);
    }
    if (depth == 0 && cursor_.peek() == U')') return invalid("')' without '('");
    return parts.empty() ? builder_.empty() : builder_.sequence(std::move(parts));
  }

  Result<Expr> parse_repetition(Expr atom) {
    if (cursor_.take_if(U'*')) return builder_.repeat(atom, 0, GrammarBuilder::kUnbounded);
    if (cursor_.take_if(U'+')) return builder_.repeat(atom, 1, GrammarBuilder::kUnbounded);
    if (cursor_.take_if(U'?')) return builder_.optional(atom);
    if (!cursor_.take_if(U'{')) return atom;
    const auto counts = take_repetition(cursor_, kMaxRepetitions);
    if (!counts)
      return invalid(fmt::format("expected {{m}}, {{m,}} or {{m,n}} up to {} in order", kMaxRepetitions));
    return builder_.repeat(atom, counts->min, counts->max);
  }

  Result<Expr> parse_atom(int depth) {
    const std::size_t begin = cursor_.position();
    const char32_t next = cursor_.peek();
    if (is_name_character(next)) {
      const std::string name = take_name();
      return builder_.call(rule_named(name, begin).id);
    }
    switch (next) {
      case U'"':
        return parse_literal();
      case U'[':
        return parse_class();
      case U'.':
        cursor_.take();
        return builder_.character(CharacterClass::all());
      case U'(': {
        if (depth >= kMaxGroupDepth)
          return invalid(fmt::format("groups nested deeper than {}", kMaxGroupDepth));
        cursor_.take();
        KVASIR_ASSIGN_OR_RETURN(const Expr inside, parse_alternatives(depth + 1));
        if (!cursor_.take_if(U')')) return invalid("expected ')'");
        return inside;
      }
      case kInvalidCharacter:
        return invalid("text that is not UTF-8");
      default:
        return invalid("expected a literal, a class, a group or the name of a rule");
    }
  }

  Result<Expr> parse_literal() {
    const std::size_t begin = cursor_.position();
    cursor_.take();
    std::string text;
    while (!cursor_.take_if(U'"')) {
      if (cursor_.at_end()) return error_at(begin, "a literal without its end");
      KVASIR_ASSIGN_OR_RETURN(const char32_t c, parse_character());
      append_utf8(text, c);
    }
    return builder_.literal(text);
  }

  Result<Expr> parse_class() {
    const std::size_t begin = cursor_.position();
    cursor_.take();
    const bool is_negated = cursor_.take_if(U'^');
    std::vector<CharacterClass::Range> ranges;
    while (!cursor_.take_if(U']')) {
      if (cursor_.at_end()) return error_at(begin, "a class without its ']'");
      KVASIR_ASSIGN_OR_RETURN(const char32_t first, parse_character());
      char32_t last = first;
      if (cursor_.peek() == U'-' && !cursor_.rest().starts_with("-]")) {
        cursor_.take();
        if (cursor_.at_end()) return error_at(begin, "a class without its ']'");
        KVASIR_ASSIGN_OR_RETURN(last, parse_character());
      }
      if (last < first) return invalid("a range whose end is before its beginning");
      ranges.emplace_back(first, last);
    }
    const CharacterClass characters = CharacterClass::of(std::move(ranges));
    return builder_.character(is_negated ? characters.negated() : characters);
  }

  // One character of a literal or a class. Requires: not at the end.
  Result<char32_t> parse_character() {
    const std::size_t begin = cursor_.position();
    const char32_t c = cursor_.take();
    if (c == kInvalidCharacter) return error_at(begin, "text that is not UTF-8");
    if (c != U'\\') return c;
    const char32_t kind = cursor_.take();
    switch (kind) {
      case U'n':
        return U'\n';
      case U'r':
        return U'\r';
      case U't':
        return U'\t';
      case U'\\':
      case U'"':
      case U'[':
      case U']':
      case U'-':
      case U'^':
        return kind;
      case U'x':
      case U'u':
      case U'U':
        if (const auto code = cursor_.take_hex(kind == U'x' ? 2 : kind == U'u' ? 4 : 8)) return *code;
        return error_at(begin, "expected the hexadecimal number of a character");
      default:
        return error_at(begin, "an unknown escape");
    }
  }

  GrammarBuilder& builder_;
  TextCursor cursor_;
  std::map<std::string, NamedRule> rules_;
};

}  // namespace

Result<Expr> add_gbnf(GrammarBuilder& builder, std::string_view text) {
  return GbnfParser(builder, text).parse();
}

}  // namespace kvasir::grammar
