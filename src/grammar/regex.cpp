#include "grammar/regex.h"

#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "grammar/json_text.h"
#include "grammar/text_cursor.h"

namespace kvasir::grammar {
namespace {

constexpr int kMaxGroupDepth = 100;

const CharacterClass kDigits = {{'0', '9'}};
const CharacterClass kWord = {{'0', '9'}, {'A', 'Z'}, {'_', '_'}, {'a', 'z'}};
const CharacterClass kSpace = {{'\t', '\r'}, {' ', ' '}};

bool is_punctuation(char32_t c) {
  return c > ' ' && c < 0x7F && !kWord.contains(c);
}

class RegexParser {
 public:
  RegexParser(GrammarBuilder& builder, std::string_view pattern, const RegexOptions& options)
      : builder_(builder), cursor_(pattern), options_(options) {}

  Result<Expr> parse() {
    if (cursor_.text().size() > kMaxTextBytes) {
      return error(StatusCode::kInvalidArgument, "regex: {} bytes, expected at most {}",
                   cursor_.text().size(), kMaxTextBytes);
    }
    std::vector<Expr> alternatives;
    do {
      KVASIR_ASSIGN_OR_RETURN(const Expr alternative, parse_anchored());
      alternatives.push_back(alternative);
    } while (cursor_.take_if(U'|'));
    if (!cursor_.at_end()) return invalid("')' without '('");
    return builder_.any_of(std::move(alternatives));
  }

 private:
  Status invalid(std::string_view what) const {
    return error(StatusCode::kInvalidArgument, "regex: {} at position {}", what, cursor_.position());
  }
  Status unsupported(std::string_view what) const {
    return error(StatusCode::kUnsupported, "regex: {} at position {} is not supported", what,
                 cursor_.position());
  }

  Expr character(const CharacterClass& characters) {
    return options_.inside_json_string ? add_json_characters(builder_, characters)
                                       : builder_.character(characters);
  }

  // An alternative of the whole pattern: `^` and `$` may stand at its ends.
  Result<Expr> parse_anchored() {
    const bool begins = take_all(U'^');
    KVASIR_ASSIGN_OR_RETURN(const Expr middle, parse_sequence(0));
    const bool ends = take_all(U'$');
    if (const char32_t next = cursor_.peek(); ends && next != TextCursor::kEnd && next != U'|') {
      return unsupported("'$' before the end of an alternative");
    }
    if (!options_.search || (begins && ends)) return middle;
    const Expr anything = builder_.repeat(character(CharacterClass::all()), 0, GrammarBuilder::kUnbounded);
    std::vector<Expr> parts;
    if (!begins) parts.push_back(anything);
    parts.push_back(middle);
    if (!ends) parts.push_back(anything);
    return builder_.sequence(std::move(parts));
  }

  bool take_all(char32_t anchor) {
    bool any = false;
    while (cursor_.take_if(anchor)) any = true;
    return any;
  }

  Result<Expr> parse_alternatives(int depth) {
    std::vector<Expr> alternatives;
    do {
      KVASIR_ASSIGN_OR_RETURN(const Expr alternative, parse_sequence(depth));
      alternatives.push_back(alternative);
    } while (cursor_.take_if(U'|'));
    return builder_.any_of(std::move(alternatives));
  }

  Result<Expr> parse_sequence(int depth) {
    std::vector<Expr> parts;
    for (;;) {
      const char32_t next = cursor_.peek();
      if (next == TextCursor::kEnd || next == U'|' || next == U')') break;
      if (next == U'$' && depth == 0) break;
      if (next == U'^' || next == U'$') return unsupported("an anchor inside of the pattern");
      KVASIR_ASSIGN_OR_RETURN(const Expr atom, parse_atom(depth));
      KVASIR_ASSIGN_OR_RETURN(const Expr repeated, parse_quantifier(atom));
      parts.push_back(repeated);
    }
    return parts.empty() ? builder_.empty() : builder_.sequence(std::move(parts));
  }

  Result<Expr> parse_quantifier(Expr atom) {
    Repetition repetition;
    if (cursor_.take_if(U'*')) {
      repetition = {0, GrammarBuilder::kUnbounded};
    } else if (cursor_.take_if(U'+')) {
      repetition = {1, GrammarBuilder::kUnbounded};
    } else if (cursor_.take_if(U'?')) {
      repetition = {0, 1};
    } else if (cursor_.take_if(U'{')) {
      const auto counts = take_repetition(cursor_, kMaxRepetitions);
      if (!counts)
        return invalid(fmt::format("expected {{m}}, {{m,}} or {{m,n}} up to {} in order", kMaxRepetitions));
      repetition = *counts;
    } else {
      return atom;
    }
    cursor_.take_if(U'?');  // lazy: prefers other matches, of the same texts
    if (cursor_.peek() == U'+') return unsupported("a possessive quantifier");
    if (const char32_t next = cursor_.peek(); next == U'*' || next == U'?' || next == U'{') {
      return invalid("a quantifier of a quantifier");
    }
    return builder_.repeat(atom, repetition.min, repetition.max);
  }

  Result<Expr> parse_atom(int depth) {
    const char32_t next = cursor_.peek();
    switch (next) {
      case U'(':
        return parse_group(depth);
      case U'[': {
        KVASIR_ASSIGN_OR_RETURN(const CharacterClass characters, parse_class());
        return character(characters);
      }
      case U'.':
        cursor_.take();
        return character(CharacterClass{{'\n', '\n'}}.negated());
      case U'\\': {
        KVASIR_ASSIGN_OR_RETURN(const CharacterClass characters, parse_escape(false));
        return character(characters);
      }
      case U'*':
      case U'+':
      case U'?':
      case U'{':
        return invalid("a quantifier without anything before it");
      case kInvalidCharacter:
        return invalid("text that is not UTF-8");
      default:
        cursor_.take();
        return character({{next, next}});
    }
  }

  Result<Expr> parse_group(int depth) {
    if (depth >= kMaxGroupDepth) return invalid(fmt::format("groups nested deeper than {}", kMaxGroupDepth));
    for (const auto& [opening, name] : {std::pair<std::string_view, std::string_view>{"(?=", "lookahead"},
                                        {"(?!", "lookahead"},
                                        {"(?<=", "lookbehind"},
                                        {"(?<!", "lookbehind"},
                                        {"(?>", "an atomic group"},
                                        {"(?P=", "a backreference"},
                                        {"(?#", "a comment"},
                                        {"(?(", "a conditional"}}) {
      if (cursor_.rest().starts_with(opening)) return unsupported(name);
    }
    if (cursor_.take_if("(?P<") || cursor_.take_if("(?<")) {
      const std::size_t end = cursor_.rest().find('>');
      if (end == std::string_view::npos || end == 0) return invalid("a group's name without its end");
      cursor_.move_to(cursor_.position() + end + 1);
    } else if (!cursor_.take_if("(?:")) {
      if (cursor_.rest().starts_with("(?")) return unsupported("a flag");
      cursor_.take();
    }
    KVASIR_ASSIGN_OR_RETURN(const Expr inside, parse_alternatives(depth + 1));
    if (!cursor_.take_if(U')')) return invalid("expected ')'");
    return inside;
  }

  // A class in brackets.
  Result<CharacterClass> parse_class() {
    cursor_.take();
    const bool is_negated = cursor_.take_if(U'^');
    std::vector<CharacterClass::Range> ranges;
    bool is_first = true;
    while (is_first || cursor_.peek() != U']') {
      is_first = false;
      KVASIR_ASSIGN_OR_RETURN(const CharacterClass item, parse_class_item());
      const bool is_range =
          cursor_.peek() == U'-' && !cursor_.rest().starts_with("-]") && cursor_.rest().size() > 1;
      if (!is_range) {
        ranges.insert(ranges.end(), item.ranges().begin(), item.ranges().end());
        continue;
      }
      cursor_.take();
      KVASIR_ASSIGN_OR_RETURN(const CharacterClass last, parse_class_item());
      if (!is_single(item) || !is_single(last)) return invalid("a range whose end is a class");
      if (last.ranges()[0].first < item.ranges()[0].first)
        return invalid("a range whose end is before its beginning");
      ranges.emplace_back(item.ranges()[0].first, last.ranges()[0].first);
    }
    cursor_.take();
    const CharacterClass characters = CharacterClass::of(std::move(ranges));
    return is_negated ? characters.negated() : characters;
  }

  static bool is_single(const CharacterClass& characters) {
    return characters.ranges().size() == 1 && characters.ranges()[0].first == characters.ranges()[0].second;
  }

  Result<CharacterClass> parse_class_item() {
    const char32_t next = cursor_.peek();
    if (next == TextCursor::kEnd) return invalid("expected ']'");
    if (next == kInvalidCharacter) return invalid("text that is not UTF-8");
    if (cursor_.rest().starts_with("[:")) return unsupported("a POSIX class");
    if (next == U'\\') return parse_escape(true);
    cursor_.take();
    return CharacterClass{{next, next}};
  }

  // Behind a backslash; what is no escape is refused, so that nothing means something else than intended.
  Result<CharacterClass> parse_escape(bool in_class) {
    cursor_.take();
    const char32_t kind = cursor_.peek();
    const auto single = [](char32_t c) { return CharacterClass{{c, c}}; };
    if (kind == TextCursor::kEnd) return invalid("a backslash at the end");
    if (kind >= U'1' && kind <= U'9') return unsupported("a backreference");
    if (kind == U'k') return unsupported("a backreference");
    if (kind == U'p' || kind == U'P') return unsupported("a Unicode property");
    if (kind == U'A' || kind == U'Z' || kind == U'z') return unsupported("an anchor other than '^' and '$'");
    if (!in_class && (kind == U'b' || kind == U'B')) return unsupported("a word boundary");
    cursor_.take();
    switch (kind) {
      case U'd':
        return kDigits;
      case U'D':
        return kDigits.negated();
      case U'w':
        return kWord;
      case U'W':
        return kWord.negated();
      case U's':
        return kSpace;
      case U'S':
        return kSpace.negated();
      case U'n':
        return single('\n');
      case U'r':
        return single('\r');
      case U't':
        return single('\t');
      case U'f':
        return single('\f');
      case U'v':
        return single('\v');
      case U'b':
        return single('\b');
      case U'0':
        if (const char32_t next = cursor_.peek(); next >= U'0' && next <= U'9')
          return unsupported("an octal escape");
        return single(0);
      case U'x':
      case U'u':
      case U'U':
        return parse_code_point(kind);
      default:
        if (is_punctuation(kind)) return single(kind);
        return invalid("an unknown escape");
    }
  }

  Result<CharacterClass> parse_code_point(char32_t kind) {
    std::optional<char32_t> c;
    if (kind == U'u' && cursor_.take_if(U'{')) {
      for (int num_digits = 6; num_digits > 0 && !c; --num_digits) c = cursor_.take_hex(num_digits);
      if (!cursor_.take_if(U'}')) c.reset();
    } else {
      c = cursor_.take_hex(kind == U'x' ? 2 : kind == U'u' ? 4 : 8);
    }
    if (!c) return invalid("expected the hexadecimal number of a character");
    return CharacterClass{{*c, *c}};
  }

  GrammarBuilder& builder_;
  TextCursor cursor_;
  const RegexOptions options_;
};

}  // namespace

Result<Expr> add_regex(GrammarBuilder& builder, std::string_view pattern, const RegexOptions& options) {
  return RegexParser(builder, pattern, options).parse();
}

}  // namespace kvasir::grammar
