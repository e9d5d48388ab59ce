// Filters of text and numbers.

#include <algorithm>
#include <cmath>

#include "tokenizer/jinja/builtins.h"
#include "tokenizer/jinja/format.h"
#include "tokenizer/jinja/markup.h"
#include "tokenizer/jinja/operators.h"
#include "tokenizer/jinja/printing.h"
#include "tokenizer/jinja/sequences.h"
#include "tokenizer/jinja/text.h"
#include "tokenizer/unicode.h"

namespace kvasir::tokenizer::jinja {
namespace {

using Args = std::span<const Value>;

// markupsafe's soft_str: strings stay what they are.
Result<Value> soft_text(Runtime& runtime, const Value& value) {
  if (!value.is_string()) return to_text(runtime, value);
  KVASIR_RETURN_IF_ERROR(runtime.spend_text(value.size));
  return value;
}

// A filter that maps text to text.
template <std::string (*kMap)(std::string_view)>
Result<Value> map_text(Runtime& runtime, const Value& self, Args) {
  KVASIR_ASSIGN_OR_RETURN(const Value text, soft_text(runtime, self));
  return runtime.text(kMap(text.text()), text.is_markup());
}

// What jinja2 calls title: the first letter of each word, words ending at white space and opening brackets.
std::string title_words(std::string_view text) {
  std::string out;
  std::size_t begin = 0;
  const auto put = [&](std::string_view word) {
    if (word.empty()) return;
    const std::size_t first = byte_offset(word, 1);
    out += to_upper(word.substr(0, first));
    out += to_lower(word.substr(first));
  };
  const auto is_delimiter = [](char32_t c) {
    return c == '-' || c == '(' || c == '{' || c == '[' || c == '<' || is_space(c);
  };
  for (std::size_t at = 0; at < text.size();) {
    const auto [c, end] = decode_at(text, at);
    if (is_delimiter(c)) {
      put(text.substr(begin, at - begin));
      out += text.substr(at, end - at);
      begin = end;
    }
    at = end;
  }
  put(text.substr(begin));
  return out;
}

Result<Value> string_filter(Runtime& runtime, const Value& self, Args) {
  return soft_text(runtime, self);
}

Result<Value> safe_filter(Runtime& runtime, const Value& self, Args) {
  KVASIR_ASSIGN_OR_RETURN(Value text, to_text(runtime, self));
  text.detail = kMarkup;
  return text;
}

Result<Value> escape_filter(Runtime& runtime, const Value& self, Args) {
  return escape(runtime, self);
}

Result<Value> force_escape_filter(Runtime& runtime, const Value& self, Args) {
  KVASIR_ASSIGN_OR_RETURN(const Value text, to_text(runtime, self));
  return escape(runtime, text);
}

Result<Value> striptags_filter(Runtime& runtime, const Value& self, Args) {
  KVASIR_ASSIGN_OR_RETURN(const Value text, to_text(runtime, self));
  return runtime.text(strip_tags(text.text()));
}

Result<Value> trim_filter(Runtime& runtime, const Value& self, Args args) {
  KVASIR_ASSIGN_OR_RETURN(const Value text, soft_text(runtime, self));
  std::optional<std::string_view> characters;
  if (!args[0].is_missing() && !args[0].is_none()) {
    KVASIR_ASSIGN_OR_RETURN(characters, text_argument(args[0], "trim: chars"));
  }
  return borrow_text(strip(text.text(), Side::kBoth, characters), text.detail);
}

Result<Value> replace_filter(Runtime& runtime, const Value& self, Args args) {
  KVASIR_ASSIGN_OR_RETURN(const Value text, to_text(runtime, self));
  KVASIR_ASSIGN_OR_RETURN(const Value old_part, to_text(runtime, args[0]));
  KVASIR_ASSIGN_OR_RETURN(const Value new_part, to_text(runtime, args[1]));
  KVASIR_ASSIGN_OR_RETURN(const std::int64_t most, int_argument(args[2], "replace: count", -1));
  return replace_text(runtime, text, old_part.text(), new_part.text(), most);
}

Result<Value> center_filter(Runtime& runtime, const Value& self, Args args) {
  KVASIR_ASSIGN_OR_RETURN(const Value text, soft_text(runtime, self));
  const Value width[] = {args[0].is_missing() ? make_int(80) : args[0]};
  return call_builtin(runtime, *find_method(text, "center"), text, {width, {}});
}

Result<Value> indent_filter(Runtime& runtime, const Value& self, Args args) {
  KVASIR_ASSIGN_OR_RETURN(const std::string_view text, text_argument(self, "indent: the value"));
  Writer indention(runtime);
  if (args[0].is_string()) {
    KVASIR_RETURN_IF_ERROR(indention.add(args[0].text()));
  } else {
    KVASIR_ASSIGN_OR_RETURN(const std::int64_t width,
                            int_argument(args[0].is_missing() ? make_int(4) : args[0], "indent: width"));
    KVASIR_RETURN_IF_ERROR(indention.add(static_cast<std::size_t>(std::max<std::int64_t>(width, 0)), ' '));
  }
  const bool indents_first = bool_argument(args[1], false), indents_blank = bool_argument(args[2], false);
  // A newline is added so that the last line counts when it is empty.
  KVASIR_ASSIGN_OR_RETURN(const Value ended, runtime.join(text, "\n", false));
  const std::vector<std::string_view> lines = split_lines(ended.text());
  Writer out(runtime);
  for (std::size_t i = 0; i < lines.size(); ++i) {
    if (i > 0) KVASIR_RETURN_IF_ERROR(out.add("\n"));
    const bool indents = i == 0 ? indents_first : indents_blank || !lines[i].empty();
    if (indents) KVASIR_RETURN_IF_ERROR(out.add(indention.text()));
    KVASIR_RETURN_IF_ERROR(out.add(lines[i]));
  }
  return runtime.text(out.text(), self.is_markup());
}

Result<Value> truncate_filter(Runtime& runtime, const Value& self, Args args) {
  constexpr std::int64_t kDefaultLength = 255, kDefaultLeeway = 5;
  KVASIR_ASSIGN_OR_RETURN(const std::int64_t size, length_of(runtime, self));
  KVASIR_ASSIGN_OR_RETURN(const std::int64_t length,
                          int_argument(args[0], "truncate: length", kDefaultLength));
  const Value end = args[2].is_missing() ? borrow_text("...") : args[2];
  KVASIR_ASSIGN_OR_RETURN(const std::string_view end_text, text_argument(end, "truncate: end"));
  KVASIR_ASSIGN_OR_RETURN(const std::int64_t leeway,
                          int_argument(args[3], "truncate: leeway", kDefaultLeeway));
  const auto end_size = static_cast<std::int64_t>(num_characters(end_text));
  if (length < end_size || leeway < 0) {
    return failure("truncate: expected length >= {} and leeway >= 0, got {} and {}", end_size, length,
                   leeway);
  }
  if (size <= length + leeway) return self;
  KVASIR_ASSIGN_OR_RETURN(const std::string_view text, text_argument(self, "truncate: the value"));
  std::string_view kept = text.substr(0, byte_offset(text, static_cast<std::size_t>(length - end_size)));
  if (!bool_argument(args[1], false)) kept = split_right(kept, " ", 1)[0];
  return runtime.join(kept, end_text, self.is_markup());
}

Result<Value> wordcount_filter(Runtime& runtime, const Value& self, Args) {
  KVASIR_ASSIGN_OR_RETURN(const Value text, soft_text(runtime, self));
  std::int64_t words = 0;
  bool is_inside = false;
  for (std::size_t at = 0; at < text.size;) {
    const auto [c, end] = decode_at(text.text(), at);
    const bool is_part = is_word(c) || is_numeric(c);
    words += is_part && !is_inside;
    is_inside = is_part;
    at = end;
  }
  return make_int(words);
}

Result<Value> format_filter(Runtime& runtime, const Value& self, const Arguments& arguments) {
  if (!arguments.positional.empty() && !arguments.named.empty()) {
    return failure("format: can't handle positional and keyword arguments at the same time");
  }
  KVASIR_ASSIGN_OR_RETURN(const Value format, soft_text(runtime, self));
  if (arguments.named.empty()) {
    return format_percent(runtime, format, borrow_items(Type::kTuple, arguments.positional));
  }
  std::vector<Entry> entries;
  for (const auto& [name, value] : arguments.named) entries.push_back({borrow_text(name), value});
  KVASIR_ASSIGN_OR_RETURN(const Value dict, runtime.dict(entries));
  return format_percent(runtime, format, dict);
}

Result<Value> tojson_filter(Runtime& runtime, const Value& self, Args args) {
  JsonStyle style;
  style.ensure_ascii = bool_argument(args[0], false);
  style.sort_keys = bool_argument(args[3], false);
  if (args[1].is_string()) {
    style.indent = args[1].text();
  } else if (!args[1].is_missing() && !args[1].is_none()) {
    KVASIR_ASSIGN_OR_RETURN(const std::int64_t indent, int_argument(args[1], "tojson: indent"));
    KVASIR_RETURN_IF_ERROR(runtime.spend_memory(static_cast<std::size_t>(std::max<std::int64_t>(indent, 0))));
    style.indent.emplace(static_cast<std::size_t>(std::max<std::int64_t>(indent, 0)), ' ');
  }
  if (style.indent) style.item_separator = ",";
  if (args[2].is_sequence() && args[2].size == 2) {
    KVASIR_ASSIGN_OR_RETURN(style.item_separator, text_argument(args[2].items[0], "tojson: separators"));
    KVASIR_ASSIGN_OR_RETURN(style.key_separator, text_argument(args[2].items[1], "tojson: separators"));
  } else if (!args[2].is_missing() && !args[2].is_none()) {
    return failure("tojson: separators must be two strings, got {}", type_name(args[2]));
  }
  Writer out(runtime);
  KVASIR_RETURN_IF_ERROR(print_json(out, self, style));
  return runtime.text(out.text());
}

Result<Value> abs_filter(Runtime& runtime, const Value& self, Args) {
  if (self.is(Type::kFloat)) return make_float(std::abs(self.real));
  if (!self.is_integer()) return failure("bad operand type for abs(): '{}'", type_name(self));
  return self.as_int() < 0 ? negate(runtime, self) : plus(runtime, self);
}

Result<Value> int_of_float(Runtime& runtime, double value) {
  if (std::isnan(value)) return Value();
  if (std::abs(value) >= 0x1p126) return failure("cannot convert float {} to integer", print_float(value));
  return runtime.integer(static_cast<Int>(value));
}

Result<Value> int_filter(Runtime& runtime, const Value& self, Args args) {
  if (self.is_undefined()) return undefined_failure(self);
  const Value fallback = args[0].is_missing() ? make_int(0) : args[0];
  if (self.is_integer()) return plus(runtime, self);
  Value number = self;
  if (self.is_string()) {
    KVASIR_ASSIGN_OR_RETURN(const std::int64_t base, int_argument(args[1], "int: base", 10));
    KVASIR_RETURN_IF_ERROR(runtime.spend_text(self.size));
    KVASIR_ASSIGN_OR_RETURN(
        const Value parsed,
        parse_int(runtime, self.text(), static_cast<int>(std::clamp<std::int64_t>(base, -1, 99))));
    if (!parsed.is_missing()) return parsed;
    number = parse_float(self.text());
    if (number.is(Type::kFloat) && std::isinf(number.real)) return fallback;
  }
  if (!number.is(Type::kFloat)) return fallback;
  KVASIR_ASSIGN_OR_RETURN(const Value whole, int_of_float(runtime, number.real));
  return whole.is_missing() ? fallback : whole;
}

Result<Value> float_filter(Runtime& runtime, const Value& self, Args args) {
  if (self.is_undefined()) return undefined_failure(self);
  if (self.is_number()) return make_float(self.as_double());
  Value number;
  if (self.is_string()) {
    KVASIR_RETURN_IF_ERROR(runtime.spend_text(self.size));
    number = parse_float(self.text());
  }
  if (!number.is_missing()) return number;
  return args[0].is_missing() ? make_float(0) : args[0];
}

// round() of an integer to a multiple of 10^n, halves to even.
Result<Value> round_int(Runtime& runtime, Int value, std::int64_t digits) {
  if (digits <= 0) return runtime.integer(value);
  if (digits > 38) return make_int(0);
  Int unit = 1;
  for (std::int64_t i = 0; i < digits; ++i) unit *= 10;
  Int down = value / unit * unit;
  if (down > value) down -= unit;
  const Int rest = value - down;
  const bool goes_up = rest > unit - rest || (rest == unit - rest && (down / unit) % 2 != 0);
  return runtime.integer(goes_up ? down + unit : down);
}

double round_float(double value, std::int64_t digits) {
  if (!std::isfinite(value) || digits > 323) return value;
  if (digits < -308) return std::copysign(0.0, value);
  if (digits < 0) {
    const double unit = std::pow(10.0, static_cast<double>(-digits));
    return std::nearbyint(value / unit) * unit;
  }
  // The digits of the exact binary value, as Python does it.
  return std::strtod(fmt::format("{:.{}f}", value, digits).c_str(), nullptr);
}

Result<Value> round_filter(Runtime& runtime, const Value& self, Args args) {
  if (self.is_undefined()) return undefined_failure(self);
  if (!self.is_number()) return failure("type {} doesn't define __round__ method", type_name(self));
  KVASIR_ASSIGN_OR_RETURN(const std::int64_t digits, int_argument(args[0], "round: precision", 0));
  const std::string_view method = args[1].is_missing() ? "common" : args[1].is_string() ? args[1].text() : "";
  if (method == "common") {
    if (self.is_integer()) return round_int(runtime, self.as_int(), -digits);
    return make_float(round_float(self.real, digits));
  }
  if (method != "ceil" && method != "floor") return failure("method must be common, ceil or floor");
  KVASIR_ASSIGN_OR_RETURN(const Value unit, power(runtime, make_int(10), make_int(digits)));
  KVASIR_ASSIGN_OR_RETURN(const Value scaled, multiply(runtime, self, unit));
  Value whole = scaled;
  if (scaled.is(Type::kFloat)) {
    KVASIR_ASSIGN_OR_RETURN(
        whole, int_of_float(runtime, method == "ceil" ? std::ceil(scaled.real) : std::floor(scaled.real)));
    if (whole.is_missing()) return failure("cannot convert float NaN to integer");
  }
  return divide(runtime, whole, unit);
}

Result<Value> filesizeformat_filter(Runtime& runtime, const Value& self, Args args) {
  const Value number = self.is_string() ? parse_float(self.text()) : self;
  if (!number.is_number()) {
    return failure("filesizeformat: could not convert {} to float", type_name(self));
  }
  const bool is_binary = bool_argument(args[0], false);
  const double base = is_binary ? 1024 : 1000, bytes = number.as_double();
  if (bytes == 1) return borrow_text("1 Byte");
  if (bytes < base) return runtime.text(fmt::format("{:.0f} Bytes", std::trunc(bytes)));
  double unit = base;
  std::size_t i = 0;
  constexpr std::string_view kLetters = "kMGTPEZY";
  while (i + 1 < kLetters.size() && bytes >= unit * base) {
    unit *= base;
    ++i;
  }
  const char letter = is_binary && i == 0 ? 'K' : kLetters[i];
  return runtime.text(fmt::format("{:.1f} {}{}", bytes / unit, letter, is_binary ? "iB" : "B"));
}

Result<Value> urlencode_filter(Runtime& runtime, const Value& self, Args) {
  const auto quote = [](std::string_view text, bool is_query) {
    std::string out;
    for (const char c : text) {
      const bool is_plain = std::isalnum(static_cast<unsigned char>(c)) != 0 || c == '_' || c == '.' ||
                            c == '-' || c == '~' || (c == '/' && !is_query);
      if (is_plain && static_cast<unsigned char>(c) < 0x80) {
        out += c;
      } else if (c == ' ' && is_query) {
        out += '+';
      } else {
        out += fmt::format("%{:02X}", static_cast<unsigned char>(c));
      }
    }
    return out;
  };
  if (self.is_string() || !is_iterable(self)) {
    KVASIR_ASSIGN_OR_RETURN(const Value text, to_text(runtime, self));
    return runtime.text(quote(text.text(), false));
  }
  Value pairs = self;
  const View items{View::Kind::kItems, self.is(Type::kDict) ? self.dict : nullptr};
  if (self.is(Type::kDict)) {
    pairs.type = Type::kView;
    pairs.view = &items;
  }
  KVASIR_ASSIGN_OR_RETURN(const std::span<const Value> all, elements_of(runtime, pairs));
  Writer out(runtime);
  for (const Value& pair : all) {
    if (!pair.is_sequence() || pair.size != 2) return failure("urlencode: expected pairs");
    KVASIR_ASSIGN_OR_RETURN(const Value key, to_text(runtime, pair.items[0]));
    KVASIR_ASSIGN_OR_RETURN(const Value value, to_text(runtime, pair.items[1]));
    KVASIR_RETURN_IF_ERROR(
        out.add((out.text().empty() ? "" : "&") + quote(key.text(), true) + "=" + quote(value.text(), true)));
  }
  return runtime.text(out.text());
}

constexpr Builtin kTextFilters[] = {
    {"abs", abs_filter},
    {"capitalize", map_text<capitalize>},
    {"center", center_filter, 0, {"width"}},
    {"e", escape_filter},
    {"escape", escape_filter},
    {"filesizeformat", filesizeformat_filter, 0, {"binary"}},
    {"float", float_filter, 0, {"default"}},
    {"forceescape", force_escape_filter},
    {"format", format_filter},
    {"indent", indent_filter, 0, {"width", "first", "blank"}},
    {"int", int_filter, 0, {"default", "base"}},
    {"lower", map_text<to_lower>},
    {"replace", replace_filter, 2, {"old", "new", "count"}},
    {"round", round_filter, 0, {"precision", "method"}},
    {"safe", safe_filter},
    {"string", string_filter},
    {"striptags", striptags_filter},
    {"title", map_text<title_words>},
    {"tojson", tojson_filter, 0, {"ensure_ascii", "indent", "separators", "sort_keys"}},
    {"trim", trim_filter, 0, {"chars"}},
    {"truncate", truncate_filter, 0, {"length", "killwords", "end", "leeway"}},
    {"upper", map_text<to_upper>},
    {"urlencode", urlencode_filter},
    {"wordcount", wordcount_filter},
};

}  // namespace

std::span<const Builtin> text_filters() {
  return kTextFilters;
}

}  // namespace kvasir::tokenizer::jinja
