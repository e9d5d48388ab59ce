#include "grammar/json_number.h"

#include <algorithm>
#include <charconv>
#include <cstdint>
#include <nlohmann/json.hpp>
#include <string_view>
#include <utility>
#include <vector>

namespace kvasir::grammar {
namespace {

constexpr std::int64_t kLargest = 999'999'999'999'999'999;

class RangeBuilder {
 public:
  explicit RangeBuilder(GrammarBuilder& builder) : b_(builder) {}

  // The integers from `low` to `high`, neither of which is negative.
  Expr integers(std::int64_t low, std::int64_t high) {
    std::vector<Expr> alternatives;
    for (std::int64_t from = low; from <= high;) {
      const std::string first = std::to_string(from);
      const std::int64_t longest = std::stoll(std::string(first.size(), '9'));
      const std::int64_t to = std::min(high, longest);
      alternatives.push_back(same_length(first, std::to_string(to)));
      from = to + 1;
    }
    return b_.any_of(std::move(alternatives));
  }

  // The decimals within two bounds, neither of which is negative.
  Expr decimals(const Bound& low, const Bound& high) {
    const std::int64_t first = to_integer(low.value), last = to_integer(high.value);
    if (first > last) return never();
    if (first == last) return b_.sequence({b_.literal(low.value.whole), fraction(&low, &high)});
    return b_.any_of({b_.sequence({b_.literal(low.value.whole), fraction(&low, nullptr)}),
                      b_.sequence({integers(first + 1, last - 1), fraction(nullptr, nullptr)}),
                      b_.sequence({b_.literal(high.value.whole), fraction(nullptr, &high)})});
  }

  Expr never() { return b_.any_of({}); }

  static std::int64_t to_integer(const Decimal& value) {
    std::int64_t result = 0;
    for (const char digit : value.whole) result = result * 10 + (digit - '0');
    return result;
  }

 private:
  Expr digit(char first, char last) {
    return b_.character({{static_cast<char32_t>(first), static_cast<char32_t>(last)}});
  }
  Expr digits(int min, int max) { return b_.repeat(digit('0', '9'), min, max); }
  Expr zeros(int min, int max) { return b_.repeat(b_.literal("0"), min, max); }

  Expr same_length(std::string_view low, std::string_view high) {
    if (low.empty()) return b_.empty();
    const auto rest = low.size() - 1;
    if (low.find_first_not_of('0') == low.npos && high.find_first_not_of('9') == high.npos) {
      return digits(static_cast<int>(low.size()), static_cast<int>(low.size()));
    }
    if (low[0] == high[0])
      return b_.sequence({digit(low[0], low[0]), same_length(low.substr(1), high.substr(1))});
    const std::string zeros(rest, '0'), nines(rest, '9');
    std::vector<Expr> alternatives = {
        b_.sequence({digit(low[0], low[0]), same_length(low.substr(1), nines)}),
        b_.sequence({digit(high[0], high[0]), same_length(zeros, high.substr(1))})};
    if (high[0] - low[0] > 1) {
      const int count = static_cast<int>(rest);
      alternatives.push_back(b_.sequence(
          {digit(static_cast<char>(low[0] + 1), static_cast<char>(high[0] - 1)), digits(count, count)}));
    }
    return b_.any_of(std::move(alternatives));
  }

  // The point and the digits behind it, or nothing, where the whole parts equal those of the bounds given.
  Expr fraction(const Bound* low, const Bound* high) {
    low_ = high_ = "";
    if (low != nullptr) low_ = low->value.fraction;
    if (high != nullptr) high_ = high->value.fraction;
    const std::size_t length = std::max(low_.size(), high_.size());
    low_.resize(length, '0');
    high_.resize(length, '0');
    low_is_exclusive_ = low != nullptr && low->is_exclusive;
    high_is_exclusive_ = high != nullptr && high->is_exclusive;
    const bool at_low = low != nullptr, at_high = high != nullptr;
    std::vector<Expr> alternatives = {b_.sequence({b_.literal("."), behind(0, at_low, at_high)})};
    if (may_end(0, at_low, at_high)) alternatives.push_back(b_.empty());
    return b_.any_of(std::move(alternatives));
  }

  // Whether the digits before `i`, and zeros for ever, are within the bounds that they equal so far.
  bool may_end(std::size_t i, bool at_low, bool at_high) const {
    const bool low_is_zero = low_.find_first_not_of('0', i) == low_.npos;
    const bool high_is_zero = high_.find_first_not_of('0', i) == high_.npos;
    return (!at_low || (low_is_zero && !low_is_exclusive_)) &&
           (!at_high || !high_is_zero || !high_is_exclusive_);
  }

  // At least one more digit, when the digits before `i` equal those of the bounds that are told.
  Expr behind(std::size_t i, bool at_low, bool at_high) {
    if (!at_low && !at_high) return digits(1, kMaxDigits);
    if (i == low_.size()) {
      if (at_high) return may_end(i, at_low, at_high) ? zeros(1, kMaxDigits) : never();
      if (!low_is_exclusive_) return digits(1, kMaxDigits);
      return b_.sequence({zeros(0, kMaxDigits - 1), digit('1', '9'), digits(0, kMaxDigits - 1)});
    }
    std::vector<Expr> alternatives;
    const char first = at_low ? low_[i] : '0', last = at_high ? high_[i] : '9';
    for (char c = first; c <= last; ++c) {
      const bool stays_low = at_low && c == low_[i], stays_high = at_high && c == high_[i];
      std::vector<Expr> rest = {behind(i + 1, stays_low, stays_high)};
      if (may_end(i + 1, stays_low, stays_high)) rest.push_back(b_.empty());
      alternatives.push_back(b_.sequence({digit(c, c), b_.any_of(std::move(rest))}));
    }
    return b_.any_of(std::move(alternatives));
  }

  GrammarBuilder& b_;
  std::string low_, high_;  // the fractions of the bounds, equally long
  bool low_is_exclusive_ = false, high_is_exclusive_ = false;
};

bool is_zero(const Decimal& value) {
  return value.whole == "0" && value.fraction.empty();
}

Bound negated(Bound bound) {
  bound.value.is_negative = !bound.value.is_negative && !is_zero(bound.value);
  return bound;
}

const Bound kZero = {}, kMost = {{false, std::string(kMaxDigits, '9'), std::string(kMaxDigits, '9')}, false};

// The part of a range that is not negative, or the negative part without its signs.
struct Side {
  Bound low, high;
};
std::optional<Side> positive_side(const NumberRange& range) {
  if (range.max && range.max->value.is_negative) return std::nullopt;
  const bool has_min = range.min && !range.min->value.is_negative;
  return Side{has_min ? *range.min : kZero, range.max ? *range.max : kMost};
}
std::optional<Side> negative_side(const NumberRange& range) {
  if (range.min && !range.min->value.is_negative) return std::nullopt;
  const bool has_max = range.max && range.max->value.is_negative;
  return Side{has_max ? negated(*range.max) : Bound{{}, true}, range.min ? negated(*range.min) : kMost};
}

// The smallest and the largest integer within a side.
std::int64_t first_integer(const Bound& low) {
  const std::int64_t whole = RangeBuilder::to_integer(low.value);
  return low.is_exclusive || !low.value.fraction.empty() ? whole + 1 : whole;
}
std::int64_t last_integer(const Bound& high) {
  const std::int64_t whole = RangeBuilder::to_integer(high.value);
  return high.is_exclusive && high.value.fraction.empty() ? whole - 1 : whole;
}

template <typename AddSide>
Expr add_sides(GrammarBuilder& builder, const NumberRange& range, AddSide add_side) {
  std::vector<Expr> alternatives;
  if (const auto side = positive_side(range)) alternatives.push_back(add_side(*side));
  if (const auto side = negative_side(range)) {
    alternatives.push_back(builder.sequence({builder.literal("-"), add_side(*side)}));
  }
  return builder.any_of(std::move(alternatives));
}

}  // namespace

std::optional<Decimal> Decimal::from_json(const nlohmann::ordered_json& value) {
  if (!value.is_number()) return std::nullopt;
  // [-]digits[.digits][e[+-]digits], the shortest that reads back as the same number.
  std::string text = value.dump();
  Decimal result;
  if (text.starts_with('-')) {
    result.is_negative = true;
    text.erase(0, 1);
  }
  int exponent = 0;
  if (const std::size_t e = text.find('e'); e != text.npos) {
    const std::size_t digits = e + (text[e + 1] == '+' ? 2 : 1);
    std::from_chars(text.data() + digits, text.data() + text.size(), exponent);
    text.resize(e);
  }
  const std::size_t point = std::min(text.find('.'), text.size());
  std::string digits = text.substr(0, point) + (point < text.size() ? text.substr(point + 1) : "");
  int num_whole = static_cast<int>(point) + exponent;
  constexpr int kMaxShift = 400;  // a double's exponent ends before
  if (std::abs(exponent) > kMaxShift) return std::nullopt;
  if (num_whole <= 0) {
    digits.insert(0, static_cast<std::size_t>(1 - num_whole), '0');
    num_whole = 1;
  }
  if (digits.size() < static_cast<std::size_t>(num_whole))
    digits.resize(static_cast<std::size_t>(num_whole), '0');
  result.whole = digits.substr(0, static_cast<std::size_t>(num_whole));
  result.whole.erase(0, std::min(result.whole.find_first_not_of('0'), result.whole.size() - 1));
  result.fraction = digits.substr(static_cast<std::size_t>(num_whole));
  result.fraction.erase(result.fraction.find_last_not_of('0') + 1);
  if (result.whole.size() > kMaxDigits || result.fraction.size() > kMaxDigits) return std::nullopt;
  if (is_zero(result)) result.is_negative = false;
  return result;
}

bool operator<(const Decimal& a, const Decimal& b) {
  if (a.is_negative != b.is_negative) return a.is_negative;
  const bool is_smaller = a.whole.size() != b.whole.size()
                              ? a.whole.size() < b.whole.size()
                              : std::pair(a.whole, a.fraction) < std::pair(b.whole, b.fraction);
  return a.is_negative ? !is_smaller && !(a == b) : is_smaller;
}

Expr add_integer_range(GrammarBuilder& builder, const NumberRange& range) {
  RangeBuilder ranges(builder);
  return add_sides(builder, range, [&](const Side& side) {
    return ranges.integers(first_integer(side.low), std::min(last_integer(side.high), kLargest));
  });
}

Expr add_number_range(GrammarBuilder& builder, const NumberRange& range) {
  RangeBuilder ranges(builder);
  return add_sides(builder, range, [&](const Side& side) { return ranges.decimals(side.low, side.high); });
}

}  // namespace kvasir::grammar
