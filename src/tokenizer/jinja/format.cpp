#include "tokenizer/jinja/format.h"

#include <algorithm>
#include <cmath>
#include <optional>

#include "tokenizer/jinja/builtins.h"
#include "tokenizer/jinja/markup.h"
#include "tokenizer/jinja/operators.h"
#include "tokenizer/jinja/printing.h"
#include "tokenizer/jinja/sequences.h"
#include "tokenizer/jinja/text.h"
#include "tokenizer/unicode.h"

namespace kvasir::tokenizer::jinja {
namespace {

constexpr std::int64_t kMaxPrecision = 300;

// How one value is to be laid out: what both ways have in common.
struct Layout {
  std::string fill = " ";
  char align = 0;  // < > ^ =, 0: what the type has
  char sign = '-';
  bool has_prefix = false;  // #
  bool has_zeros = false;
  char separator = 0;  // , or _ between thousands
  std::int64_t width = 0;
  std::int64_t precision = -1;
  char type = 0;
};

Status pad(Writer& out, std::string_view sign, std::string_view body, const Layout& layout,
           char default_align) {
  const auto length = static_cast<std::int64_t>(num_characters(sign) + num_characters(body));
  const std::size_t missing = layout.width > length ? static_cast<std::size_t>(layout.width - length) : 0;
  const char align = layout.align != 0 ? layout.align : default_align;
  const std::size_t left = align == '<' ? 0 : align == '^' ? missing / 2 : missing;
  const auto fill = [&](std::size_t times) -> Status {
    KVASIR_RETURN_IF_ERROR(out.runtime().spend_memory(times * layout.fill.size()));
    for (std::size_t i = 0; i < times; ++i) KVASIR_RETURN_IF_ERROR(out.add(layout.fill));
    return Status();
  };
  if (align == '=') KVASIR_RETURN_IF_ERROR(out.add(sign));
  KVASIR_RETURN_IF_ERROR(fill(left));
  if (align != '=') KVASIR_RETURN_IF_ERROR(out.add(sign));
  KVASIR_RETURN_IF_ERROR(out.add(body));
  return fill(missing - left);
}

std::string sign_of(bool is_negative, const Layout& layout) {
  return is_negative ? "-" : layout.sign == '-' ? "" : std::string(1, layout.sign);
}

std::string group_digits(std::string digits, char separator, std::size_t size) {
  if (separator == 0) return digits;
  const std::size_t whole = std::min(digits.find_first_not_of("0123456789abcdefABCDEF"), digits.size());
  for (std::size_t at = whole; at > size; at -= size) digits.insert(at - size, 1, separator);
  return digits;
}

Status put_number(Writer& out, std::string sign, std::string body, const Layout& layout) {
  if (!layout.has_zeros || layout.align != 0) return pad(out, sign, body, layout, '>');
  Layout zeros = layout;
  zeros.fill = "0";
  zeros.align = '=';
  return pad(out, sign, body, zeros, '=');
}

Status put_int(Writer& out, Int value, const Layout& layout) {
  unsigned __int128 rest = value < 0 ? -static_cast<unsigned __int128>(value) : value;
  const char type = static_cast<char>(layout.type | 0x20);
  const unsigned base = type == 'x' ? 16 : type == 'o' ? 8 : type == 'b' ? 2 : 10;
  std::string digits;
  do {
    digits += "0123456789abcdef"[static_cast<unsigned>(rest % base)];
    rest /= base;
  } while (rest != 0);
  while (static_cast<std::int64_t>(digits.size()) < std::min(layout.precision, kMaxPrecision)) digits += '0';
  std::reverse(digits.begin(), digits.end());
  digits = group_digits(std::move(digits), layout.separator, base == 10 ? 3 : 4);
  std::string sign = sign_of(value < 0, layout);
  if (layout.has_prefix && base != 10) sign += std::string("0") + type;
  if (layout.type == 'X') {
    for (std::string* each : {&digits, &sign}) *each = to_upper(*each);
  }
  return put_number(out, std::move(sign), std::move(digits), layout);
}

Status put_float(Writer& out, double value, const Layout& layout) {
  const char type = layout.type == 0 || layout.type == 'n' ? 'g' : layout.type;
  const bool is_percent = type == '%';
  const double shown = std::abs(is_percent ? value * 100 : value);
  std::string body;
  if (std::isnan(value) || std::isinf(value)) {
    body = std::isnan(value) ? "nan" : "inf";
    if (std::isupper(static_cast<unsigned char>(type)) != 0) body = to_upper(body);
  } else if (layout.type == 0 && layout.precision < 0) {
    body = print_float(shown);
  } else {
    const char pattern[] = {'%', layout.has_prefix ? '#' : '0', '.', '*', is_percent ? 'f' : type, 0};
    const int precision =
        static_cast<int>(layout.precision < 0 ? 6 : std::min(layout.precision, kMaxPrecision));
    char buffer[800];
    std::snprintf(buffer, sizeof(buffer), pattern, precision, shown);
    body = buffer;
    const bool is_plain = body.find_first_of(".en") == body.npos;
    if (layout.type == 0 && is_plain) body += ".0";
  }
  if (is_percent) body += '%';
  body = group_digits(std::move(body), layout.separator, 3);
  return put_number(out, sign_of(std::signbit(value) && !std::isnan(value), layout), std::move(body), layout);
}

Status put_text(Writer& out, std::string_view text, const Layout& layout) {
  if (layout.precision >= 0) {
    text = text.substr(0, byte_offset(text, static_cast<std::size_t>(layout.precision)));
  }
  return pad(out, "", text, layout, '<');
}

// One `%` directive after the other.
class PercentFormatter {
 public:
  PercentFormatter(Runtime& runtime, const Value& format, const Value& arguments)
      : out_(runtime), rest_(format.text()), is_markup_(format.is_markup()), arguments_(arguments) {}

  Result<Value> run() {
    while (true) {
      const std::size_t at = rest_.find('%');
      KVASIR_RETURN_IF_ERROR(out_.add(rest_.substr(0, at)));
      if (at == rest_.npos) break;
      rest_.remove_prefix(at + 1);
      KVASIR_RETURN_IF_ERROR(directive());
    }
    // Python asks whether the argument has items by key, which lists have as well.
    const bool has_named =
        arguments_.is(Type::kDict) || arguments_.is(Type::kList) || arguments_.is_undefined();
    if (!has_named && num_taken_ < (arguments_.is(Type::kTuple) ? arguments_.size : 1)) {
      return failure("not all arguments converted during string formatting");
    }
    return out_.runtime().text(out_.text(), is_markup_);
  }

 private:
  char take() {
    const char c = rest_.empty() ? '\0' : rest_[0];
    if (!rest_.empty()) rest_.remove_prefix(1);
    return c;
  }

  Result<Value> next_argument() {
    if (arguments_.is(Type::kTuple)) {
      if (num_taken_ < arguments_.size) return arguments_.items[num_taken_++];
    } else if (num_taken_++ == 0) {
      return arguments_;
    }
    return failure("not enough arguments for format string");
  }

  Result<std::int64_t> number() {
    if (rest_.starts_with('*')) {
      rest_.remove_prefix(1);
      KVASIR_ASSIGN_OR_RETURN(const Value given, next_argument());
      return int_argument(given, "* wants int");
    }
    std::int64_t value = 0;
    while (!rest_.empty() && rest_[0] >= '0' && rest_[0] <= '9') {
      value = std::min<std::int64_t>(value * 10 + (take() - '0'), 1LL << 40);
    }
    return value;
  }

  Result<Layout> layout() {
    Layout layout;
    while (!rest_.empty() && std::string_view("#0- +").find(rest_[0]) != std::string_view::npos) {
      const char flag = take();
      if (flag == '#') layout.has_prefix = true;
      if (flag == '0') layout.has_zeros = true;
      if (flag == '-') layout.align = '<';
      if (flag == '+' || (flag == ' ' && layout.sign == '-')) layout.sign = flag;
    }
    KVASIR_ASSIGN_OR_RETURN(layout.width, number());
    if (layout.width < 0) {
      layout.align = '<';
      layout.width = -layout.width;
    }
    if (rest_.starts_with('.')) {
      rest_.remove_prefix(1);
      KVASIR_ASSIGN_OR_RETURN(layout.precision, number());
      layout.precision = std::max<std::int64_t>(layout.precision, 0);
    }
    while (rest_.starts_with('h') || rest_.starts_with('l') || rest_.starts_with('L')) rest_.remove_prefix(1);
    layout.type = take();
    return layout;
  }

  Status directive() {
    std::optional<Value> named;
    if (rest_.starts_with('(')) {
      const std::size_t end = rest_.find(')');
      if (end == rest_.npos) return failure("incomplete format key");
      if (!arguments_.is(Type::kDict)) return failure("format requires a mapping");
      const Value* const found = find(*arguments_.dict, rest_.substr(1, end - 1));
      if (found == nullptr)
        return failure("the format has no argument {}", in_quotes(rest_.substr(1, end - 1)));
      named = *found;
      rest_.remove_prefix(end + 1);
    }
    KVASIR_ASSIGN_OR_RETURN(const Layout how, layout());
    if (how.type == '%') return out_.add("%");
    if (how.type == '\0') return failure("incomplete format");
    if (!named) {
      KVASIR_ASSIGN_OR_RETURN(named, next_argument());
    }
    return put(*named, how);
  }

  Status put(const Value& value, const Layout& how) {
    Runtime& runtime = out_.runtime();
    switch (how.type) {
      case 's': {
        Result<Value> text = is_markup_ ? escape(runtime, value) : to_text(runtime, value);
        if (!text.ok()) return text.status();
        return put_text_right(text->text(), how);
      }
      case 'r':
      case 'a': {
        KVASIR_ASSIGN_OR_RETURN(const Value text, to_repr(runtime, value));
        return put_text_right(text.text(), how);
      }
      case 'c': {
        if (value.is_string()) return put_text_right(value.text(), how);
        KVASIR_ASSIGN_OR_RETURN(const std::int64_t code, int_argument(value, "%c"));
        if (code < 0 || code > 0x10FFFF || (code >= 0xD800 && code < 0xE000)) {
          return failure("%c arg not in range(0x110000)");
        }
        std::string text;
        append(text, static_cast<char32_t>(code));
        return put_text_right(text, how);
      }
      case 'd':
      case 'i':
      case 'u':
        if (value.is(Type::kFloat) && std::abs(value.real) < 0x1p126) {
          return put_int(out_, static_cast<Int>(value.real), how);
        }
        [[fallthrough]];
      case 'x':
      case 'X':
      case 'o':
        if (!value.is_integer()) return wrong(value, how);
        return put_int(out_, value.as_int(), how);
      case 'e':
      case 'E':
      case 'f':
      case 'F':
      case 'g':
      case 'G':
        if (!value.is_number()) return wrong(value, how);
        return put_float(out_, value.as_double(), how);
      default:
        return failure("unsupported format character {}", in_quotes(std::string(1, how.type)));
    }
  }

  Status wrong(const Value& value, const Layout& how) {
    if (value.is_undefined()) return undefined_failure(value);
    return failure("%{} format: a number is required, not {}", how.type, type_name(value));
  }

  // % lays text out to the right.
  Status put_text_right(std::string_view text, Layout how) {
    if (how.align == 0) how.align = '>';
    return put_text(out_, text, how);
  }

  Writer out_;
  std::string_view rest_;
  const bool is_markup_;
  const Value& arguments_;
  std::size_t num_taken_ = 0;
};

// One replacement field after the other.
class BraceFormatter {
 public:
  BraceFormatter(Runtime& runtime, const Value& format, const Arguments& arguments)
      : out_(runtime), is_markup_(format.is_markup()), arguments_(arguments) {}

  Result<Value> run(std::string_view format) {
    KVASIR_RETURN_IF_ERROR(run(format, out_, 2));
    return out_.runtime().text(out_.text(), is_markup_);
  }

 private:
  Status run(std::string_view rest, Writer& out, int levels) {
    while (true) {
      const std::size_t at = rest.find_first_of("{}");
      KVASIR_RETURN_IF_ERROR(out.add(rest.substr(0, at)));
      if (at == rest.npos) return Status();
      const char c = rest[at];
      rest.remove_prefix(at + 1);
      if (rest.starts_with(c)) {
        KVASIR_RETURN_IF_ERROR(out.add(std::string(1, c)));
        rest.remove_prefix(1);
        continue;
      }
      if (c == '}') return failure("Single '}}' encountered in format string");
      std::size_t end = 0;
      for (int open = 1; end < rest.size(); ++end) {
        open += rest[end] == '{' ? 1 : rest[end] == '}' ? -1 : 0;
        if (open == 0) break;
      }
      if (end == rest.size()) return failure("expected '}}' before end of string");
      if (levels == 0) return failure("Max string recursion exceeded");
      KVASIR_RETURN_IF_ERROR(field(rest.substr(0, end), out, levels));
      rest.remove_prefix(end + 1);
    }
  }

  // name, conversion, layout: "0.key[1]!r:>10"
  Status field(std::string_view text, Writer& out, int levels) {
    std::size_t end = 0;
    for (bool is_inside = false; end < text.size(); ++end) {
      is_inside = text[end] == '[' || (is_inside && text[end] != ']');
      if (!is_inside && (text[end] == '!' || text[end] == ':')) break;
    }
    KVASIR_ASSIGN_OR_RETURN(Value value, lookup(text.substr(0, end)));
    text.remove_prefix(end);
    char conversion = 0;
    if (text.starts_with('!')) {
      if (text.size() < 2 || (text.size() > 2 && text[2] != ':'))
        return failure("expected ':' after conversion specifier");
      conversion = text[1];
      text.remove_prefix(2);
    }
    if (conversion == 'r' || conversion == 'a') {
      KVASIR_ASSIGN_OR_RETURN(value, to_repr(out_.runtime(), value));
    } else if (conversion == 's') {
      KVASIR_ASSIGN_OR_RETURN(value, to_text(out_.runtime(), value));
    } else if (conversion != 0) {
      return failure("Unknown conversion specifier {}", in_quotes(std::string(1, conversion)));
    }
    Writer layout(out_.runtime());
    if (text.starts_with(':')) KVASIR_RETURN_IF_ERROR(run(text.substr(1), layout, levels - 1));
    return put(value, layout.text(), out);
  }

  Result<Value> lookup(std::string_view path) {
    const std::size_t end = std::min(path.find_first_of(".["), path.size());
    KVASIR_ASSIGN_OR_RETURN(Value value, argument(path.substr(0, end)));
    path.remove_prefix(end);
    while (!path.empty()) {
      const bool is_attribute = path[0] == '.';
      const std::size_t next =
          is_attribute ? std::min(path.find_first_of(".[", 1), path.size()) : path.find(']');
      if (next == path.npos) return failure("Missing ']' in format string");
      const std::string_view name = path.substr(1, next - 1);
      if (name.empty()) return failure("Empty attribute in format string");
      path.remove_prefix(is_attribute ? next : next + 1);
      if (is_attribute) {
        KVASIR_ASSIGN_OR_RETURN(value, get_attribute(out_.runtime(), value, name));
        continue;
      }
      Value key = borrow_text(name);
      if (is_decimal(name)) {
        KVASIR_ASSIGN_OR_RETURN(key, parse_int(out_.runtime(), name, 10));
      }
      KVASIR_ASSIGN_OR_RETURN(value, get_item(out_.runtime(), value, key));
    }
    return value;
  }

  Result<Value> argument(std::string_view name) {
    if (!name.empty() && !is_decimal(name)) {
      const auto found = std::ranges::find(arguments_.named, name, &NamedValue::name);
      if (found == arguments_.named.end()) return failure("the format has no argument {}", in_quotes(name));
      return found->value;
    }
    if (has_numbers_ && *has_numbers_ == name.empty()) {
      return failure("cannot mix automatic and manual field numbering");
    }
    has_numbers_ = !name.empty();
    std::int64_t index = next_++;
    if (!name.empty()) {
      KVASIR_ASSIGN_OR_RETURN(const Value number, parse_int(out_.runtime(), name, 10));
      KVASIR_ASSIGN_OR_RETURN(index, int_argument(number, "index"));
    }
    if (index < 0 || static_cast<std::size_t>(index) >= arguments_.positional.size()) {
      return failure("Replacement index {} out of range for positional args tuple", index);
    }
    return arguments_.positional[static_cast<std::size_t>(index)];
  }

  static Result<Layout> parse_layout(std::string_view text) {
    Layout layout;
    const std::size_t first = text.empty() ? 0 : decode_at(text, 0).end;
    const auto is_align = [](char c) { return c == '<' || c == '>' || c == '^' || c == '='; };
    if (first < text.size() && is_align(text[first])) {
      layout.fill = text.substr(0, first);
      layout.align = text[first];
      text.remove_prefix(first + 1);
    } else if (!text.empty() && is_align(text[0])) {
      layout.align = text[0];
      text.remove_prefix(1);
    }
    const auto take_one_of = [&](std::string_view set) {
      if (text.empty() || set.find(text[0]) == set.npos) return '\0';
      const char c = text[0];
      text.remove_prefix(1);
      return c;
    };
    const auto number = [&] {
      std::int64_t value = 0;
      while (const char c = take_one_of("0123456789"))
        value = std::min<std::int64_t>(value * 10 + (c - '0'), 1LL << 40);
      return value;
    };
    if (const char sign = take_one_of("+- ")) layout.sign = sign;
    layout.has_prefix = take_one_of("#") != 0;
    layout.has_zeros = take_one_of("0") != 0;
    layout.width = number();
    layout.separator = take_one_of(",_");
    if (take_one_of(".") != 0) layout.precision = number();
    layout.type = take_one_of("bcdeEfFgGnosxX%");
    if (!text.empty()) return failure("Invalid format specifier");
    return layout;
  }

  Status put(const Value& value, std::string_view layout_text, Writer& out) {
    KVASIR_ASSIGN_OR_RETURN(Layout how, parse_layout(layout_text));
    const bool is_text_type = how.type == 0 || how.type == 's';
    if (value.is_number() && !(value.is(Type::kBool) && layout_text.empty())) {
      if (how.type == 's')
        return failure("Unknown format code 's' for object of type '{}'", type_name(value));
      const bool is_float_type =
          how.type != 0 && std::string_view("eEfFgG%").find(how.type) != std::string_view::npos;
      if (value.is(Type::kFloat) || is_float_type) return put_float(out, value.as_double(), how);
      return put_int(out, value.as_int(), how);
    }
    if (!value.is_string() && !value.is(Type::kBool) && !layout_text.empty()) {
      return failure("unsupported format string passed to {}.__format__", type_name(value));
    }
    if (!is_text_type) {
      return failure("Unknown format code {} for object of type '{}'", in_quotes(std::string(1, how.type)),
                     type_name(value));
    }
    if (how.has_zeros && how.align == 0) how.fill = "0";
    const Result<Value> text = is_markup_ ? escape(out_.runtime(), value) : to_text(out_.runtime(), value);
    if (!text.ok()) return text.status();
    return put_text(out, text->text(), how);
  }

  Writer out_;
  const bool is_markup_;
  const Arguments& arguments_;
  std::int64_t next_ = 0;
  std::optional<bool> has_numbers_;
};

}  // namespace

Result<Value> format_percent(Runtime& runtime, const Value& format, const Value& arguments) {
  return PercentFormatter(runtime, format, arguments).run();
}

Result<Value> format_braces(Runtime& runtime, const Value& format, const Arguments& arguments) {
  return BraceFormatter(runtime, format, arguments).run(format.text());
}

}  // namespace kvasir::tokenizer::jinja
