// Equality, order, hashes, membership.

#include "tokenizer/jinja/operators.h"

#include <algorithm>
#include <cmath>
#include <functional>

#include "tokenizer/jinja/printing.h"
#include "tokenizer/jinja/sequences.h"

namespace kvasir::tokenizer::jinja {
namespace {

Status too_deep() {
  return failure("maximum recursion depth exceeded: values inside each other {} times", kMaxValueDepth);
}

// The integer that a float is, if it is one that Int holds.
bool to_int(double value, Int& out) {
  if (value != std::floor(value) || std::abs(value) >= 0x1p126) return false;
  out = static_cast<Int>(value);
  return true;
}

// -1, 0, 1; 2 when one is not a number.
int compare_numbers(const Value& a, const Value& b) {
  const auto order = [](auto x, auto y) { return x < y ? -1 : x > y ? 1 : x == y ? 0 : 2; };
  if (a.is_integer() && b.is_integer()) return order(a.as_int(), b.as_int());
  if (a.is(Type::kFloat) && b.is(Type::kFloat)) return order(a.real, b.real);
  Int exact;
  if (a.is(Type::kFloat) && to_int(a.real, exact)) return order(exact, b.as_int());
  if (b.is(Type::kFloat) && to_int(b.real, exact)) return order(a.as_int(), exact);
  return order(a.as_double(), b.as_double());
}

Result<bool> equals(Runtime& runtime, const Value& a, const Value& b, int depth);

Result<bool> equals(Runtime& runtime, std::span<const Value> a, std::span<const Value> b, int depth) {
  if (a.size() != b.size()) return false;
  for (std::size_t i = 0; i < a.size(); ++i) {
    KVASIR_ASSIGN_OR_RETURN(const bool is_equal, equals(runtime, a[i], b[i], depth + 1));
    if (!is_equal) return false;
  }
  return true;
}

Result<bool> equals(Runtime& runtime, const Dict& a, const Dict& b, int depth) {
  if (a.entries.size() != b.entries.size()) return false;
  for (const Entry& entry : a.entries) {
    KVASIR_ASSIGN_OR_RETURN(const Value* const other, find(runtime, b, entry.key));
    if (other == nullptr) return false;
    KVASIR_ASSIGN_OR_RETURN(const bool is_equal, equals(runtime, entry.value, *other, depth + 1));
    if (!is_equal) return false;
  }
  return true;
}

Result<bool> equals(Runtime& runtime, const Value& a, const Value& b, int depth) {
  KVASIR_RETURN_IF_ERROR(runtime.spend(1));
  if (depth > kMaxValueDepth) return too_deep();
  if (a.is_number() && b.is_number()) return compare_numbers(a, b) == 0;
  if (a.type != b.type) return false;
  switch (a.type) {
    case Type::kString:
      if (a.size != b.size) return false;
      KVASIR_RETURN_IF_ERROR(runtime.spend_text(a.size));
      return a.text() == b.text();
    case Type::kList:
    case Type::kTuple:
      return equals(runtime, a.elements(), b.elements(), depth);
    case Type::kDict:
      return a.dict == b.dict ? true : equals(runtime, *a.dict, *b.dict, depth);
    case Type::kRange:
      return a.range->size == b.range->size &&
             (a.range->size == 0 ||
              (a.range->start == b.range->start && (a.range->size == 1 || a.range->step == b.range->step)));
    case Type::kUndefined:
      return true;
    default:
      return is_same(a, b);
  }
}

std::uint64_t mix(std::uint64_t hash, std::uint64_t next) {
  return (hash ^ next) * 0x9E3779B97F4A7C15u + (hash >> 29);
}

Result<std::uint64_t> hash_value(Runtime& runtime, const Value& value, int depth) {
  KVASIR_RETURN_IF_ERROR(runtime.spend(1));
  if (depth > kMaxValueDepth) return too_deep();
  switch (value.type) {
    case Type::kFloat:
      if (Int exact; to_int(value.real, exact)) return mix(1, static_cast<std::uint64_t>(exact));
      return mix(2, std::hash<double>()(value.real));
    case Type::kBool:
    case Type::kInt:
      return mix(1, static_cast<std::uint64_t>(value.as_int()));
    case Type::kString:
      KVASIR_RETURN_IF_ERROR(runtime.spend_text(value.size));
      return std::hash<std::string_view>()(value.text());
    case Type::kTuple: {
      std::uint64_t hash = 3;
      for (const Value& each : value.elements()) {
        KVASIR_ASSIGN_OR_RETURN(const std::uint64_t next, hash_value(runtime, each, depth + 1));
        hash = mix(hash, next);
      }
      return hash;
    }
    case Type::kNone:
      return 4;
    case Type::kUndefined:
      return 5;
    case Type::kRange:
      return mix(6, value.range->size);
    case Type::kList:
    case Type::kDict:
    case Type::kView:
      return failure("unhashable type: '{}'", type_name(value));
    default:
      return mix(7, static_cast<std::uint64_t>(value.integer));  // by its place in memory
  }
}

Status cannot_order(const Value& a, const Value& b) {
  return failure("'<' not supported between instances of '{}' and '{}'", type_name(a), type_name(b));
}

Result<bool> less(Runtime& runtime, const Value& a, const Value& b, int depth) {
  KVASIR_RETURN_IF_ERROR(runtime.spend(1));
  if (depth > kMaxValueDepth) return too_deep();
  if (a.is_undefined()) return undefined_failure(a);
  if (b.is_undefined()) return undefined_failure(b);
  if (a.is_number() && b.is_number()) return compare_numbers(a, b) == -1;
  if (a.type != b.type) return cannot_order(a, b);
  if (a.is_string()) {
    KVASIR_RETURN_IF_ERROR(runtime.spend_text(std::min(a.size, b.size)));
    return a.text() < b.text();  // UTF-8 sorts as its code points do
  }
  if (!a.is_sequence()) return cannot_order(a, b);
  for (std::size_t i = 0; i < std::min(a.size, b.size); ++i) {
    KVASIR_ASSIGN_OR_RETURN(const bool is_equal, equals(runtime, a.items[i], b.items[i], depth + 1));
    if (!is_equal) return less(runtime, a.items[i], b.items[i], depth + 1);
  }
  return a.size < b.size;
}

}  // namespace

Status undefined_failure(const Value& value) {
  const std::string_view text = value.text();
  if (value.detail == kVariable) return failure("{} is undefined", in_quotes(text));
  if (value.detail == kMessage) return failure("{}", text);
  Value owner;
  owner.type = static_cast<Type>(value.detail - kAttribute);
  return failure("'{} object' has no attribute {}", type_name(owner), in_quotes(text));
}

bool is_true(const Value& value) {
  switch (value.type) {
    case Type::kMissing:
    case Type::kUndefined:
    case Type::kNone:
      return false;
    case Type::kBool:
      return value.boolean;
    case Type::kInt:
      return value.as_int() != 0;
    case Type::kFloat:
      return value.real != 0;
    case Type::kString:
    case Type::kList:
    case Type::kTuple:
      return value.size != 0;
    case Type::kDict:
      return !value.dict->entries.empty();
    case Type::kView:
      return !value.view->dict->entries.empty();
    case Type::kRange:
      return value.range->size != 0;
    default:
      return true;
  }
}

Result<bool> equals(Runtime& runtime, const Value& a, const Value& b) {
  return equals(runtime, a, b, 0);
}

Result<bool> less(Runtime& runtime, const Value& a, const Value& b) {
  return less(runtime, a, b, 0);
}

bool is_same(const Value& a, const Value& b) {
  if (a.type != b.type) return false;
  switch (a.type) {
    case Type::kNone:
    case Type::kMissing:
      return true;
    case Type::kBool:
      return a.boolean == b.boolean;
    case Type::kInt:
      return a.as_int() == b.as_int();
    case Type::kFloat:
      return a.integer == b.integer;  // the same bits
    case Type::kString:
      return a.text() == b.text();
    default:
      return a.size == b.size && a.items == b.items;
  }
}

Result<std::uint64_t> hash_value(Runtime& runtime, const Value& value) {
  return hash_value(runtime, value, 0);
}

Result<const Value*> find(Runtime& runtime, const Dict& dict, const Value& key) {
  KVASIR_ASSIGN_OR_RETURN(const std::uint64_t hash, hash_value(runtime, key));
  for (std::size_t slot = hash & dict.mask; dict.slots[slot] != 0; slot = (slot + 1) & dict.mask) {
    const Entry& entry = dict.entries[dict.slots[slot] - 1];
    KVASIR_ASSIGN_OR_RETURN(const bool is_equal, equals(runtime, entry.key, key));
    if (is_equal) return &entry.value;
  }
  return nullptr;
}

const Value* find(const Dict& dict, std::string_view key) {
  const std::uint64_t hash = std::hash<std::string_view>()(key);
  for (std::size_t slot = hash & dict.mask; dict.slots[slot] != 0; slot = (slot + 1) & dict.mask) {
    const Entry& entry = dict.entries[dict.slots[slot] - 1];
    if (entry.key.is_string() && entry.key.text() == key) return &entry.value;
  }
  return nullptr;
}

const Value* find(const Namespace& names, std::string_view key) {
  for (std::uint32_t i = 0; i < names.size; ++i) {
    if (names.entries[i].key.text() == key) return &names.entries[i].value;
  }
  return nullptr;
}

Status assign(Runtime& runtime, Namespace& names, std::string_view key, const Value& value) {
  KVASIR_RETURN_IF_ERROR(runtime.spend(1 + names.size / 4));
  for (std::uint32_t i = 0; i < names.size; ++i) {
    if (names.entries[i].key.text() != key) continue;
    names.entries[i].value = value;
    return Status();
  }
  if (names.size == names.capacity) {
    const std::uint32_t capacity = std::max<std::uint32_t>(8, 2 * names.capacity);
    KVASIR_ASSIGN_OR_RETURN(Entry* const entries, runtime.allocate<Entry>(capacity));
    std::copy_n(names.entries, names.size, entries);
    names.entries = entries;
    names.capacity = capacity;
  }
  KVASIR_ASSIGN_OR_RETURN(const std::string_view name, runtime.copy(key));
  names.entries[names.size++] = {borrow_text(name), value};
  return Status();
}

Result<bool> contains(Runtime& runtime, const Value& container, const Value& item) {
  if (container.is_string()) {
    if (item.is_undefined()) return undefined_failure(item);
    if (!item.is_string()) {
      return failure("'in <string>' requires string as left operand, not {}", type_name(item));
    }
    KVASIR_RETURN_IF_ERROR(runtime.spend_text(container.size));
    return container.text().find(item.text()) != std::string_view::npos;
  }
  if (container.is(Type::kDict) || (container.is(Type::kView) && container.view->kind == View::Kind::kKeys)) {
    const Dict& dict = container.is(Type::kDict) ? *container.dict : *container.view->dict;
    KVASIR_ASSIGN_OR_RETURN(const Value* const found, find(runtime, dict, item));
    return found != nullptr;
  }
  KVASIR_ASSIGN_OR_RETURN(const std::span<const Value> items, elements_of(runtime, container));
  for (std::size_t i = 0; i < items.size(); ++i) {
    KVASIR_ASSIGN_OR_RETURN(const bool is_equal, equals(runtime, items[i], item));
    if (is_equal || is_same(items[i], item)) return true;
  }
  return false;
}

}  // namespace kvasir::tokenizer::jinja
