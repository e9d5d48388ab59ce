#include "tokenizer/jinja/sequences.h"

#include <algorithm>

#include "tokenizer/jinja/builtins.h"
#include "tokenizer/jinja/operators.h"
#include "tokenizer/jinja/printing.h"
#include "tokenizer/jinja/text.h"
#include "tokenizer/unicode.h"

namespace kvasir::tokenizer::jinja {
namespace {

Result<std::span<const Value>> characters(Runtime& runtime, std::string_view text) {
  KVASIR_ASSIGN_OR_RETURN(const std::span<Value> out, runtime.items(num_characters(text)));
  std::size_t at = 0;
  for (Value& each : out) {
    const std::size_t end = decode_at(text, at).end;
    each = borrow_text(text.substr(at, end - at));
    at = end;
  }
  return std::span<const Value>(out);
}

Result<std::span<const Value>> keys_or_values(Runtime& runtime, const Dict& dict, View::Kind kind) {
  KVASIR_ASSIGN_OR_RETURN(const std::span<Value> out, runtime.items(dict.entries.size()));
  for (std::size_t i = 0; i < out.size(); ++i) {
    const Entry& entry = dict.entries[i];
    if (kind == View::Kind::kItems) {
      const Value pair[] = {entry.key, entry.value};
      KVASIR_ASSIGN_OR_RETURN(out[i], runtime.tuple(pair));
    } else {
      out[i] = kind == View::Kind::kKeys ? entry.key : entry.value;
    }
  }
  return std::span<const Value>(out);
}

Status not_iterable(const Value& value) {
  return failure("'{}' object is not iterable", type_name(value));
}

Result<std::span<const Value>> rest_of(Iterator& iterator) {
  if (!iterator.failure.empty()) return failure("{}", iterator.failure);
  const std::span<const Value> rest =
      iterator.items.subspan(std::min(iterator.position, iterator.items.size()));
  iterator.position = iterator.items.size();
  return rest;
}

// The attributes of `loop` that are not methods.
Result<Value> loop_attribute(Runtime& runtime, const Loop& loop, std::string_view name) {
  const auto size = static_cast<std::int64_t>(loop.items.size());
  if (name == "index") return make_int(loop.index0 + 1);
  if (name == "index0") return make_int(loop.index0);
  if (name == "first") return make_bool(loop.index0 == 0);
  if (name == "last") return make_bool(loop.index0 + 1 == size);
  if (name == "length") return make_int(size);
  if (name == "revindex") return make_int(size - loop.index0);
  if (name == "revindex0") return make_int(size - loop.index0 - 1);
  if (name == "depth") return make_int(loop.depth0 + 1);
  if (name == "depth0") return make_int(loop.depth0);
  if (name == "previtem") {
    if (loop.index0 == 0) return runtime.undefined("there is no previous item");
    return loop.items[loop.index0 - 1];
  }
  if (name == "nextitem") {
    if (loop.index0 + 1 >= size) return runtime.undefined("there is no next item");
    return loop.items[loop.index0 + 1];
  }
  return Value();
}

Result<Value> plain_attribute(Runtime& runtime, const Value& value, std::string_view name) {
  switch (value.type) {
    case Type::kLoop:
      return loop_attribute(runtime, *value.loop, name);
    case Type::kNamespace:
      if (const Value* found = find(*value.names, name)) return *found;
      return Value();
    case Type::kTuple:
      if (value.detail == kGroup && name == "grouper") return value.items[0];
      if (value.detail == kGroup && name == "list") return value.items[1];
      return Value();
    case Type::kInt:
    case Type::kBool:
    case Type::kFloat:
      if (name == "real") return value.is(Type::kBool) ? runtime.integer(value.as_int()) : value;
      if (name == "imag") return value.is(Type::kFloat) ? make_float(0) : make_int(0);
      return Value();
    case Type::kRange:
      if (name == "start") return make_int(value.range->start);
      if (name == "step") return make_int(value.range->step);
      if (name == "stop") return make_int(value.range->stop);
      return Value();
    case Type::kCycler:
      if (name == "current") return value.cycler->items[value.cycler->position];
      return Value();
    case Type::kFunction:
      if (value.function->builtin == nullptr && name == "name") return borrow_text(value.function->name);
      return Value();
    default:
      return Value();
  }
}

// An attribute that the sandbox does not give away.
bool is_forbidden(const Value& value, std::string_view name) {
  constexpr std::string_view kOfLists[] = {"append", "clear", "pop",    "reverse",
                                           "insert", "sort",  "extend", "remove"};
  constexpr std::string_view kOfDicts[] = {"clear", "pop", "popitem", "setdefault", "update"};
  if (value.is(Type::kList)) return std::ranges::find(kOfLists, name) != std::end(kOfLists);
  if (value.is(Type::kDict)) return std::ranges::find(kOfDicts, name) != std::end(kOfDicts);
  return false;
}

// The item under a key; missing when there is none, or when the value cannot be asked for this key.
Result<Value> find_item(Runtime& runtime, const Value& value, const Value& key) {
  if (value.is(Type::kDict)) {
    if (key.is_string()) {
      const Value* found = find(*value.dict, key.text());
      return found == nullptr ? Value() : *found;
    }
    const Result<const Value*> found = find(runtime, *value.dict, key);
    return !found.ok() || *found == nullptr ? Value() : **found;
  }
  if (!key.is_integer()) return Value();
  const bool is_indexed = value.is_string() || value.is_sequence() || value.is(Type::kRange);
  if (!is_indexed) return Value();
  KVASIR_ASSIGN_OR_RETURN(const std::int64_t length, length_of(runtime, value));
  Int index = key.as_int();
  if (index < 0) index += length;
  if (index < 0 || index >= length) return Value();
  const auto i = static_cast<std::size_t>(index);
  if (value.is_sequence()) return value.items[i];
  if (value.is(Type::kRange)) return make_int(value.range->at(static_cast<std::uint32_t>(i)));
  const std::string_view text = value.text();
  const std::size_t begin = static_cast<std::size_t>(length) == text.size() ? i : byte_offset(text, i);
  return borrow_text(text.substr(begin, decode_at(text, begin).end - begin), value.detail);
}

// Python's slice.indices(): where to begin and end in a sequence of `length`.
struct Indices {
  std::int64_t start, stop, step;

  std::size_t count() const {
    if (step > 0) return start < stop ? static_cast<std::size_t>((stop - start - 1) / step + 1) : 0;
    return start > stop ? static_cast<std::size_t>((start - stop - 1) / -step + 1) : 0;
  }
};

Result<Indices> slice_indices(std::int64_t length, const Value& start, const Value& stop, const Value& step) {
  const auto clamp = [](Int value) {
    return static_cast<std::int64_t>(std::clamp(value, Int{-(1LL << 40)}, Int{1LL << 40}));
  };
  for (const Value* each : {&start, &stop, &step}) {
    if (each->is_undefined() || (!each->is_none() && !each->is_integer())) {
      return failure("slice indices must be integers or None");
    }
  }
  Indices result;
  result.step = step.is_none() ? 1 : clamp(step.as_int());
  if (result.step == 0) return failure("slice step cannot be zero");
  const bool is_forward = result.step > 0;
  const std::int64_t least = is_forward ? 0 : -1, most = is_forward ? length : length - 1;
  const auto place = [&](const Value& given, std::int64_t fallback) {
    if (given.is_none()) return fallback;
    std::int64_t index = clamp(given.as_int());
    if (index < 0) index += length;
    return std::clamp(index, least, most);
  };
  result.start = place(start, is_forward ? 0 : length - 1);
  result.stop = place(stop, is_forward ? length : -1);
  return result;
}

Result<Value> slice_text(Runtime& runtime, const Value& value, const Indices& indices) {
  const std::string_view text = value.text();
  const std::size_t count = indices.count();
  if (indices.step == 1) {
    const std::size_t begin = byte_offset(text, static_cast<std::size_t>(indices.start));
    const std::size_t size = byte_offset(text.substr(begin), count);
    return borrow_text(text.substr(begin, size), value.detail);
  }
  KVASIR_ASSIGN_OR_RETURN(const std::span<const Value> all, characters(runtime, text));
  std::string out;
  for (std::size_t i = 0; i < count; ++i) {
    out += all[static_cast<std::size_t>(indices.start + indices.step * static_cast<std::int64_t>(i))].text();
  }
  return runtime.text(out, value.is_markup());
}

}  // namespace

Result<std::span<const Value>> elements_of(Runtime& runtime, const Value& value) {
  KVASIR_RETURN_IF_ERROR(runtime.spend(1));
  switch (value.type) {
    case Type::kUndefined:
      return std::span<const Value>();
    case Type::kString:
      return characters(runtime, value.text());
    case Type::kList:
    case Type::kTuple:
      return value.elements();
    case Type::kDict:
      return keys_or_values(runtime, *value.dict, View::Kind::kKeys);
    case Type::kView:
      return keys_or_values(runtime, *value.view->dict, value.view->kind);
    case Type::kRange: {
      KVASIR_ASSIGN_OR_RETURN(const std::span<Value> out, runtime.items(value.range->size));
      for (std::uint32_t i = 0; i < out.size(); ++i) out[i] = make_int(value.range->at(i));
      return std::span<const Value>(out);
    }
    case Type::kIterator:
      return rest_of(*value.iterator);
    default:
      return not_iterable(value);
  }
}

bool is_iterable(const Value& value) {
  switch (value.type) {
    case Type::kUndefined:
    case Type::kString:
    case Type::kList:
    case Type::kTuple:
    case Type::kDict:
    case Type::kView:
    case Type::kRange:
    case Type::kIterator:
    case Type::kLoop:
      return true;
    default:
      return false;
  }
}

bool has_length(const Value& value) {
  return is_iterable(value) && !value.is(Type::kIterator);
}

Result<std::int64_t> length_of(Runtime& runtime, const Value& value) {
  switch (value.type) {
    case Type::kUndefined:
      return 0;
    case Type::kString:
      KVASIR_RETURN_IF_ERROR(runtime.spend_text(value.size));
      return static_cast<std::int64_t>(num_characters(value.text()));
    case Type::kList:
    case Type::kTuple:
      return value.size;
    case Type::kDict:
      return static_cast<std::int64_t>(value.dict->entries.size());
    case Type::kView:
      return static_cast<std::int64_t>(value.view->dict->entries.size());
    case Type::kRange:
      return value.range->size;
    case Type::kLoop:
      return static_cast<std::int64_t>(value.loop->items.size());
    default:
      return failure("object of type '{}' has no len()", type_name(value));
  }
}

Result<Value> find_attribute(Runtime& runtime, const Value& value, std::string_view name) {
  KVASIR_ASSIGN_OR_RETURN(const Value plain, plain_attribute(runtime, value, name));
  if (!plain.is_missing() && !name.starts_with("_")) return plain;
  if (name.starts_with("__") || is_forbidden(value, name)) {
    return runtime.undefined(
        fmt::format("access to attribute {} of '{}' object is unsafe.", in_quotes(name), type_name(value)));
  }
  const Builtin* const method = find_method(value, name);
  return method == nullptr ? Value() : runtime.method(method->name, *method, value);
}

Result<Value> absent_attribute(Runtime& runtime, const Value& value, std::string_view name) {
  switch (value.type) {
    case Type::kView:
    case Type::kIterator:
    case Type::kFunction:  // their names are their own
      return runtime.undefined(
          fmt::format("'{} object' has no attribute {}", type_name(value), in_quotes(name)));
    default: {
      KVASIR_ASSIGN_OR_RETURN(const std::string_view copied, runtime.copy(name));
      return make_undefined(copied, static_cast<std::uint8_t>(kAttribute + static_cast<int>(value.type)));
    }
  }
}

Result<Value> get_attribute(Runtime& runtime, const Value& value, std::string_view name) {
  if (value.is_undefined()) return undefined_failure(value);
  KVASIR_ASSIGN_OR_RETURN(const Value attribute, find_attribute(runtime, value, name));
  if (!attribute.is_missing()) return attribute;
  if (value.is(Type::kDict)) {
    if (const Value* found = find(*value.dict, name)) return *found;
  }
  return absent_attribute(runtime, value, name);
}

Result<Value> get_item(Runtime& runtime, const Value& value, const Value& key) {
  if (value.is_undefined()) return undefined_failure(value);
  KVASIR_ASSIGN_OR_RETURN(const Value item, find_item(runtime, value, key));
  if (!item.is_missing()) return item;
  if (key.is_string()) {
    KVASIR_ASSIGN_OR_RETURN(const Value attribute, find_attribute(runtime, value, key.text()));
    return attribute.is_missing() ? absent_attribute(runtime, value, key.text()) : attribute;
  }
  KVASIR_ASSIGN_OR_RETURN(const Value shown, to_repr(runtime, key));
  return runtime.undefined(fmt::format("{} object has no element {}", type_name(value), shown.text()));
}

Result<Value> slice(Runtime& runtime, const Value& value, const Value& start, const Value& stop,
                    const Value& step) {
  if (value.is_undefined()) return undefined_failure(value);
  if (!value.is_string() && !value.is_sequence() && !value.is(Type::kRange)) {
    return failure("'{}' object cannot be sliced", type_name(value));
  }
  KVASIR_ASSIGN_OR_RETURN(const std::int64_t length, length_of(runtime, value));
  const Result<Indices> indices = slice_indices(length, start, stop, step);
  if (!indices.ok()) return indices.status();
  if (value.is_string()) return slice_text(runtime, value, *indices);
  const std::size_t count = indices->count();
  if (value.is(Type::kRange)) {
    const Range& range = *value.range;
    Value result = value;
    KVASIR_ASSIGN_OR_RETURN(
        result.range, runtime.make<Range>({range.start + range.step * indices->start,
                                           range.start + range.step * indices->stop,
                                           range.step * indices->step, static_cast<std::uint32_t>(count)}));
    return result;
  }
  if (indices->step == 1) {
    return borrow_items(value.type, value.elements().subspan(count == 0 ? 0 : indices->start, count));
  }
  KVASIR_ASSIGN_OR_RETURN(const std::span<Value> out, runtime.items(count));
  for (std::size_t i = 0; i < count; ++i) {
    out[i] = value.items[indices->start + indices->step * static_cast<std::int64_t>(i)];
  }
  return borrow_items(value.type, out);
}

}  // namespace kvasir::tokenizer::jinja
