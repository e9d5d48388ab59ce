#include "grammar/json_text.h"

#include <fmt/format.h>

#include <algorithm>
#include <map>
#include <nlohmann/json.hpp>
#include <utility>

#include "grammar/json_number.h"

namespace kvasir::grammar {
namespace {

const CharacterClass kEscaped = {{0, 0x1F}, {'"', '"'}, {'\\', '\\'}};
const CharacterClass kEscapeLetters = {{'"', '"'}, {'/', '/'}, {'\\', '\\'}, {'b', 'b'},
                                       {'f', 'f'}, {'n', 'n'}, {'r', 'r'},   {'t', 't'}};
const CharacterClass kHexDigit = {{'0', '9'}, {'A', 'F'}, {'a', 'f'}};

std::string escape(char32_t c) {
  switch (c) {
    case '"':
      return "\\\"";
    case '\\':
      return "\\\\";
    case '\b':
      return "\\b";
    case '\f':
      return "\\f";
    case '\n':
      return "\\n";
    case '\r':
      return "\\r";
    case '\t':
      return "\\t";
    default:
      return fmt::format("\\u{:04x}", static_cast<unsigned>(c));
  }
}

std::string to_text(const nlohmann::ordered_json& value) {
  return value.dump(-1, ' ', false, nlohmann::ordered_json::error_handler_t::replace);
}

}  // namespace

Expr add_json_characters(GrammarBuilder& builder, const CharacterClass& characters) {
  std::vector<Expr> alternatives = {builder.character(characters.without(kEscaped))};
  for (const auto& [first, last] : kEscaped.ranges()) {
    for (char32_t c = first; c <= last; ++c) {
      if (characters.contains(c)) alternatives.push_back(builder.literal(escape(c)));
    }
  }
  return builder.any_of(std::move(alternatives));
}

// Escapes of surrogates only in pairs: JSON's grammar has single ones too, but they are not text.
Expr JsonText::string_character() {
  if (character_) return *character_;
  GrammarBuilder& b = builder_;
  const Expr hex = b.character(kHexDigit), hex2 = b.sequence({hex, hex}), hex3 = b.sequence({hex2, hex}),
             d = b.character({{'D', 'D'}, {'d', 'd'}});
  const Expr plain =
      b.any_of({b.sequence({b.character({{'0', '9'}, {'A', 'C'}, {'E', 'F'}, {'a', 'c'}, {'e', 'f'}}), hex3}),
                b.sequence({d, b.character({{'0', '7'}}), hex2})});
  const Expr pair = b.sequence({d, b.character({{'8', '9'}, {'A', 'B'}, {'a', 'b'}}), hex2, b.literal("\\u"),
                                d, b.character({{'C', 'F'}, {'c', 'f'}}), hex2});
  const Expr escape =
      b.any_of({b.character(kEscapeLetters), b.sequence({b.literal("u"), b.any_of({plain, pair})})});
  character_ = b.any_of({b.character(kEscaped.negated()), b.sequence({b.literal("\\"), escape})});
  return *character_;
}

Expr JsonText::quoted(Expr inside) {
  return builder_.sequence({builder_.literal("\""), inside, builder_.literal("\"")});
}

Expr JsonText::string() {
  if (!string_)
    string_ =
        builder_.shared("string", quoted(builder_.repeat(string_character(), 0, GrammarBuilder::kUnbounded)));
  return *string_;
}

// Each character costs states, so \u is for controls alone here.
Expr JsonText::string(int min_length, int max_length) {
  const auto [found, is_new] = counted_strings_.try_emplace({min_length, max_length});
  if (!is_new) return found->second;
  GrammarBuilder& b = builder_;
  const Expr control = b.sequence({b.literal("u00"), b.character({{'0', '1'}}), b.character(kHexDigit)});
  const Expr escape = b.any_of({b.character(kEscapeLetters), control});
  const Expr character = b.any_of({b.character(kEscaped.negated()), b.sequence({b.literal("\\"), escape})});
  return found->second = b.shared("string", quoted(b.repeat(character, min_length, max_length)));
}

Expr JsonText::digits(int min, int max) {
  return builder_.repeat(builder_.character({{'0', '9'}}), min, max);
}

Expr JsonText::integer() {
  if (integer_) return *integer_;
  GrammarBuilder& b = builder_;
  const Expr nonzero = b.sequence({b.character({{'1', '9'}}), digits(0, kMaxDigits - 1)});
  integer_ =
      b.shared("integer", b.any_of({b.literal("0"), b.sequence({b.optional(b.literal("-")), nonzero})}));
  return *integer_;
}

Expr JsonText::number() {
  if (number_) return *number_;
  GrammarBuilder& b = builder_;
  const Expr whole =
      b.any_of({b.literal("0"), b.sequence({b.character({{'1', '9'}}), digits(0, kMaxDigits - 1)})});
  const Expr fraction = b.sequence({b.literal("."), digits(1, kMaxDigits)});
  const Expr exponent = b.sequence({b.character({{'E', 'E'}, {'e', 'e'}}),
                                    b.optional(b.character({{'+', '+'}, {'-', '-'}})), digits(1, 2)});
  number_ = b.shared(
      "number", b.sequence({b.optional(b.literal("-")), whole, b.optional(fraction), b.optional(exponent)}));
  return *number_;
}

Expr JsonText::comma() {
  return builder_.sequence({builder_.literal(","), builder_.optional(builder_.literal(" "))});
}

Expr JsonText::colon() {
  return builder_.sequence({builder_.literal(":"), builder_.optional(builder_.literal(" "))});
}

Expr JsonText::comma_separated(const std::vector<Expr>& elements) {
  std::vector<Expr> parts;
  for (const Expr element : elements) {
    if (!parts.empty()) parts.push_back(comma());
    parts.push_back(element);
  }
  return parts.empty() ? builder_.empty() : builder_.sequence(std::move(parts));
}

Expr JsonText::comma_separated(Expr element, int min, int max) {
  if (max == 0) return builder_.empty();
  const int more = max == GrammarBuilder::kUnbounded ? max : max - 1;
  const Expr some = builder_.sequence(
      {element, builder_.repeat(builder_.sequence({comma(), element}), std::max(min - 1, 0), more)});
  return min == 0 ? builder_.optional(some) : some;
}

Expr JsonText::value() {
  if (value_) return *value_;
  GrammarBuilder& b = builder_;
  const RuleId rule = b.declare("value", GrammarBuilder::Calls::kShare);
  value_ = b.call(rule);
  const Expr elements = comma_separated(*value_, 0, GrammarBuilder::kUnbounded);
  const Expr array = b.sequence({b.literal("["), elements, b.literal("]")});
  b.define(rule, b.any_of({object(), array, string(), number(), b.literal("true"), b.literal("false"),
                           b.literal("null")}));
  return *value_;
}

Expr JsonText::object() {
  if (object_) return *object_;
  GrammarBuilder& b = builder_;
  const RuleId rule = b.declare("object", GrammarBuilder::Calls::kShare);
  object_ = b.call(rule);
  const Expr member = b.sequence({string(), colon(), value()});
  b.define(rule, b.sequence({b.literal("{"), comma_separated(member, 0, GrammarBuilder::kUnbounded),
                             b.literal("}")}));
  return *object_;
}

// From the end: what may follow when nothing has been written yet, and when something has.
Expr JsonText::object(const std::vector<Member>& members, std::optional<Expr> further) {
  GrammarBuilder& b = builder_;
  Expr first = b.empty(), later = first;
  if (further) {
    later = b.repeat(b.sequence({comma(), *further}), 0, GrammarBuilder::kUnbounded);
    first = b.optional(b.sequence({*further, later}));
  }
  for (auto member = members.rbegin(); member != members.rend(); ++member) {
    const Expr with = b.sequence({member->text, later}), with_comma = b.sequence({comma(), with});
    first = member->is_required ? with : b.any_of({with, first});
    later = member->is_required ? with_comma : b.any_of({with_comma, later});
  }
  return b.sequence({b.literal("{"), first, b.literal("}")});
}

// From the end: what may stand behind i items.
Expr JsonText::array(const std::vector<Expr>& prefix, std::optional<Expr> rest, int min, int max) {
  GrammarBuilder& b = builder_;
  const bool is_bounded = max != GrammarBuilder::kUnbounded;
  const int num_prefix = static_cast<int>(prefix.size());
  const Expr never = b.any_of({});
  Expr elements = min <= num_prefix ? b.empty() : never;
  if (rest && num_prefix == 0) {
    elements = comma_separated(*rest, min, max);
  } else if (rest) {
    const int num_more = is_bounded ? std::max(max - num_prefix, 0) : GrammarBuilder::kUnbounded;
    elements = b.repeat(b.sequence({comma(), *rest}), std::max(min - num_prefix, 0), num_more);
  }
  for (int i = num_prefix; i-- > 0;) {
    const Expr item = prefix[static_cast<std::size_t>(i)];
    const Expr longer = b.sequence({i == 0 ? item : b.sequence({comma(), item}), elements});
    const bool may_go_on = !is_bounded || i < max;
    elements = i < min ? (may_go_on ? longer : never) : may_go_on ? b.any_of({b.empty(), longer}) : b.empty();
  }
  return b.sequence({b.literal("["), elements, b.literal("]")});
}

// A trie of the names, from its leaves: at each node, any other character and then anything, or on along a
// name, or the end.
Expr JsonText::name_other_than(const std::vector<std::string>& names) {
  struct Node {
    std::map<char32_t, std::size_t> children;
    bool is_name = false;
  };
  std::vector<Node> nodes(1);
  for (const std::string& name : names) {
    std::size_t node = 0;
    for (std::size_t at = 0; at < name.size();) {
      const auto [child, is_new] = nodes[node].children.try_emplace(next_character(name, at), nodes.size());
      node = child->second;
      if (is_new) nodes.emplace_back();
    }
    nodes[node].is_name = true;
  }
  const CharacterClass plain = kEscaped.negated();
  const Expr anything = builder_.repeat(builder_.character(plain), 0, GrammarBuilder::kUnbounded);
  std::vector<Expr> expressions(nodes.size(), anything);
  for (std::size_t i = nodes.size(); i-- > 0;) {  // children have greater numbers
    std::vector<CharacterClass::Range> taken;
    std::vector<Expr> alternatives;
    for (const auto& [c, child] : nodes[i].children) {
      if (!plain.contains(c)) continue;
      taken.emplace_back(c, c);
      alternatives.push_back(builder_.sequence({builder_.character({{c, c}}), expressions[child]}));
    }
    alternatives.push_back(builder_.sequence(
        {builder_.character(plain.without(CharacterClass::of(std::move(taken)))), anything}));
    if (!nodes[i].is_name) alternatives.push_back(builder_.empty());
    expressions[i] = builder_.any_of(std::move(alternatives));
  }
  return quoted(expressions[0]);
}

Expr JsonText::constant(const nlohmann::ordered_json& value) {
  if (!value.is_structured()) return builder_.literal(to_text(value));
  std::vector<Expr> elements;
  if (value.is_array()) {
    for (const auto& element : value) elements.push_back(constant(element));
    return builder_.sequence({builder_.literal("["), comma_separated(elements), builder_.literal("]")});
  }
  for (const auto& [name, member] : value.items()) {
    elements.push_back(builder_.sequence({builder_.literal(to_text(name)), colon(), constant(member)}));
  }
  return builder_.sequence({builder_.literal("{"), comma_separated(elements), builder_.literal("}")});
}

}  // namespace kvasir::grammar
