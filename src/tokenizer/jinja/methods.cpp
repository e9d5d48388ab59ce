// The methods of everything but strings, and the global functions.

#include <algorithm>
#include <cmath>
#include <ctime>
#include <vector>

#include "tokenizer/jinja/builtins.h"
#include "tokenizer/jinja/operators.h"
#include "tokenizer/jinja/printing.h"
#include "tokenizer/jinja/sequences.h"

namespace kvasir::tokenizer::jinja {
namespace {

using Args = std::span<const Value>;

template <View::Kind kKind>
Result<Value> view_method(Runtime& runtime, const Value& self, Args) {
  Value result;
  result.type = Type::kView;
  KVASIR_ASSIGN_OR_RETURN(result.view, runtime.make<View>({kKind, self.dict}));
  return result;
}

Result<Value> get_method(Runtime& runtime, const Value& self, Args args) {
  KVASIR_ASSIGN_OR_RETURN(const Value* const found, find(runtime, *self.dict, args[0]));
  if (found != nullptr) return *found;
  return args[1].is_missing() ? make_none() : args[1];
}

Result<Value> copy_method(Runtime&, const Value& self, Args) {
  return self;  // nothing can change it
}

Result<Value> count_method(Runtime& runtime, const Value& self, Args args) {
  KVASIR_ASSIGN_OR_RETURN(const std::span<const Value> items, elements_of(runtime, self));
  std::int64_t n = 0;
  for (const Value& each : items) {
    KVASIR_ASSIGN_OR_RETURN(const bool is_equal, equals(runtime, each, args[0]));
    n += is_equal;
  }
  return make_int(n);
}

Result<Value> index_method(Runtime& runtime, const Value& self, Args args) {
  KVASIR_ASSIGN_OR_RETURN(const std::span<const Value> items, elements_of(runtime, self));
  const auto size = static_cast<std::int64_t>(items.size());
  KVASIR_ASSIGN_OR_RETURN(std::int64_t start, int_argument(args[1], "start", 0));
  KVASIR_ASSIGN_OR_RETURN(std::int64_t stop, int_argument(args[2], "stop", size));
  if (start < 0) start = std::max<std::int64_t>(0, start + size);
  if (stop < 0) stop += size;
  for (std::int64_t i = start; i < std::min(stop, size); ++i) {
    KVASIR_ASSIGN_OR_RETURN(const bool is_equal,
                            equals(runtime, items[static_cast<std::size_t>(i)], args[0]));
    if (is_equal) return make_int(i);
  }
  KVASIR_ASSIGN_OR_RETURN(const Value shown, to_repr(runtime, args[0]));
  return failure("{} is not in {}", in_quotes(shown.text()), type_name(self));
}

Result<Value> is_integer_method(Runtime&, const Value& self, Args) {
  return make_bool(std::isfinite(self.real) && self.real == std::floor(self.real));
}

Result<Value> bit_length_method(Runtime&, const Value& self, Args) {
  const Int value = self.as_int();
  std::int64_t bits = 0;
  for (unsigned __int128 rest = value < 0 ? -static_cast<unsigned __int128>(value) : value; rest != 0;
       rest >>= 1) {
    ++bits;
  }
  return make_int(bits);
}

Result<Value> cycle_method(Runtime&, const Value& self, const Arguments& arguments) {
  if (arguments.positional.empty()) return failure("no items for cycling given");
  return arguments.positional[static_cast<std::size_t>(self.loop->index0) % arguments.positional.size()];
}

Result<Value> changed_method(Runtime& runtime, const Value& self, const Arguments& arguments) {
  Loop& loop = *self.loop;
  const Value before = borrow_items(Type::kTuple, loop.last_changed);
  const Value now = borrow_items(Type::kTuple, arguments.positional);
  KVASIR_ASSIGN_OR_RETURN(const bool is_equal, equals(runtime, before, now));
  if (loop.has_changed && is_equal) return make_bool(false);
  KVASIR_ASSIGN_OR_RETURN(const Value copied, runtime.tuple(arguments.positional));
  loop.last_changed = copied.elements();
  loop.has_changed = true;
  return make_bool(true);
}

Result<Value> next_method(Runtime&, const Value& self, Args) {
  Cycler& cycler = *self.cycler;
  const Value current = cycler.items[cycler.position];
  cycler.position = (cycler.position + 1) % cycler.items.size();
  return current;
}

Result<Value> reset_method(Runtime&, const Value& self, Args) {
  self.cycler->position = 0;
  return make_none();
}

constexpr Builtin kDictMethods[] = {
    {"get", get_method, 1, {"-", "-"}},
    {"items", view_method<View::Kind::kItems>},
    {"keys", view_method<View::Kind::kKeys>},
    {"values", view_method<View::Kind::kValues>},
    {"copy", copy_method},
};
constexpr Builtin kListMethods[] = {
    {"count", count_method, 1, {"-"}}, {"index", index_method, 1, {"-", "-", "-"}}, {"copy", copy_method}};
constexpr Builtin kFloatMethods[] = {{"is_integer", is_integer_method}};
constexpr Builtin kIntMethods[] = {{"bit_length", bit_length_method}};
constexpr Builtin kLoopMethods[] = {{"cycle", cycle_method}, {"changed", changed_method}};
constexpr Builtin kCyclerMethods[] = {{"next", next_method}, {"reset", reset_method}};

std::span<const Builtin> methods_of(const Value& value) {
  switch (value.type) {
    case Type::kString:
      return string_methods();
    case Type::kDict:
      return kDictMethods;
    case Type::kList:
      return kListMethods;
    case Type::kTuple:
    case Type::kRange:
      return std::span(kListMethods).first(2);  // these have no copy()
    case Type::kFloat:
      return kFloatMethods;
    case Type::kInt:
    case Type::kBool:
      return kIntMethods;
    case Type::kLoop:
      return kLoopMethods;
    case Type::kCycler:
      return kCyclerMethods;
    default:
      return {};
  }
}

Result<Value> range_function(Runtime& runtime, const Value&, Args args) {
  constexpr Int kMaxRange = 100'000;  // the sandbox's
  KVASIR_ASSIGN_OR_RETURN(std::int64_t start, int_argument(args[0], "range"));
  std::int64_t stop = start, step = 1;
  if (args[1].is_missing()) {
    start = 0;
  } else {
    KVASIR_ASSIGN_OR_RETURN(stop, int_argument(args[1], "range"));
  }
  if (!args[2].is_missing()) {
    KVASIR_ASSIGN_OR_RETURN(step, int_argument(args[2], "range"));
  }
  if (step == 0) return failure("range() arg 3 must not be zero");
  const Int distance = step > 0 ? Int{stop} - start : Int{start} - stop;
  const Int stride = step > 0 ? Int{step} : -Int{step};
  const Int size = distance <= 0 ? 0 : (distance + stride - 1) / stride;
  if (size > kMaxRange) {
    return failure("Range too big. The sandbox blocks ranges larger than MAX_RANGE ({}).",
                   static_cast<int>(kMaxRange));
  }
  Value result;
  result.type = Type::kRange;
  KVASIR_ASSIGN_OR_RETURN(result.range,
                          runtime.make<Range>({start, stop, step, static_cast<std::uint32_t>(size)}));
  return result;
}

// The entries of dict(mapping or pairs, name=value...).
Result<std::vector<Entry>> dict_entries(Runtime& runtime, const Arguments& arguments) {
  std::vector<Entry> entries;
  if (arguments.positional.size() > 1) {
    return failure("dict expected at most 1 argument, got {}", arguments.positional.size());
  }
  for (const Value& given : arguments.positional) {
    if (given.is(Type::kDict)) {
      entries.assign(given.dict->entries.begin(), given.dict->entries.end());
      continue;
    }
    KVASIR_ASSIGN_OR_RETURN(const std::span<const Value> pairs, elements_of(runtime, given));
    for (const Value& pair : pairs) {
      KVASIR_ASSIGN_OR_RETURN(const std::span<const Value> two, elements_of(runtime, pair));
      if (two.size() != 2)
        return failure("dictionary update sequence element has length {}; 2 is required", two.size());
      entries.push_back({two[0], two[1]});
    }
  }
  for (const auto& [name, value] : arguments.named) entries.push_back({borrow_text(name), value});
  return entries;
}

Result<Value> dict_function(Runtime& runtime, const Value&, const Arguments& arguments) {
  KVASIR_ASSIGN_OR_RETURN(const std::vector<Entry> entries, dict_entries(runtime, arguments));
  return runtime.dict(entries);
}

Result<Value> namespace_function(Runtime& runtime, const Value&, const Arguments& arguments) {
  KVASIR_ASSIGN_OR_RETURN(const std::vector<Entry> entries, dict_entries(runtime, arguments));
  Value result;
  result.type = Type::kNamespace;
  KVASIR_ASSIGN_OR_RETURN(result.names, runtime.make<Namespace>({}));
  for (const Entry& entry : entries) {
    if (!entry.key.is_string()) continue;  // no attribute can have such a name
    KVASIR_RETURN_IF_ERROR(assign(runtime, *result.names, entry.key.text(), entry.value));
  }
  return result;
}

Result<Value> cycler_function(Runtime& runtime, const Value&, const Arguments& arguments) {
  if (arguments.positional.empty()) return failure("at least one item has to be provided");
  KVASIR_ASSIGN_OR_RETURN(const Value items, runtime.list(arguments.positional));
  Value result;
  result.type = Type::kCycler;
  KVASIR_ASSIGN_OR_RETURN(result.cycler, runtime.make<Cycler>({items.elements(), 0}));
  return result;
}

Result<Value> joiner_function(Runtime& runtime, const Value&, Args args) {
  Value result;
  result.type = Type::kJoiner;
  KVASIR_ASSIGN_OR_RETURN(result.joiner,
                          runtime.make<Joiner>({args[0].is_missing() ? borrow_text(", ") : args[0], false}));
  return result;
}

// The message goes to the client as it is.
Result<Value> raise_exception_function(Runtime& runtime, const Value&, Args args) {
  KVASIR_ASSIGN_OR_RETURN(const Value message, to_text(runtime, args[0]));
  runtime.set_raised();
  return failure("{}", message.text());
}

Result<Value> strftime_now_function(Runtime& runtime, const Value&, Args args) {
  KVASIR_ASSIGN_OR_RETURN(const std::string_view given, text_argument(args[0], "strftime_now: the format"));
  constexpr std::size_t kLongest = 1000;
  if (given.size() > kLongest)
    return failure("strftime_now: expected a format of at most {} bytes, got {}", kLongest, given.size());
  // What strftime does not know of: microseconds, and the zone, which a civil time has not.
  std::string format;
  for (std::size_t i = 0; i < given.size(); ++i) {
    const char next = i + 1 < given.size() ? given[i + 1] : '\0';
    if (given[i] != '%' || next == '\0') {
      format += given[i];
      continue;
    }
    if (next == 'f') format += "000000";
    if (next != 'f' && next != 'z' && next != 'Z') format += {'%', next};
    ++i;
  }
  if (format.empty()) return borrow_text("");
  const auto day = std::chrono::floor<std::chrono::days>(runtime.now());
  const std::chrono::year_month_day date(day);
  const std::chrono::hh_mm_ss<std::chrono::seconds> time(runtime.now() - day);
  std::tm fields{};
  fields.tm_year = static_cast<int>(date.year()) - 1900;
  fields.tm_mon = static_cast<int>(static_cast<unsigned>(date.month())) - 1;
  fields.tm_mday = static_cast<int>(static_cast<unsigned>(date.day()));
  fields.tm_hour = static_cast<int>(time.hours().count());
  fields.tm_min = static_cast<int>(time.minutes().count());
  fields.tm_sec = static_cast<int>(time.seconds().count());
  fields.tm_wday = static_cast<int>(std::chrono::weekday(day).c_encoding());
  const auto new_year = std::chrono::local_days(date.year() / std::chrono::January / 1);
  fields.tm_yday = static_cast<int>((day - new_year).count());
  fields.tm_isdst = -1;
  std::string buffer(64 * kLongest, '\0');
  buffer.resize(std::strftime(buffer.data(), buffer.size(), format.c_str(), &fields));
  return runtime.text(buffer);
}

Result<Value> lipsum_function(Runtime&, const Value&, const Arguments&) {
  return failure("lipsum() is not supported");
}

constexpr Builtin kGlobals[] = {
    {"range", range_function, 1, {"-", "-", "-"}},
    {"dict", dict_function},
    {"namespace", namespace_function},
    {"cycler", cycler_function},
    {"joiner", joiner_function, 0, {"sep"}},
    {"lipsum", lipsum_function},
    {"raise_exception", raise_exception_function, 1, {"message"}},
    {"strftime_now", strftime_now_function, 1, {"format"}},
};

}  // namespace

const Builtin* find_method(const Value& value, std::string_view name) {
  const std::span<const Builtin> table = methods_of(value);
  const auto found = std::ranges::find(table, name, &Builtin::name);
  return found == table.end() ? nullptr : &*found;
}

std::span<const Builtin> globals() {
  return kGlobals;
}

}  // namespace kvasir::tokenizer::jinja
