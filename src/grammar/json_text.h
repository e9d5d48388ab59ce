#pragma once

// The parts of JSON texts as expressions, in the one style that the grammars of schemas have: at most one
// space after ',' and
// ':', none elsewhere.

#include <map>
#include <nlohmann/json_fwd.hpp>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "grammar/character_class.h"
#include "grammar/grammar_builder.h"

namespace kvasir::grammar {

// One of `characters` inside of a JSON string, in its shortest form: `"`, `\` and controls are escaped.
Expr add_json_characters(GrammarBuilder& builder, const CharacterClass& characters);

// Makes each expression once per builder. What is asked for often is a rule that all its callers share.
class JsonText {
 public:
  explicit JsonText(GrammarBuilder& builder) : builder_(builder) {}

  Expr string();
  // Lengths in characters; `max_length` may be kUnbounded.
  Expr string(int min_length, int max_length);
  Expr integer();
  Expr number();
  Expr value();
  Expr object();  // any

  struct Member {
    Expr text;  // "name": value
    bool is_required;
  };
  // Members in this order, of which those that are not required may be left out; then any number of `further`
  // ones.
  Expr object(const std::vector<Member>& members, std::optional<Expr> further);
  // The first items each of its own kind, then any number of `rest`; `min` to `max` of all.
  Expr array(const std::vector<Expr>& prefix, std::optional<Expr> rest, int min, int max);

  Expr quoted(Expr inside);
  Expr comma();
  Expr colon();
  // Elements behind each other; of none: always matches.
  Expr comma_separated(const std::vector<Expr>& elements);
  // min to max elements.
  Expr comma_separated(Expr element, int min, int max);
  // A string that needs no escapes and is none of `names`.
  Expr name_other_than(const std::vector<std::string>& names);

  Expr constant(const nlohmann::ordered_json& value);

 private:
  Expr string_character();
  Expr digits(int min, int max);

  GrammarBuilder& builder_;
  std::map<std::pair<int, int>, Expr> counted_strings_;  // by length
  std::optional<Expr> character_, string_, integer_, number_, value_, object_;
};

}  // namespace kvasir::grammar
