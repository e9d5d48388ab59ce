// The methods of strings.

#include <algorithm>

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

template <std::string (*kMap)(std::string_view)>
Result<Value> map_method(Runtime& runtime, const Value& self, Args) {
  return runtime.text(kMap(self.text()), self.is_markup());
}

template <bool (*kHolds)(std::string_view)>
Result<Value> predicate_method(Runtime& runtime, const Value& self, Args) {
  KVASIR_RETURN_IF_ERROR(runtime.spend_text(self.size));
  return make_bool(kHolds(self.text()));
}

template <Side kSide>
Result<Value> strip_method(Runtime& runtime, const Value& self, Args args) {
  KVASIR_RETURN_IF_ERROR(runtime.spend_text(self.size));
  std::optional<std::string_view> characters;
  if (!args[0].is_missing() && !args[0].is_none()) {
    KVASIR_ASSIGN_OR_RETURN(characters, text_argument(args[0], "strip arg"));
  }
  return borrow_text(strip(self.text(), kSide, characters), self.detail);
}

// Pieces of `self` as a list.
Result<Value> pieces(Runtime& runtime, const Value& self, std::span<const std::string_view> parts) {
  KVASIR_ASSIGN_OR_RETURN(const std::span<Value> out, runtime.items(parts.size()));
  std::transform(parts.begin(), parts.end(), out.begin(),
                 [&](std::string_view part) { return borrow_text(part, self.detail); });
  return borrow_items(Type::kList, out);
}

template <bool kFromRight>
Result<Value> split_method(Runtime& runtime, const Value& self, Args args) {
  // The pieces are paid for before they are made: at most one a byte.
  KVASIR_RETURN_IF_ERROR(runtime.spend_text(self.size));
  KVASIR_ASSIGN_OR_RETURN(const std::int64_t most, int_argument(args[1], "maxsplit", -1));
  if (args[0].is_missing() || args[0].is_none()) {
    return pieces(runtime, self,
                  kFromRight ? split_words_right(self.text(), most) : split_words(self.text(), most));
  }
  KVASIR_ASSIGN_OR_RETURN(const std::string_view separator, text_argument(args[0], "the separator"));
  if (separator.empty()) return failure("empty separator");
  return pieces(runtime, self,
                kFromRight ? split_right(self.text(), separator, most) : split(self.text(), separator, most));
}

Result<Value> splitlines_method(Runtime& runtime, const Value& self, Args args) {
  KVASIR_RETURN_IF_ERROR(runtime.spend_text(self.size));
  return pieces(runtime, self, split_lines(self.text(), bool_argument(args[0], false)));
}

template <bool kFromRight>
Result<Value> partition_method(Runtime& runtime, const Value& self, Args args) {
  KVASIR_RETURN_IF_ERROR(runtime.spend_text(self.size));
  KVASIR_ASSIGN_OR_RETURN(const std::string_view separator, text_argument(args[0], "the separator"));
  if (separator.empty()) return failure("empty separator");
  const std::string_view text = self.text();
  const std::size_t at = kFromRight ? text.rfind(separator) : text.find(separator);
  std::array<std::string_view, 3> parts = {text, "", ""};
  if (at != text.npos) {
    parts = {text.substr(0, at), text.substr(at, separator.size()), text.substr(at + separator.size())};
  } else if (kFromRight) {
    std::swap(parts[0], parts[2]);
  }
  KVASIR_ASSIGN_OR_RETURN(Value result, pieces(runtime, self, parts));
  result.type = Type::kTuple;
  return result;
}

// text[start:end], and how many characters come before it; nothing where start is behind the end.
struct Part {
  std::string_view text;
  std::size_t num_before;
};
Result<std::optional<Part>> part_of(Runtime& runtime, const Value& self, const Value& start,
                                    const Value& end) {
  KVASIR_RETURN_IF_ERROR(runtime.spend_text(self.size));
  const bool is_whole = (start.is_missing() || start.is_none()) && (end.is_missing() || end.is_none());
  if (is_whole) return std::optional<Part>({self.text(), 0});
  const auto length = static_cast<std::int64_t>(num_characters(self.text()));
  KVASIR_ASSIGN_OR_RETURN(std::int64_t from, int_argument(start, "start", 0));
  KVASIR_ASSIGN_OR_RETURN(std::int64_t to, int_argument(end, "end", length));
  for (std::int64_t* each : {&from, &to}) {
    if (*each < 0) *each = std::max<std::int64_t>(0, *each + length);
  }
  to = std::min(to, length);
  if (from > to) return std::optional<Part>();
  const std::size_t begin = byte_offset(self.text(), static_cast<std::size_t>(from));
  const std::string_view rest = self.text().substr(begin);
  return std::optional<Part>({rest.substr(0, byte_offset(rest, static_cast<std::size_t>(to - from))),
                              static_cast<std::size_t>(from)});
}

template <bool kFromRight, bool kMustBe>
Result<Value> find_method_of_text(Runtime& runtime, const Value& self, Args args) {
  KVASIR_ASSIGN_OR_RETURN(const std::string_view wanted, text_argument(args[0], "the substring"));
  KVASIR_ASSIGN_OR_RETURN(const std::optional<Part> part, part_of(runtime, self, args[1], args[2]));
  const std::size_t at = !part        ? std::string_view::npos
                         : kFromRight ? part->text.rfind(wanted)
                                      : part->text.find(wanted);
  if (at != std::string_view::npos) {
    return make_int(static_cast<std::int64_t>(part->num_before + num_characters(part->text.substr(0, at))));
  }
  return kMustBe ? Result<Value>(failure("substring not found")) : Result<Value>(make_int(-1));
}

Result<Value> count_method(Runtime& runtime, const Value& self, Args args) {
  KVASIR_ASSIGN_OR_RETURN(const std::string_view wanted, text_argument(args[0], "the substring"));
  KVASIR_ASSIGN_OR_RETURN(const std::optional<Part> part, part_of(runtime, self, args[1], args[2]));
  return make_int(part ? static_cast<std::int64_t>(count(part->text, wanted)) : 0);
}

template <bool kAtEnd>
Result<Value> affix_method(Runtime& runtime, const Value& self, Args args) {
  const std::span<const Value> wanted = args[0].is(Type::kTuple) ? args[0].elements() : args.first(1);
  KVASIR_ASSIGN_OR_RETURN(const std::optional<Part> part, part_of(runtime, self, args[1], args[2]));
  for (const Value& each : wanted) {
    KVASIR_ASSIGN_OR_RETURN(const std::string_view affix,
                            text_argument(each, kAtEnd ? "endswith first arg" : "startswith first arg"));
    if (part && (kAtEnd ? part->text.ends_with(affix) : part->text.starts_with(affix)))
      return make_bool(true);
  }
  return make_bool(false);
}

template <bool kAtEnd>
Result<Value> remove_affix_method(Runtime&, const Value& self, Args args) {
  KVASIR_ASSIGN_OR_RETURN(const std::string_view affix, text_argument(args[0], "argument"));
  std::string_view text = self.text();
  if (kAtEnd ? !text.ends_with(affix) : !text.starts_with(affix)) return self;
  if (kAtEnd) {
    text.remove_suffix(affix.size());
  } else {
    text.remove_prefix(affix.size());
  }
  return borrow_text(text, self.detail);
}

Result<Value> replace_method(Runtime& runtime, const Value& self, Args args) {
  KVASIR_ASSIGN_OR_RETURN(std::string_view old_part, text_argument(args[0], "replace() argument 1"));
  KVASIR_ASSIGN_OR_RETURN(std::string_view new_part, text_argument(args[1], "replace() argument 2"));
  KVASIR_ASSIGN_OR_RETURN(const std::int64_t most, int_argument(args[2], "count", -1));
  if (self.is_markup()) {
    KVASIR_ASSIGN_OR_RETURN(const Value old_escaped, escape(runtime, args[0]));
    KVASIR_ASSIGN_OR_RETURN(const Value new_escaped, escape(runtime, args[1]));
    return replace_text(runtime, self, old_escaped.text(), new_escaped.text(), most);
  }
  return replace_text(runtime, self, old_part, new_part, most);
}

Result<Value> join_method(Runtime& runtime, const Value& self, Args args) {
  KVASIR_ASSIGN_OR_RETURN(const std::span<const Value> items, elements_of(runtime, args[0]));
  Writer out(runtime);
  for (std::size_t i = 0; i < items.size(); ++i) {
    if (i > 0) KVASIR_RETURN_IF_ERROR(out.add(self.text()));
    if (self.is_markup()) {
      KVASIR_ASSIGN_OR_RETURN(const Value escaped, escape(runtime, items[i]));
      KVASIR_RETURN_IF_ERROR(out.add(escaped.text()));
      continue;
    }
    if (!items[i].is_string()) {
      return failure("sequence item {}: expected str instance, {} found", i, type_name(items[i]));
    }
    KVASIR_RETURN_IF_ERROR(out.add(items[i].text()));
  }
  return runtime.text(out.text(), self.is_markup());
}

// To a width, with the text at the left, in the middle, at the right.
template <int kPlace>
Result<Value> justify_method(Runtime& runtime, const Value& self, Args args) {
  KVASIR_ASSIGN_OR_RETURN(const std::int64_t width, int_argument(args[0], "width"));
  const Value fill = args[1].is_missing() ? borrow_text(" ") : args[1];
  KVASIR_ASSIGN_OR_RETURN(const std::string_view character, text_argument(fill, "the fill character"));
  if (num_characters(character) != 1) return failure("The fill character must be exactly one character long");
  KVASIR_RETURN_IF_ERROR(runtime.spend_text(self.size));
  const auto length = static_cast<std::int64_t>(num_characters(self.text()));
  const std::int64_t missing = std::max<std::int64_t>(0, width - length);
  // str.center puts the odd one to the left when the width is odd.
  const std::int64_t left = kPlace == 0 ? 0 : kPlace == 2 ? missing : missing / 2 + (missing & width & 1);
  Writer out(runtime);
  const auto put = [&](std::int64_t times) -> Status {
    for (; times > 0; --times) KVASIR_RETURN_IF_ERROR(out.add(character));
    return Status();
  };
  KVASIR_RETURN_IF_ERROR(put(left));
  KVASIR_RETURN_IF_ERROR(out.add(self.text()));
  KVASIR_RETURN_IF_ERROR(put(missing - left));
  return runtime.text(out.text(), self.is_markup());
}

Result<Value> zfill_method(Runtime& runtime, const Value& self, Args args) {
  std::string_view text = self.text();
  const bool has_sign = text.starts_with('-') || text.starts_with('+');
  const Value digits = borrow_text(text.substr(has_sign ? 1 : 0));
  KVASIR_ASSIGN_OR_RETURN(const std::int64_t width, int_argument(args[0], "width"));
  const Value arguments[] = {make_int(width - (has_sign ? 1 : 0)), borrow_text("0")};
  KVASIR_ASSIGN_OR_RETURN(const Value filled, justify_method<2>(runtime, digits, arguments));
  return runtime.join(text.substr(0, has_sign ? 1 : 0), filled.text(), self.is_markup());
}

Result<Value> expandtabs_method(Runtime& runtime, const Value& self, Args args) {
  KVASIR_ASSIGN_OR_RETURN(const std::int64_t given, int_argument(args[0], "tabsize", 8));
  const auto width = static_cast<std::size_t>(std::max<std::int64_t>(given, 0));
  const auto num_tabs = static_cast<std::size_t>(std::ranges::count(self.text(), '\t'));
  if (num_tabs != 0 && width > runtime.limits().max_value_bytes) return runtime.spend_memory(width);
  KVASIR_RETURN_IF_ERROR(runtime.spend_memory(num_tabs * width));
  return runtime.text(expand_tabs(self.text(), width), self.is_markup());
}

Result<Value> format_method(Runtime& runtime, const Value& self, const Arguments& arguments) {
  return format_braces(runtime, self, arguments);
}

Result<Value> format_map_method(Runtime& runtime, const Value& self, Args args) {
  if (!args[0].is(Type::kDict)) return failure("format_map: expected a mapping, got {}", type_name(args[0]));
  std::vector<NamedValue> named;
  for (const Entry& entry : args[0].dict->entries) {
    if (entry.key.is_string()) named.push_back({entry.key.text(), entry.value});
  }
  return format_braces(runtime, self, {{}, named});
}

Result<Value> unsupported_method(Runtime&, const Value&, const Arguments&) {
  return failure("the methods encode, maketrans and translate of str are not supported");
}

constexpr std::array<std::string_view, Builtin::kMaxParameters> kOne = {"-"}, kTwo = {"-", "-"},
                                                                kThree = {"-", "-", "-"};
constexpr std::array<std::string_view, Builtin::kMaxParameters> kSplit = {"sep", "maxsplit"};

constexpr Builtin kStringMethods[] = {
    {"capitalize", map_method<capitalize>},
    {"casefold", map_method<fold_case>},
    {"center", justify_method<1>, 1, kTwo},
    {"count", count_method, 1, kThree},
    {"encode", unsupported_method},
    {"endswith", affix_method<true>, 1, kThree},
    {"expandtabs", expandtabs_method, 0, {"tabsize"}},
    {"find", find_method_of_text<false, false>, 1, kThree},
    {"format", format_method},
    {"format_map", format_map_method, 1, kOne},
    {"index", find_method_of_text<false, true>, 1, kThree},
    {"isalnum", predicate_method<is_alnum>},
    {"isalpha", predicate_method<is_alpha>},
    {"isascii", predicate_method<is_ascii>},
    {"isdecimal", predicate_method<is_decimal>},
    {"isdigit", predicate_method<is_digit>},
    {"isidentifier", predicate_method<is_identifier>},
    {"islower", predicate_method<is_lower>},
    {"isnumeric", predicate_method<is_numeric_text>},
    {"isprintable", predicate_method<is_printable_text>},
    {"isspace", predicate_method<is_space_text>},
    {"istitle", predicate_method<is_title>},
    {"isupper", predicate_method<is_upper>},
    {"join", join_method, 1, kOne},
    {"ljust", justify_method<0>, 1, kTwo},
    {"lower", map_method<to_lower>},
    {"lstrip", strip_method<Side::kLeft>, 0, kOne},
    {"maketrans", unsupported_method},
    {"partition", partition_method<false>, 1, kOne},
    {"removeprefix", remove_affix_method<false>, 1, kOne},
    {"removesuffix", remove_affix_method<true>, 1, kOne},
    {"replace", replace_method, 2, kThree},
    {"rfind", find_method_of_text<true, false>, 1, kThree},
    {"rindex", find_method_of_text<true, true>, 1, kThree},
    {"rjust", justify_method<2>, 1, kTwo},
    {"rpartition", partition_method<true>, 1, kOne},
    {"rsplit", split_method<true>, 0, kSplit},
    {"rstrip", strip_method<Side::kRight>, 0, kOne},
    {"split", split_method<false>, 0, kSplit},
    {"splitlines", splitlines_method, 0, {"keepends"}},
    {"startswith", affix_method<false>, 1, kThree},
    {"strip", strip_method<Side::kBoth>, 0, kOne},
    {"swapcase", map_method<swap_case>},
    {"title", map_method<to_title>},
    {"translate", unsupported_method},
    {"upper", map_method<to_upper>},
    {"zfill", zfill_method, 1, kOne},
};

}  // namespace

std::span<const Builtin> string_methods() {
  return kStringMethods;
}

}  // namespace kvasir::tokenizer::jinja
