// Filters of lists, dicts and values of any type.

#include <algorithm>
#include <unordered_map>
#include <vector>

#include "tokenizer/jinja/builtins.h"
#include "tokenizer/jinja/operators.h"
#include "tokenizer/jinja/printing.h"
#include "tokenizer/jinja/sequences.h"
#include "tokenizer/jinja/text.h"

namespace kvasir::tokenizer::jinja {
namespace {

using Args = std::span<const Value>;

// "a.b.0": the keys to go through, one after the other. Errors: the budgets'.
Result<std::vector<Value>> attribute_path(Runtime& runtime, const Value& attribute) {
  if (attribute.is_missing() || attribute.is_none()) return std::vector<Value>();
  if (!attribute.is_string()) return std::vector<Value>{attribute};
  std::vector<Value> path;
  for (const std::string_view part : split(attribute.text(), ".", -1)) {
    path.push_back(borrow_text(part));
    if (!is_decimal(part)) continue;
    KVASIR_ASSIGN_OR_RETURN(path.back(), parse_int(runtime, part, 10));
  }
  return path;
}

// `fallback` (None or missing: none) stands for what is undefined on the way.
Result<Value> follow(Runtime& runtime, Value item, std::span<const Value> path, const Value& fallback = {}) {
  for (const Value& key : path) {
    KVASIR_ASSIGN_OR_RETURN(item, get_item(runtime, item, key));
    if (item.is_undefined() && !fallback.is_missing() && !fallback.is_none()) item = fallback;
  }
  return item;
}

Result<Value> ignore_case(Runtime& runtime, const Value& value) {
  return value.is_string() ? runtime.text(to_lower(value.text())) : value;
}

// What items are compared by: an attribute of theirs, without regard to case if not told otherwise.
class SortKey {
 public:
  static Result<SortKey> make(Runtime& runtime, const Value& attribute, const Value& case_sensitive,
                              const Value& fallback = {}) {
    KVASIR_ASSIGN_OR_RETURN(std::vector<Value> path, attribute_path(runtime, attribute));
    return SortKey(std::move(path), bool_argument(case_sensitive, false), fallback);
  }

  Result<Value> of(Runtime& runtime, const Value& item) const {
    KVASIR_ASSIGN_OR_RETURN(const Value key, follow(runtime, item, path_, fallback_));
    return is_case_sensitive_ ? key : ignore_case(runtime, key);
  }
  // With its case.
  Result<Value> shown(Runtime& runtime, const Value& item) const {
    return follow(runtime, item, path_, fallback_);
  }

 private:
  SortKey(std::vector<Value> path, bool is_case_sensitive, const Value& fallback)
      : path_(std::move(path)), is_case_sensitive_(is_case_sensitive), fallback_(fallback) {}

  std::vector<Value> path_;
  bool is_case_sensitive_;
  Value fallback_;
};

struct Keyed {
  Value key, item;
};

Status sort_by_key(Runtime& runtime, std::vector<Keyed>& items, bool is_reverse) {
  Status status;
  const auto comes_before = [&](const Keyed& a, const Keyed& b) {
    if (!status.ok()) return false;
    const Result<bool> is_less = less(runtime, a.key, b.key);
    if (!is_less.ok()) status = is_less.status();
    return is_less.ok() && *is_less;
  };
  // Equal items keep their order in both directions.
  if (is_reverse) std::reverse(items.begin(), items.end());
  std::stable_sort(items.begin(), items.end(), comes_before);
  if (is_reverse) std::reverse(items.begin(), items.end());
  return status;
}

Result<Value> items_of(Runtime& runtime, std::span<const Keyed> keyed) {
  KVASIR_ASSIGN_OR_RETURN(const std::span<Value> out, runtime.items(keyed.size()));
  std::transform(keyed.begin(), keyed.end(), out.begin(), [](const Keyed& each) { return each.item; });
  return borrow_items(Type::kList, out);
}

// A generator whose body failed: it shows when the generator is used.
Result<Value> failing_iterator(Runtime& runtime, std::string_view name, const Status& status) {
  KVASIR_ASSIGN_OR_RETURN(const Value result, runtime.iterator(name, {}));
  KVASIR_ASSIGN_OR_RETURN(result.iterator->failure, runtime.copy(status.message()));
  return result;
}

// The generator over what `make` returns: Python would run it later.
template <typename Make>
Result<Value> generator(Runtime& runtime, const Make& make) {
  const Result<std::vector<Value>> items = make();
  if (!items.ok()) return failing_iterator(runtime, "generator", items.status());
  KVASIR_ASSIGN_OR_RETURN(const Value list, runtime.list(*items));
  return runtime.iterator("generator", list.elements());
}

Result<Value> attr_filter(Runtime& runtime, const Value& self, Args args) {
  KVASIR_ASSIGN_OR_RETURN(const std::string_view name, text_argument(args[0], "attr: name"));
  if (self.is_undefined()) return undefined_failure(self);
  KVASIR_ASSIGN_OR_RETURN(const Value found, find_attribute(runtime, self, name));
  if (!found.is_missing()) return found;
  return absent_attribute(runtime, self, name);
}

Result<Value> default_filter(Runtime&, const Value& self, Args args) {
  const bool is_replaced = self.is_undefined() || (bool_argument(args[1], false) && !is_true(self));
  if (!is_replaced) return self;
  return args[0].is_missing() ? borrow_text("") : args[0];
}

Result<Value> length_filter(Runtime& runtime, const Value& self, Args) {
  KVASIR_ASSIGN_OR_RETURN(const std::int64_t length, length_of(runtime, self));
  return make_int(length);
}

Result<Value> list_filter(Runtime& runtime, const Value& self, Args) {
  KVASIR_ASSIGN_OR_RETURN(const std::span<const Value> items, elements_of(runtime, self));
  return borrow_items(Type::kList, items);
}

Result<Value> first_filter(Runtime& runtime, const Value& self, Args) {
  if (self.is(Type::kIterator) && self.iterator->failure.empty()) {
    Iterator& iterator = *self.iterator;
    if (iterator.position < iterator.items.size()) return iterator.items[iterator.position++];
    return runtime.undefined("No first item, sequence was empty.");
  }
  KVASIR_ASSIGN_OR_RETURN(const std::span<const Value> items, elements_of(runtime, self));
  return items.empty() ? runtime.undefined("No first item, sequence was empty.") : items.front();
}

Result<Value> last_filter(Runtime& runtime, const Value& self, Args) {
  if (self.is(Type::kIterator)) return failure("'{}' object is not reversible", type_name(self));
  KVASIR_ASSIGN_OR_RETURN(const std::span<const Value> items, elements_of(runtime, self));
  return items.empty() ? runtime.undefined("No last item, sequence was empty.") : items.back();
}

// Rendering the same input gives the same text, so this is a choice, not chance.
Result<Value> random_filter(Runtime& runtime, const Value& self, Args) {
  if (!has_length(self)) return failure("object of type '{}' has no len()", type_name(self));
  KVASIR_ASSIGN_OR_RETURN(const std::span<const Value> items, elements_of(runtime, self));
  if (items.empty()) return runtime.undefined("No random item, sequence was empty.");
  return items[runtime.num_steps() % items.size()];
}

Result<Value> reverse_filter(Runtime& runtime, const Value& self, Args) {
  if (self.is_string()) return slice(runtime, self, make_none(), make_none(), make_int(-1));
  KVASIR_ASSIGN_OR_RETURN(const std::span<const Value> items, elements_of(runtime, self));
  KVASIR_ASSIGN_OR_RETURN(const Value copied, runtime.list(items));
  const std::span<Value> out(const_cast<Value*>(copied.items), copied.size);
  std::reverse(out.begin(), out.end());
  if (self.is(Type::kIterator)) return copied;
  return runtime.iterator("reversed", out);
}

Result<Value> join_filter(Runtime& runtime, const Value& self, Args args) {
  KVASIR_ASSIGN_OR_RETURN(const std::span<const Value> items, elements_of(runtime, self));
  KVASIR_ASSIGN_OR_RETURN(const std::vector<Value> path, attribute_path(runtime, args[1]));
  KVASIR_ASSIGN_OR_RETURN(const Value separator,
                          to_text(runtime, args[0].is_missing() ? borrow_text("") : args[0]));
  Writer out(runtime);
  for (std::size_t i = 0; i < items.size(); ++i) {
    if (i > 0) KVASIR_RETURN_IF_ERROR(out.add(separator.text()));
    KVASIR_ASSIGN_OR_RETURN(const Value item, follow(runtime, items[i], path));
    KVASIR_RETURN_IF_ERROR(print(out, item));
  }
  return runtime.text(out.text());
}

Result<Value> items_filter(Runtime& runtime, const Value& self, Args) {
  if (self.is_undefined()) return runtime.iterator("generator", {});
  if (!self.is(Type::kDict)) {
    return failing_iterator(runtime, "generator", failure("Can only get item pairs from a mapping."));
  }
  const View view{View::Kind::kItems, self.dict};
  Value pairs = self;
  pairs.type = Type::kView;
  pairs.view = &view;
  KVASIR_ASSIGN_OR_RETURN(const std::span<const Value> items, elements_of(runtime, pairs));
  return runtime.iterator("generator", items);
}

Result<Value> dictsort_filter(Runtime& runtime, const Value& self, Args args) {
  if (self.is_undefined()) return undefined_failure(self);
  if (!self.is(Type::kDict)) return failure("'{}' object has no attribute 'items'", type_name(self));
  const std::string_view by = args[1].is_missing() ? "key" : args[1].is_string() ? args[1].text() : "";
  if (by != "key" && by != "value") return failure("You can only sort by either \"key\" or \"value\"");
  const bool is_case_sensitive = bool_argument(args[0], false);
  std::vector<Keyed> keyed;
  for (const Entry& entry : self.dict->entries) {
    const Value pair[] = {entry.key, entry.value};
    KVASIR_ASSIGN_OR_RETURN(const Value item, runtime.tuple(pair));
    Value key = by == "key" ? entry.key : entry.value;
    if (!is_case_sensitive) {
      KVASIR_ASSIGN_OR_RETURN(key, ignore_case(runtime, key));
    }
    keyed.push_back({key, item});
  }
  KVASIR_RETURN_IF_ERROR(sort_by_key(runtime, keyed, bool_argument(args[2], false)));
  return items_of(runtime, keyed);
}

// `attribute` may be several, with commas; the key is the list of them, also of one: in a list, two undefined
// values are equal.
Result<Value> sort_filter(Runtime& runtime, const Value& self, Args args) {
  KVASIR_ASSIGN_OR_RETURN(const std::span<const Value> items, elements_of(runtime, self));
  std::vector<SortKey> keys;
  const std::vector<std::string_view> attributes =
      args[2].is_string() ? split(args[2].text(), ",", -1) : std::vector<std::string_view>();
  for (const std::string_view attribute : attributes) {
    KVASIR_ASSIGN_OR_RETURN(SortKey key, SortKey::make(runtime, borrow_text(attribute), args[1]));
    keys.push_back(std::move(key));
  }
  if (keys.empty()) {
    KVASIR_ASSIGN_OR_RETURN(SortKey key, SortKey::make(runtime, args[2], args[1]));
    keys.push_back(std::move(key));
  }
  std::vector<Keyed> keyed;
  for (const Value& item : items) {
    KVASIR_ASSIGN_OR_RETURN(const std::span<Value> parts, runtime.items(keys.size()));
    for (std::size_t i = 0; i < keys.size(); ++i) {
      KVASIR_ASSIGN_OR_RETURN(parts[i], keys[i].of(runtime, item));
    }
    keyed.push_back({borrow_items(Type::kList, parts), item});
  }
  KVASIR_RETURN_IF_ERROR(sort_by_key(runtime, keyed, bool_argument(args[0], false)));
  return items_of(runtime, keyed);
}

// The greatest or least of the items.
template <bool kGreatest>
Result<Value> extreme_filter(Runtime& runtime, const Value& self, Args args) {
  KVASIR_ASSIGN_OR_RETURN(const std::span<const Value> items, elements_of(runtime, self));
  if (items.empty()) return runtime.undefined("No aggregated item, sequence was empty.");
  KVASIR_ASSIGN_OR_RETURN(const SortKey key, SortKey::make(runtime, args[1], args[0]));
  KVASIR_ASSIGN_OR_RETURN(Value best_key, key.of(runtime, items[0]));
  Value best = items[0];
  for (const Value& item : items.subspan(1)) {
    KVASIR_ASSIGN_OR_RETURN(const Value next, key.of(runtime, item));
    KVASIR_ASSIGN_OR_RETURN(const bool is_better,
                            kGreatest ? less(runtime, best_key, next) : less(runtime, next, best_key));
    if (!is_better) continue;
    best = item;
    best_key = next;
  }
  return best;
}

Result<Value> sum_filter(Runtime& runtime, const Value& self, Args args) {
  KVASIR_ASSIGN_OR_RETURN(const std::span<const Value> items, elements_of(runtime, self));
  KVASIR_ASSIGN_OR_RETURN(const std::vector<Value> path, attribute_path(runtime, args[0]));
  Value total = args[1].is_missing() ? make_int(0) : args[1];
  if (total.is_string()) return failure("sum() can't sum strings [use ''.join(seq) instead]");
  for (const Value& each : items) {
    KVASIR_ASSIGN_OR_RETURN(const Value item, follow(runtime, each, path));
    KVASIR_ASSIGN_OR_RETURN(total, add(runtime, total, item));
  }
  return total;
}

// Calls `put` with each item whose key was not there before.
Result<Value> unique_filter(Runtime& runtime, const Value& self, Args args) {
  return generator(runtime, [&]() -> Result<std::vector<Value>> {
    KVASIR_ASSIGN_OR_RETURN(const std::span<const Value> items, elements_of(runtime, self));
    KVASIR_ASSIGN_OR_RETURN(const SortKey key, SortKey::make(runtime, args[1], args[0]));
    std::unordered_multimap<std::uint64_t, Value> seen;
    std::vector<Value> kept;
    for (const Value& item : items) {
      KVASIR_ASSIGN_OR_RETURN(const Value its_key, key.of(runtime, item));
      KVASIR_ASSIGN_OR_RETURN(const std::uint64_t hash, hash_value(runtime, its_key));
      bool is_known = false;
      for (auto [at, end] = seen.equal_range(hash); at != end && !is_known; ++at) {
        KVASIR_ASSIGN_OR_RETURN(is_known, equals(runtime, at->second, its_key));
      }
      if (is_known) continue;
      seen.emplace(hash, its_key);
      kept.push_back(item);
    }
    return kept;
  });
}

Result<Value> groupby_filter(Runtime& runtime, const Value& self, Args args) {
  KVASIR_ASSIGN_OR_RETURN(const std::span<const Value> items, elements_of(runtime, self));
  KVASIR_ASSIGN_OR_RETURN(const SortKey key, SortKey::make(runtime, args[0], args[2], args[1]));
  std::vector<Keyed> keyed;
  for (const Value& item : items) {
    KVASIR_ASSIGN_OR_RETURN(const Value its_key, key.of(runtime, item));
    keyed.push_back({its_key, item});
  }
  KVASIR_RETURN_IF_ERROR(sort_by_key(runtime, keyed, false));
  std::vector<Value> groups;
  for (std::size_t begin = 0, end = 0; begin < keyed.size(); begin = end) {
    for (bool is_same_group = true; is_same_group && end < keyed.size();) {
      KVASIR_ASSIGN_OR_RETURN(is_same_group, equals(runtime, keyed[begin].key, keyed[end].key));
      if (is_same_group || end == begin) ++end;
    }
    KVASIR_ASSIGN_OR_RETURN(const Value members,
                            items_of(runtime, std::span(keyed).subspan(begin, end - begin)));
    KVASIR_ASSIGN_OR_RETURN(const Value shown, key.shown(runtime, members.items[0]));
    const Value pair[] = {shown, members};
    KVASIR_ASSIGN_OR_RETURN(Value group, runtime.tuple(pair));
    group.detail = kGroup;
    groups.push_back(group);
  }
  return runtime.list(groups);
}

Result<Value> batch_filter(Runtime& runtime, const Value& self, Args args) {
  return generator(runtime, [&]() -> Result<std::vector<Value>> {
    KVASIR_ASSIGN_OR_RETURN(const std::span<const Value> items, elements_of(runtime, self));
    KVASIR_ASSIGN_OR_RETURN(const std::int64_t size, int_argument(args[0], "batch: linecount"));
    std::vector<Value> batches;
    if (size <= 0) {  // one batch never has this length, so all is in the last
      if (!items.empty()) batches.push_back(borrow_items(Type::kList, items));
      return batches;
    }
    const auto step = static_cast<std::size_t>(size);
    for (std::size_t at = 0; at < items.size(); at += step) {
      batches.push_back(borrow_items(Type::kList, items.subspan(at, std::min(step, items.size() - at))));
    }
    const bool is_filled = !args[1].is_missing() && !args[1].is_none();
    if (is_filled && !batches.empty() && batches.back().size < step) {
      KVASIR_ASSIGN_OR_RETURN(const std::span<Value> full, runtime.items(step));
      const std::span<const Value> last = batches.back().elements();
      std::fill(std::copy(last.begin(), last.end(), full.begin()), full.end(), args[1]);
      batches.back() = borrow_items(Type::kList, full);
    }
    return batches;
  });
}

Result<Value> slice_filter(Runtime& runtime, const Value& self, Args args) {
  return generator(runtime, [&]() -> Result<std::vector<Value>> {
    KVASIR_ASSIGN_OR_RETURN(const std::span<const Value> items, elements_of(runtime, self));
    KVASIR_ASSIGN_OR_RETURN(const std::int64_t count, int_argument(args[0], "slice: slices"));
    if (count == 0) return failure("integer division or modulo by zero");
    std::vector<Value> slices;
    if (count < 0) return slices;
    KVASIR_RETURN_IF_ERROR(runtime.spend(static_cast<std::size_t>(count)));
    const auto num_slices = static_cast<std::size_t>(count);
    const std::size_t size = items.size() / num_slices, num_longer = items.size() % num_slices;
    const bool is_filled = !args[1].is_missing() && !args[1].is_none();
    std::size_t at = 0;
    for (std::size_t i = 0; i < num_slices; ++i) {
      const std::size_t length = size + (i < num_longer ? 1 : 0);
      Value part = borrow_items(Type::kList, items.subspan(at, length));
      at += length;
      if (is_filled && i >= num_longer) {
        KVASIR_ASSIGN_OR_RETURN(part, add(runtime, part, borrow_items(Type::kList, {&args[1], 1})));
      }
      slices.push_back(part);
    }
    return slices;
  });
}

Result<Value> map_filter(Runtime& runtime, const Value& self, const Arguments& arguments) {
  return generator(runtime, [&]() -> Result<std::vector<Value>> {
    std::vector<Value> mapped;
    if (!is_true(self)) return mapped;
    std::vector<Value> path;
    Value fallback;
    const Builtin* filter = nullptr;
    if (arguments.positional.empty()) {
      bool has_attribute = false;
      for (const auto& [name, value] : arguments.named) {
        if (name == "default") {
          fallback = value;
        } else if (name == "attribute") {
          has_attribute = true;
          KVASIR_ASSIGN_OR_RETURN(path, attribute_path(runtime, value));
        } else {
          return failure("map: unexpected keyword argument {}", in_quotes(name));
        }
      }
      if (!has_attribute) return failure("map requires a filter argument");
    } else {
      KVASIR_ASSIGN_OR_RETURN(const std::string_view name,
                              text_argument(arguments.positional[0], "map: filter"));
      filter = find_filter(name);
      if (filter == nullptr) return failure("No filter named {}.", in_quotes(name));
    }
    KVASIR_ASSIGN_OR_RETURN(const std::span<const Value> items, elements_of(runtime, self));
    for (const Value& item : items) {
      if (filter == nullptr) {
        KVASIR_ASSIGN_OR_RETURN(const Value found, follow(runtime, item, path, fallback));
        mapped.push_back(found);
      } else {
        KVASIR_ASSIGN_OR_RETURN(
            const Value made,
            call_builtin(runtime, *filter, item, {arguments.positional.subspan(1), arguments.named}));
        mapped.push_back(made);
      }
    }
    return mapped;
  });
}

// Items, or those with an attribute, for which a test holds, or does not.
template <bool kByAttribute, bool kWanted>
Result<Value> select_filter(Runtime& runtime, const Value& self, const Arguments& arguments) {
  return generator(runtime, [&]() -> Result<std::vector<Value>> {
    std::vector<Value> kept;
    if (!is_true(self)) return kept;
    std::span<const Value> rest = arguments.positional;
    std::vector<Value> path;
    if (kByAttribute) {
      if (rest.empty()) return failure("Missing parameter for attribute name");
      KVASIR_ASSIGN_OR_RETURN(path, attribute_path(runtime, rest[0]));
      rest = rest.subspan(1);
    }
    const Builtin* test = nullptr;
    if (!rest.empty()) {
      KVASIR_ASSIGN_OR_RETURN(const std::string_view name, text_argument(rest[0], "the name of the test"));
      test = find_test(name);
      if (test == nullptr) return failure("No test named {}.", in_quotes(name));
      rest = rest.subspan(1);
    }
    KVASIR_ASSIGN_OR_RETURN(const std::span<const Value> items, elements_of(runtime, self));
    for (const Value& item : items) {
      KVASIR_ASSIGN_OR_RETURN(Value judged, follow(runtime, item, path));
      if (test != nullptr) {
        KVASIR_ASSIGN_OR_RETURN(judged, call_builtin(runtime, *test, judged, {rest, arguments.named}));
      }
      KVASIR_RETURN_IF_ERROR(runtime.spend(1));
      if (is_true(judged) == kWanted) kept.push_back(item);
    }
    return kept;
  });
}

constexpr Builtin kSequenceFilters[] = {
    {"attr", attr_filter, 1, {"name"}},
    {"batch", batch_filter, 1, {"linecount", "fill_with"}},
    {"count", length_filter},
    {"d", default_filter, 0, {"default_value", "boolean"}},
    {"default", default_filter, 0, {"default_value", "boolean"}},
    {"dictsort", dictsort_filter, 0, {"case_sensitive", "by", "reverse"}},
    {"first", first_filter},
    {"groupby", groupby_filter, 1, {"attribute", "default", "case_sensitive"}},
    {"items", items_filter},
    {"join", join_filter, 0, {"d", "attribute"}},
    {"last", last_filter},
    {"length", length_filter},
    {"list", list_filter},
    {"map", map_filter},
    {"max", extreme_filter<true>, 0, {"case_sensitive", "attribute"}},
    {"min", extreme_filter<false>, 0, {"case_sensitive", "attribute"}},
    {"random", random_filter},
    {"reject", select_filter<false, false>},
    {"rejectattr", select_filter<true, false>},
    {"reverse", reverse_filter},
    {"select", select_filter<false, true>},
    {"selectattr", select_filter<true, true>},
    {"slice", slice_filter, 1, {"slices", "fill_with"}},
    {"sort", sort_filter, 0, {"reverse", "case_sensitive", "attribute"}},
    {"sum", sum_filter, 0, {"attribute", "start"}},
    {"unique", unique_filter, 0, {"case_sensitive", "attribute"}},
};

}  // namespace

std::span<const Builtin> sequence_filters() {
  return kSequenceFilters;
}

}  // namespace kvasir::tokenizer::jinja
