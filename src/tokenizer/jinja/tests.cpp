// What stands behind `is`.

#include <algorithm>

#include "tokenizer/jinja/builtins.h"
#include "tokenizer/jinja/operators.h"
#include "tokenizer/jinja/printing.h"
#include "tokenizer/jinja/sequences.h"
#include "tokenizer/jinja/text.h"

namespace kvasir::tokenizer::jinja {
namespace {

using Args = std::span<const Value>;

template <bool (*kHolds)(const Value&)>
Result<Value> plain_test(Runtime&, const Value& self, Args) {
  return make_bool(kHolds(self));
}

bool is_defined(const Value& v) {
  return !v.is_undefined();
}
bool is_undefined(const Value& v) {
  return v.is_undefined();
}
bool is_none(const Value& v) {
  return v.is_none();
}
bool is_boolean(const Value& v) {
  return v.is(Type::kBool);
}
bool is_false_itself(const Value& v) {
  return v.is(Type::kBool) && !v.boolean;
}
bool is_true_itself(const Value& v) {
  return v.is(Type::kBool) && v.boolean;
}
bool is_integer(const Value& v) {
  return v.is(Type::kInt);
}
bool is_float(const Value& v) {
  return v.is(Type::kFloat);
}
bool is_number(const Value& v) {
  return v.is_number();
}
bool is_string(const Value& v) {
  return v.is_string();
}
bool is_mapping(const Value& v) {
  return v.is(Type::kDict);
}
bool is_markup(const Value& v) {
  return v.is_markup();
}
bool is_sequence(const Value& v) {
  return v.is_string() || v.is_sequence() || v.is(Type::kDict) || v.is(Type::kRange) || v.is_undefined();
}
bool is_callable(const Value& v) {
  return v.is(Type::kFunction) || v.is(Type::kLoop) || v.is(Type::kJoiner) || v.is_undefined();
}

template <bool (*kHolds)(std::string_view)>
Result<Value> text_test(Runtime& runtime, const Value& self, Args) {
  KVASIR_ASSIGN_OR_RETURN(const Value text, to_text(runtime, self));
  KVASIR_RETURN_IF_ERROR(runtime.spend_text(text.size));
  return make_bool(kHolds(text.text()));
}

Result<Value> remainder_is(Runtime& runtime, const Value& self, const Value& divisor, std::int64_t expected) {
  KVASIR_ASSIGN_OR_RETURN(const Value remainder, modulo(runtime, self, divisor));
  KVASIR_ASSIGN_OR_RETURN(const bool is_equal, equals(runtime, remainder, make_int(expected)));
  return make_bool(is_equal);
}

Result<Value> odd_test(Runtime& runtime, const Value& self, Args) {
  return remainder_is(runtime, self, make_int(2), 1);
}
Result<Value> even_test(Runtime& runtime, const Value& self, Args) {
  return remainder_is(runtime, self, make_int(2), 0);
}
Result<Value> divisible_test(Runtime& runtime, const Value& self, Args args) {
  return remainder_is(runtime, self, args[0], 0);
}

Result<Value> filter_test(Runtime&, const Value& self, Args) {
  return make_bool(self.is_string() &&
                   (find_filter(self.text()) != nullptr || is_unsupported_filter(self.text())));
}
Result<Value> test_test(Runtime&, const Value& self, Args) {
  return make_bool(self.is_string() && find_test(self.text()) != nullptr);
}

Result<Value> iterable_test(Runtime&, const Value& self, Args) {
  return make_bool(is_iterable(self));
}
Result<Value> same_test(Runtime&, const Value& self, Args args) {
  return make_bool(is_same(self, args[0]));
}
Result<Value> in_test(Runtime& runtime, const Value& self, Args args) {
  KVASIR_ASSIGN_OR_RETURN(const bool is_in, contains(runtime, args[0], self));
  return make_bool(is_in);
}

// Comparisons: whether `self` is less (equal) than the argument, or the other way round, or the contrary.
template <bool kWanted>
Result<Value> equal_test(Runtime& runtime, const Value& self, Args args) {
  KVASIR_ASSIGN_OR_RETURN(const bool is_equal, equals(runtime, self, args[0]));
  return make_bool(is_equal == kWanted);
}
template <bool kSwapped, bool kOrEqual>
Result<Value> order_test(Runtime& runtime, const Value& self, Args args) {
  const Value& a = kSwapped ? args[0] : self;
  const Value& b = kSwapped ? self : args[0];
  KVASIR_ASSIGN_OR_RETURN(const bool is_less, less(runtime, a, b));
  if (is_less || !kOrEqual) return make_bool(is_less);
  KVASIR_ASSIGN_OR_RETURN(const bool is_equal, equals(runtime, a, b));
  return make_bool(is_equal);
}

constexpr std::array<std::string_view, Builtin::kMaxParameters> kOther = {"-"};

constexpr Builtin kTests[] = {
    {"defined", plain_test<is_defined>},
    {"none", plain_test<is_none>},
    {"string", plain_test<is_string>},
    {"mapping", plain_test<is_mapping>},
    {"iterable", iterable_test},
    {"sequence", plain_test<is_sequence>},
    {"undefined", plain_test<is_undefined>},
    {"number", plain_test<is_number>},
    {"boolean", plain_test<is_boolean>},
    {"true", plain_test<is_true_itself>},
    {"false", plain_test<is_false_itself>},
    {"integer", plain_test<is_integer>},
    {"float", plain_test<is_float>},
    {"callable", plain_test<is_callable>},
    {"escaped", plain_test<is_markup>},
    {"lower", text_test<is_lower>},
    {"upper", text_test<is_upper>},
    {"odd", odd_test},
    {"even", even_test},
    {"divisibleby", divisible_test, 1, {"num"}},
    {"filter", filter_test},
    {"test", test_test},
    {"sameas", same_test, 1, {"other"}},
    {"in", in_test, 1, {"seq"}},
    {"==", equal_test<true>, 1, kOther},
    {"eq", equal_test<true>, 1, kOther},
    {"equalto", equal_test<true>, 1, kOther},
    {"!=", equal_test<false>, 1, kOther},
    {"ne", equal_test<false>, 1, kOther},
    {">", order_test<true, false>, 1, kOther},
    {"gt", order_test<true, false>, 1, kOther},
    {"greaterthan", order_test<true, false>, 1, kOther},
    {">=", order_test<true, true>, 1, kOther},
    {"ge", order_test<true, true>, 1, kOther},
    {"<", order_test<false, false>, 1, kOther},
    {"lt", order_test<false, false>, 1, kOther},
    {"lessthan", order_test<false, false>, 1, kOther},
    {"<=", order_test<false, true>, 1, kOther},
    {"le", order_test<false, true>, 1, kOther},
};

}  // namespace

const Builtin* find_test(std::string_view name) {
  const auto found = std::ranges::find(kTests, name, &Builtin::name);
  return found == std::end(kTests) ? nullptr : found;
}

}  // namespace kvasir::tokenizer::jinja
