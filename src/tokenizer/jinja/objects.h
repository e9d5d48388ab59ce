#pragma once

// What values point at, and the arguments of a call. Plain data: the operations are those of sequences.h,
// operators.h and the interpreter.

#include <cstddef>
#include <cstdint>
#include <span>
#include <string_view>

#include "tokenizer/jinja/value.h"

namespace kvasir::tokenizer::jinja {

struct Entry {
  Value key, value;
};

// In order of insertion, keys unique.
//   entries [k0 v0][k1 v1]..      slots: open addressing, index + 1 into entries, 0 is free; null when small
struct Dict {
  std::span<const Entry> entries;
  const std::uint32_t* slots = nullptr;
  std::uint32_t mask = 0;
};

struct View {
  enum class Kind : std::uint8_t { kKeys, kValues, kItems };
  Kind kind;
  const Dict* dict;
};

struct Range {
  std::int64_t start, stop, step;
  std::uint32_t size;

  std::int64_t at(std::uint32_t i) const { return start + step * i; }
};

// Mutable: going through it moves `position`. A generator's failure shows when it is first used.
struct Iterator {
  std::string_view name;  // of Python's type
  std::span<const Value> items;
  std::size_t position = 0;
  std::string_view failure;
};

// Mutable: `set ns.name` adds to it.
struct Namespace {
  Entry* entries = nullptr;
  std::uint32_t size = 0, capacity = 0;
};

struct Statement;
struct Scope;

// The variable `loop`. Mutable.
struct Loop {
  std::span<const Value> items;
  std::int64_t index0 = -1;
  int depth0 = 0;
  std::span<const Value> last_changed;
  bool has_changed = false;
  const Statement* recursive = nullptr;  // the loop itself where it may be called
  Scope* scope = nullptr;                // in which it stands
};

struct Builtin;

struct Function {
  std::string_view name;
  const Builtin* builtin = nullptr;  // else a macro
  Value self;                        // of a method
  const Statement* macro = nullptr;
  Scope* scope = nullptr;  // in which the macro was defined
};

// Mutable.
struct Cycler {
  std::span<const Value> items;
  std::size_t position = 0;
};

// Mutable.
struct Joiner {
  Value separator;
  bool is_used = false;
};

struct NamedValue {
  std::string_view name;
  Value value;
};

// Of a call.
struct Arguments {
  std::span<const Value> positional;
  std::span<const NamedValue> named;
};

}  // namespace kvasir::tokenizer::jinja
