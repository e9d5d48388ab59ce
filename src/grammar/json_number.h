#pragma once

// Ranges of numbers as automata over their digits, exactly.

#include <nlohmann/json_fwd.hpp>
#include <optional>
#include <string>

#include "grammar/grammar_builder.h"

namespace kvasir::grammar {

// The longest number that is written, on each side of the point: what a double and a 64-bit integer hold.
inline constexpr int kMaxDigits = 18;

// A decimal number with at most kMaxDigits digits on each side of the point.
struct Decimal {
  bool is_negative = false;
  std::string whole = "0";  // no leading zeros
  std::string fraction;     // no trailing zeros

  // Nothing for what has more digits, or is no number.
  static std::optional<Decimal> from_json(const nlohmann::ordered_json& value);

  friend bool operator==(const Decimal&, const Decimal&) = default;
  friend bool operator<(const Decimal& a, const Decimal& b);
};

struct Bound {
  Decimal value;
  bool is_exclusive = false;
};

struct NumberRange {
  std::optional<Bound> min, max;
};

// The integers in `range`, in at most kMaxDigits digits; matches nothing when there are none.
Expr add_integer_range(GrammarBuilder& builder, const NumberRange& range);

// The numbers in `range`, without an exponent.
Expr add_number_range(GrammarBuilder& builder, const NumberRange& range);

}  // namespace kvasir::grammar
