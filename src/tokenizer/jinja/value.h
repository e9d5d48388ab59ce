#pragma once

// The values of a template while it is rendered: Python's, as far as templates can make them. A value is 16
// bytes and is copied freely; what it points at (objects.h) is immutable, but for the few objects that say
// otherwise, and lives in the Runtime of one render, in the template, or in the context that was given.

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>

namespace kvasir::tokenizer::jinja {

// Integers are exact in 128 bits; what does not fit is refused.
using Int = __int128;

enum class Type : std::uint8_t {
  kMissing,  // no value at all: an argument that was not given
  kUndefined,
  kNone,
  kBool,
  kInt,
  kFloat,
  kString,
  kList,
  kTuple,
  kDict,
  kView,      // of a dict: keys(), values(), items()
  kRange,     // range()
  kIterator,  // what can be gone through once: Python's generators and iterators
  kNamespace,
  kLoop,
  kFunction,  // a global, a method with its object, a macro
  kCycler,
  kJoiner,
};

struct Dict;
struct View;
struct Range;
struct Iterator;
struct Namespace;
struct Loop;
struct Function;
struct Cycler;
struct Joiner;

// What `detail` says.
inline constexpr std::uint8_t kMarkup = 1;     // of a string: it is HTML, markupsafe's Markup
inline constexpr std::uint8_t kGroup = 1;      // of a tuple: groupby's, with the attributes grouper and list
inline constexpr std::uint8_t kWide = 1;       // of an integer: beyond 64 bits
inline constexpr std::uint8_t kVariable = 0;   // of an undefined value: `data` is the name of a variable,
inline constexpr std::uint8_t kMessage = 1;    // the whole message,
inline constexpr std::uint8_t kAttribute = 2;  // or, + a Type, an attribute that the type has not

struct Value {
  Type type = Type::kMissing;
  std::uint8_t detail = 0;
  std::uint32_t size = 0;  // bytes of a string, items of a list or tuple
  union {
    bool boolean;
    std::int64_t integer = 0;
    double real;
    const char* data;
    const Value* items;
    const Int* wide;
    const Dict* dict;
    const View* view;
    const Range* range;
    Iterator* iterator;
    Namespace* names;
    Loop* loop;
    const Function* function;
    Cycler* cycler;
    Joiner* joiner;
  };

  bool is(Type t) const { return type == t; }
  bool is_missing() const { return type == Type::kMissing; }
  bool is_undefined() const { return type == Type::kUndefined; }
  bool is_none() const { return type == Type::kNone; }
  bool is_string() const { return type == Type::kString; }
  bool is_markup() const { return type == Type::kString && detail == kMarkup; }
  bool is_integer() const { return type == Type::kInt || type == Type::kBool; }  // as in Python, bools are
  bool is_number() const { return is_integer() || type == Type::kFloat; }
  bool is_sequence() const { return type == Type::kList || type == Type::kTuple; }

  // Requires: a string or undefined value.
  std::string_view text() const { return {data, size}; }
  // Requires: a list or tuple.
  std::span<const Value> elements() const { return {items, size}; }
  // Requires: is_integer().
  Int as_int() const {
    if (type == Type::kBool) return boolean ? 1 : 0;
    return detail == kWide ? *wide : Int{integer};
  }
  // Requires: is_number().
  double as_double() const { return type == Type::kFloat ? real : static_cast<double>(as_int()); }
};
static_assert(sizeof(Value) == 16);

inline Value make_none() {
  Value v;
  v.type = Type::kNone;
  return v;
}
inline Value make_bool(bool b) {
  Value v;
  v.type = Type::kBool;
  v.boolean = b;
  return v;
}
inline Value make_int(std::int64_t i) {
  Value v;
  v.type = Type::kInt;
  v.integer = i;
  return v;
}
inline Value make_float(double d) {
  Value v;
  v.type = Type::kFloat;
  v.real = d;
  return v;
}
// The bytes are not copied: they must outlive the value.
inline Value borrow_text(std::string_view text, std::uint8_t detail = 0) {
  Value v;
  v.type = Type::kString;
  v.detail = detail;
  v.size = static_cast<std::uint32_t>(text.size());
  v.data = text.data();
  return v;
}
inline Value borrow_items(Type type, std::span<const Value> items) {
  Value v;
  v.type = type;
  v.size = static_cast<std::uint32_t>(items.size());
  v.items = items.data();
  return v;
}
// `text` must outlive the value; `detail` says what it is.
inline Value make_undefined(std::string_view text, std::uint8_t detail) {
  Value v = borrow_text(text, detail);
  v.type = Type::kUndefined;
  return v;
}

// Python's name of the value's type: "str", "NoneType".
std::string_view type_name(const Value& value);

}  // namespace kvasir::tokenizer::jinja
