#include "tokenizer/jinja/builtins.h"

#include <algorithm>
#include <charconv>
#include <optional>
#include <string>

#include "tokenizer/jinja/operators.h"
#include "tokenizer/jinja/printing.h"
#include "tokenizer/jinja/text.h"

namespace kvasir::tokenizer::jinja {
namespace {

using Bound = std::array<Value, Builtin::kMaxParameters>;

Result<Bound> bind(const Builtin& builtin, const Arguments& arguments) {
  const auto& names = builtin.parameters;
  const std::size_t num_parameters = std::ranges::find(names, std::string_view()) - names.begin();
  Bound bound;
  if (arguments.positional.size() > num_parameters) {
    return failure("{}() takes at most {} arguments, got {}", builtin.name, num_parameters,
                   arguments.positional.size());
  }
  std::copy(arguments.positional.begin(), arguments.positional.end(), bound.begin());
  for (const auto& [name, value] : arguments.named) {
    const std::size_t place = std::ranges::find(names, name) - names.begin();
    if (place >= num_parameters || name == "-") {
      return failure("{}() got an unexpected keyword argument {}", builtin.name, in_quotes(name));
    }
    if (!bound[place].is_missing()) {
      return failure("{}() got multiple values for argument {}", builtin.name, in_quotes(name));
    }
    bound[place] = value;
  }
  for (std::size_t i = 0; i < builtin.num_required; ++i) {
    if (bound[i].is_missing()) {
      return failure("{}() is missing its argument {}", builtin.name,
                     names[i] == "-" ? std::to_string(i + 1) : in_quotes(names[i]));
    }
  }
  return bound;
}

const Builtin* find(std::span<const Builtin> table, std::string_view name) {
  const auto found = std::ranges::find(table, name, &Builtin::name);
  return found == table.end() ? nullptr : &*found;
}

// The digits without the underscores that may stand between two of them; nothing where they stand elsewhere.
std::optional<std::string> without_underscores(std::string_view text) {
  std::string out;
  for (std::size_t i = 0; i < text.size(); ++i) {
    const auto is_digit = [&](std::size_t at) {
      return at < text.size() && std::isalnum(static_cast<unsigned char>(text[at])) != 0;
    };
    if (text[i] != '_') {
      out += text[i];
    } else if (i == 0 || !is_digit(i - 1) || !is_digit(i + 1)) {
      return std::nullopt;
    }
  }
  return out;
}

// Takes the sign away.
bool take_sign(std::string_view& text) {
  const bool is_negative = text.starts_with('-');
  if (is_negative || text.starts_with('+')) text.remove_prefix(1);
  return is_negative;
}

}  // namespace

Result<Value> call_builtin(Runtime& runtime, const Builtin& builtin, const Value& self,
                           const Arguments& arguments) {
  if (builtin.run_raw != nullptr) return builtin.run_raw(runtime, self, arguments);
  KVASIR_ASSIGN_OR_RETURN(const Bound bound, bind(builtin, arguments));
  return builtin.run(runtime, self, bound);
}

const Builtin* find_filter(std::string_view name) {
  const Builtin* const found = find(text_filters(), name);
  return found != nullptr ? found : find(sequence_filters(), name);
}

bool is_unsupported_filter(std::string_view name) {
  return name == "pprint" || name == "urlize" || name == "wordwrap" || name == "xmlattr";
}

Result<std::string_view> text_argument(const Value& value, std::string_view what) {
  if (value.is_undefined()) return undefined_failure(value);
  if (!value.is_string()) return failure("{} must be str, not {}", what, type_name(value));
  return value.text();
}

Result<std::int64_t> int_argument(const Value& value, std::string_view what) {
  if (value.is_undefined()) return undefined_failure(value);
  if (!value.is_integer()) {
    return failure("{}: '{}' object cannot be interpreted as an integer", what, type_name(value));
  }
  return static_cast<std::int64_t>(std::clamp(value.as_int(), Int{-(1LL << 62)}, Int{1LL << 62}));
}

Result<std::int64_t> int_argument(const Value& value, std::string_view what, std::int64_t fallback) {
  if (value.is_missing() || value.is_none()) return fallback;
  return int_argument(value, what);
}

bool bool_argument(const Value& value, bool fallback) {
  return value.is_missing() ? fallback : is_true(value);
}

Result<Value> parse_int(Runtime& runtime, std::string_view text, int base) {
  text = strip(text, Side::kBoth);
  const bool is_negative = take_sign(text);
  if (text.size() > 1 && text[0] == '0' && std::isalpha(static_cast<unsigned char>(text[1])) != 0) {
    const char letter = static_cast<char>(text[1] | 0x20);
    const int prefix = letter == 'x' ? 16 : letter == 'o' ? 8 : letter == 'b' ? 2 : -1;
    if (prefix == base || (base == 0 && prefix > 0)) {
      base = prefix;
      text.remove_prefix(2);
      if (text.starts_with('_')) text.remove_prefix(1);
    }
  }
  if (base == 0) base = 10;
  const std::optional<std::string> digits = without_underscores(text);
  if (base < 2 || base > 36 || !digits || digits->empty()) return Value();
  Int value = 0;
  for (const char c : *digits) {
    const int digit = c >= '0' && c <= '9'                               ? c - '0'
                      : std::isalpha(static_cast<unsigned char>(c)) != 0 ? (c | 0x20) - 'a' + 10
                                                                         : 99;
    if (digit >= base) return Value();
    if (__builtin_mul_overflow(value, Int{base}, &value) ||
        __builtin_add_overflow(value, Int{digit}, &value)) {
      return failure("integers beyond 128 bits are not supported");
    }
  }
  return runtime.integer(is_negative ? -value : value);
}

Value parse_float(std::string_view text) {
  text = strip(text, Side::kBoth);
  const bool is_negative = take_sign(text);
  const std::optional<std::string> digits = without_underscores(text);
  if (!digits || digits->empty() || digits->starts_with('-') || digits->starts_with('+') ||
      digits->find('(') != digits->npos)
    return Value();
  double value = 0;
  const char* const end = digits->data() + digits->size();
  const auto read = std::from_chars(digits->data(), end, value);
  if (read.ptr != end) return Value();
  if (read.ec == std::errc::result_out_of_range) value = std::strtod(digits->c_str(), nullptr);
  return make_float(is_negative ? -value : value);
}

Result<Value> replace_text(Runtime& runtime, const Value& text, std::string_view old_part,
                           std::string_view new_part, std::int64_t most) {
  Writer out(runtime);
  std::string_view rest = text.text();
  KVASIR_RETURN_IF_ERROR(runtime.spend_text(rest.size()));
  if (old_part.empty()) {  // before each character, and at the end
    while (most-- != 0) {
      KVASIR_RETURN_IF_ERROR(out.add(new_part));
      if (rest.empty()) break;
      const std::size_t end = byte_offset(rest, 1);
      KVASIR_RETURN_IF_ERROR(out.add(rest.substr(0, end)));
      rest.remove_prefix(end);
    }
  } else {
    for (std::size_t at = rest.find(old_part); at != rest.npos && most-- != 0; at = rest.find(old_part)) {
      KVASIR_RETURN_IF_ERROR(out.add(rest.substr(0, at)));
      KVASIR_RETURN_IF_ERROR(out.add(new_part));
      rest.remove_prefix(at + old_part.size());
    }
  }
  KVASIR_RETURN_IF_ERROR(out.add(rest));
  return runtime.text(out.text(), text.is_markup());
}

}  // namespace kvasir::tokenizer::jinja
