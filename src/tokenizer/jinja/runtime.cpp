#include "tokenizer/jinja/runtime.h"

#include <algorithm>
#include <bit>
#include <memory>

#include "tokenizer/jinja/operators.h"

namespace kvasir::tokenizer::jinja {

std::string_view type_name(const Value& value) {
  switch (value.type) {
    case Type::kMissing:
      return "missing";
    case Type::kUndefined:
      return "Undefined";
    case Type::kNone:
      return "NoneType";
    case Type::kBool:
      return "bool";
    case Type::kInt:
      return "int";
    case Type::kFloat:
      return "float";
    case Type::kString:
      return value.is_markup() ? "Markup" : "str";
    case Type::kList:
      return "list";
    case Type::kTuple:
      return value.detail == kGroup ? "_GroupTuple" : "tuple";
    case Type::kDict:
      return "dict";
    case Type::kView:
      switch (value.view->kind) {
        case View::Kind::kKeys:
          return "dict_keys";
        case View::Kind::kValues:
          return "dict_values";
        case View::Kind::kItems:
          return "dict_items";
      }
      break;
    case Type::kRange:
      return "range";
    case Type::kIterator:
      return value.iterator->name;
    case Type::kNamespace:
      return "Namespace";
    case Type::kLoop:
      return "LoopContext";
    case Type::kFunction:
      return value.function->builtin == nullptr ? "Macro" : "function";
    case Type::kCycler:
      return "Cycler";
    case Type::kJoiner:
      return "Joiner";
  }
  return "object";
}

Status Runtime::out_of_steps() const {
  return failure("the template takes more than {} steps", limits_.max_steps);
}

Status Runtime::spend_memory(std::size_t bytes) {
  if (bytes > limits_.max_value_bytes - num_bytes_) {
    return failure("the template makes values of more than {} bytes", limits_.max_value_bytes);
  }
  num_bytes_ += bytes;
  return Status();
}

Result<std::string_view> Runtime::copy(std::string_view text) {
  KVASIR_ASSIGN_OR_RETURN(char* const place, allocate<char>(text.size()));
  if (!text.empty()) std::memcpy(place, text.data(), text.size());
  return std::string_view(place, text.size());
}

Result<Value> Runtime::text(std::string_view text, bool is_markup) {
  KVASIR_RETURN_IF_ERROR(spend_text(text.size()));
  KVASIR_ASSIGN_OR_RETURN(const std::string_view copied, copy(text));
  return borrow_text(copied, is_markup ? kMarkup : 0);
}

Result<Value> Runtime::join(std::string_view a, std::string_view b, bool is_markup) {
  constexpr std::size_t kLeastThatGrows = 1024;  // shorter ones are cheap, and would take the place
  const std::size_t size = a.size() + b.size();
  if (!a.empty() && a.data() + a.size() == growth_begin_ &&
      b.size() <= static_cast<std::size_t>(growth_end_ - growth_begin_)) {
    KVASIR_RETURN_IF_ERROR(spend_text(b.size()));
    growth_begin_ = std::copy(b.begin(), b.end(), growth_begin_);
    return borrow_text({a.data(), size}, is_markup ? kMarkup : 0);
  }
  KVASIR_RETURN_IF_ERROR(spend_text(size));
  const bool grows = size >= kLeastThatGrows;
  const std::size_t room = grows ? 2 * size : size;
  KVASIR_ASSIGN_OR_RETURN(char* const place, allocate<char>(room));
  char* const end = std::copy(b.begin(), b.end(), std::copy(a.begin(), a.end(), place));
  if (grows) {
    growth_begin_ = end;
    growth_end_ = place + room;
  }
  return borrow_text({place, size}, is_markup ? kMarkup : 0);
}

Result<Value> Runtime::integer(Int value) {
  if (value >= INT64_MIN && value <= INT64_MAX) return make_int(static_cast<std::int64_t>(value));
  KVASIR_ASSIGN_OR_RETURN(const Int* const wide, make<Int>(value));
  Value result = make_int(0);
  result.detail = kWide;
  result.wide = wide;
  return result;
}

Result<std::span<Value>> Runtime::items(std::size_t n) {
  KVASIR_RETURN_IF_ERROR(spend(n));
  KVASIR_ASSIGN_OR_RETURN(Value* const place, allocate<Value>(n));
  std::uninitialized_default_construct_n(place, n);
  return std::span<Value>(place, n);
}

Result<Value> Runtime::list(std::span<const Value> source) {
  KVASIR_ASSIGN_OR_RETURN(const std::span<Value> copied, items(source.size()));
  std::copy(source.begin(), source.end(), copied.begin());
  return borrow_items(Type::kList, copied);
}

Result<Value> Runtime::tuple(std::span<const Value> source) {
  KVASIR_ASSIGN_OR_RETURN(Value result, list(source));
  result.type = Type::kTuple;
  return result;
}

Result<Value> Runtime::dict(std::span<const Entry> given) {
  KVASIR_RETURN_IF_ERROR(spend(given.size()));
  // At most half of the slots are taken.
  const std::size_t num_slots = std::bit_ceil(2 * given.size() + 1);
  KVASIR_ASSIGN_OR_RETURN(Entry* const entries, allocate<Entry>(given.size()));
  KVASIR_ASSIGN_OR_RETURN(std::uint32_t* const slots, allocate<std::uint32_t>(num_slots));
  std::fill_n(slots, num_slots, 0);
  const std::size_t mask = num_slots - 1;
  std::size_t size = 0;
  for (const Entry& entry : given) {
    KVASIR_ASSIGN_OR_RETURN(const std::uint64_t hash, hash_value(*this, entry.key));
    std::size_t slot = hash & mask;
    for (; slots[slot] != 0; slot = (slot + 1) & mask) {
      KVASIR_ASSIGN_OR_RETURN(const bool is_same, equals(*this, entries[slots[slot] - 1].key, entry.key));
      if (is_same) break;
    }
    if (slots[slot] != 0) {
      entries[slots[slot] - 1].value = entry.value;
      continue;
    }
    new (entries + size) Entry(entry);
    slots[slot] = static_cast<std::uint32_t>(++size);
  }
  KVASIR_ASSIGN_OR_RETURN(const Dict* const dict,
                          make<Dict>({{entries, size}, slots, static_cast<std::uint32_t>(mask)}));
  Value result;
  result.type = Type::kDict;
  result.dict = dict;
  return result;
}

Result<Value> Runtime::iterator(std::string_view name, std::span<const Value> items) {
  Value result;
  result.type = Type::kIterator;
  KVASIR_ASSIGN_OR_RETURN(result.iterator, make<Iterator>({name, items, 0, {}}));
  return result;
}

Result<Value> Runtime::method(std::string_view name, const Builtin& builtin, const Value& self) {
  Value result;
  result.type = Type::kFunction;
  KVASIR_ASSIGN_OR_RETURN(result.function, make<Function>({name, &builtin, self, nullptr, nullptr}));
  return result;
}

Result<Value> Runtime::undefined(std::string_view message) {
  KVASIR_ASSIGN_OR_RETURN(const std::string_view copied, copy(message));
  return make_undefined(copied, kMessage);
}

}  // namespace kvasir::tokenizer::jinja
