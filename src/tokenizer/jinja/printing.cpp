#include "tokenizer/jinja/printing.h"

#include <algorithm>
#include <charconv>
#include <cmath>

#include "tokenizer/jinja/operators.h"
#include "tokenizer/jinja/text.h"
#include "tokenizer/unicode.h"

namespace kvasir::tokenizer::jinja {
namespace {

// Appends the repr() of a string without its quotes.
void append_escaped(std::string& out, std::string_view text, char quote) {
  for (std::size_t at = 0; at < text.size();) {
    const auto [c, end] = decode_at(text, at);
    if (c == static_cast<char32_t>(quote) || c == '\\') {
      out += '\\';
      out += static_cast<char>(c);
    } else if (c == '\n') {
      out += "\\n";
    } else if (c == '\r') {
      out += "\\r";
    } else if (c == '\t') {
      out += "\\t";
    } else if (is_printable(c)) {
      out += text.substr(at, end - at);
    } else if (c < 0x100) {
      out += fmt::format("\\x{:02x}", static_cast<std::uint32_t>(c));
    } else if (c < 0x10000) {
      out += fmt::format("\\u{:04x}", static_cast<std::uint32_t>(c));
    } else {
      out += fmt::format("\\U{:08x}", static_cast<std::uint32_t>(c));
    }
    at = end;
  }
}

std::string repr_of(std::string_view text) {
  const bool has_single = text.find('\'') != text.npos, has_double = text.find('"') != text.npos;
  const char quote = has_single && !has_double ? '"' : '\'';
  std::string out(1, quote);
  append_escaped(out, text, quote);
  return out + quote;
}

Status print_items(Writer& out, std::span<const Value> items, int depth) {
  for (std::size_t i = 0; i < items.size(); ++i) {
    if (i > 0) KVASIR_RETURN_IF_ERROR(out.add(", "));
    KVASIR_RETURN_IF_ERROR(print_repr(out, items[i], depth + 1));
  }
  return Status();
}

Status print_entries(Writer& out, std::span<const Entry> entries, int depth) {
  KVASIR_RETURN_IF_ERROR(out.add("{"));
  for (std::size_t i = 0; i < entries.size(); ++i) {
    if (i > 0) KVASIR_RETURN_IF_ERROR(out.add(", "));
    KVASIR_RETURN_IF_ERROR(print_repr(out, entries[i].key, depth + 1));
    KVASIR_RETURN_IF_ERROR(out.add(": "));
    KVASIR_RETURN_IF_ERROR(print_repr(out, entries[i].value, depth + 1));
  }
  return out.add("}");
}

Status print_view(Writer& out, const View& view, int depth) {
  constexpr const char* kNames[] = {"dict_keys([", "dict_values([", "dict_items(["};
  KVASIR_RETURN_IF_ERROR(out.add(kNames[static_cast<int>(view.kind)]));
  bool is_first = true;
  for (const Entry& entry : view.dict->entries) {
    if (!std::exchange(is_first, false)) KVASIR_RETURN_IF_ERROR(out.add(", "));
    const bool is_item = view.kind == View::Kind::kItems;
    if (is_item) KVASIR_RETURN_IF_ERROR(out.add("("));
    if (view.kind != View::Kind::kValues) KVASIR_RETURN_IF_ERROR(print_repr(out, entry.key, depth + 1));
    if (is_item) KVASIR_RETURN_IF_ERROR(out.add(", "));
    if (view.kind != View::Kind::kKeys) KVASIR_RETURN_IF_ERROR(print_repr(out, entry.value, depth + 1));
    if (is_item) KVASIR_RETURN_IF_ERROR(out.add(")"));
  }
  return out.add("])");
}

Status print_range(Writer& out, const Range& range) {
  if (range.step == 1) return out.add(fmt::format("range({}, {})", range.start, range.stop));
  return out.add(fmt::format("range({}, {}, {})", range.start, range.stop, range.step));
}

Status print_function(Writer& out, const Function& function) {
  if (function.builtin == nullptr) return out.add(fmt::format("<Macro '{}'>", function.name));
  if (function.self.is_missing()) return out.add(fmt::format("<function {}>", function.name));
  return out.add(fmt::format("<built-in method {} of {} object>", function.name, type_name(function.self)));
}

}  // namespace

std::string in_quotes(std::string_view text) {
  constexpr std::size_t kLongest = 100;
  if (text.size() <= kLongest) return repr_of(text);
  std::size_t end = kLongest;
  while ((static_cast<unsigned char>(text[end]) & 0xC0) == 0x80) --end;
  return repr_of(text.substr(0, end)) + "...";
}

std::string print_int(Int value) {
  return fmt::format("{}", value);
}

std::string print_float(double value) {
  if (std::isnan(value)) return "nan";
  if (std::isinf(value)) return value < 0 ? "-inf" : "inf";
  // The shortest digits that read back as the same number: d.ddde[+-]xx.
  char buffer[32];
  const auto written = std::to_chars(buffer, buffer + sizeof(buffer), value, std::chars_format::scientific);
  std::string_view text(buffer, written.ptr - buffer);
  std::string sign;
  if (text.starts_with('-')) {
    sign = "-";
    text.remove_prefix(1);
  }
  const std::size_t e = text.find('e');
  const int exponent = std::atoi(std::string(text.substr(e + 1)).c_str());
  std::string digits(text.substr(0, e));
  std::erase(digits, '.');
  const int num_digits = static_cast<int>(digits.size());
  if (exponent < -4 || exponent >= 16) {
    if (num_digits > 1) digits.insert(1, ".");
    return fmt::format("{}{}e{}{:02}", sign, digits, exponent < 0 ? '-' : '+', std::abs(exponent));
  }
  if (exponent < 0) return sign + "0." + std::string(-exponent - 1, '0') + digits;
  if (num_digits <= exponent + 1) return sign + digits + std::string(exponent + 1 - num_digits, '0') + ".0";
  return sign + digits.insert(exponent + 1, ".");
}

Status Writer::add(std::string_view piece) {
  KVASIR_RETURN_IF_ERROR(runtime_.spend_text(piece.size()));
  KVASIR_RETURN_IF_ERROR(runtime_.spend_memory(piece.size()));
  text_ += piece;
  return Status();
}

Status Writer::add(std::size_t times, char c) {
  KVASIR_RETURN_IF_ERROR(runtime_.spend_memory(times));
  text_.append(times, c);
  return Status();
}

Status print(Writer& out, const Value& value) {
  if (value.is_string()) return out.add(value.text());
  if (value.is_undefined()) return Status();
  return print_repr(out, value);
}

Status print_repr(Writer& out, const Value& value, int depth) {
  if (depth > kMaxValueDepth) {
    return failure("maximum recursion depth exceeded: values inside each other {} times", kMaxValueDepth);
  }
  switch (value.type) {
    case Type::kMissing:
    case Type::kUndefined:
      return out.add("Undefined");
    case Type::kNone:
      return out.add("None");
    case Type::kBool:
      return out.add(value.boolean ? "True" : "False");
    case Type::kInt:
      return out.add(print_int(value.as_int()));
    case Type::kFloat:
      return out.add(print_float(value.real));
    case Type::kString: {
      KVASIR_RETURN_IF_ERROR(out.runtime().spend_text(4 * std::size_t{value.size}));
      if (!value.is_markup()) return out.add(repr_of(value.text()));
      return out.add("Markup(" + repr_of(value.text()) + ")");
    }
    case Type::kList:
      KVASIR_RETURN_IF_ERROR(out.add("["));
      KVASIR_RETURN_IF_ERROR(print_items(out, value.elements(), depth));
      return out.add("]");
    case Type::kTuple:
      KVASIR_RETURN_IF_ERROR(out.add("("));
      KVASIR_RETURN_IF_ERROR(print_items(out, value.elements(), depth));
      return out.add(value.size == 1 ? ",)" : ")");
    case Type::kDict:
      return print_entries(out, value.dict->entries, depth);
    case Type::kView:
      return print_view(out, *value.view, depth);
    case Type::kRange:
      return print_range(out, *value.range);
    case Type::kIterator:
      return out.add(fmt::format("<{} object>", value.iterator->name));
    case Type::kNamespace:
      KVASIR_RETURN_IF_ERROR(out.add("<Namespace "));
      KVASIR_RETURN_IF_ERROR(print_entries(out, {value.names->entries, value.names->size}, depth));
      return out.add(">");
    case Type::kLoop:
      return out.add(fmt::format("<LoopContext {}/{}>", value.loop->index0 + 1, value.loop->items.size()));
    case Type::kFunction:
      return print_function(out, *value.function);
    case Type::kCycler:
    case Type::kJoiner:
      return out.add(fmt::format("<jinja2.utils.{} object>", type_name(value)));
  }
  return Status();
}

Result<Value> to_text(Runtime& runtime, const Value& value) {
  if (value.is_string()) return borrow_text(value.text());
  Writer out(runtime);
  KVASIR_RETURN_IF_ERROR(print(out, value));
  return runtime.text(out.text());
}

Result<Value> to_repr(Runtime& runtime, const Value& value) {
  Writer out(runtime);
  KVASIR_RETURN_IF_ERROR(print_repr(out, value));
  return runtime.text(out.text());
}

}  // namespace kvasir::tokenizer::jinja
