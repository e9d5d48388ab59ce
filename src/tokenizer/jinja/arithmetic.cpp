// Python's arithmetic: integers exact within 128 bits, floats as C's doubles, division rounding down.

#include <algorithm>
#include <cmath>

#include "tokenizer/jinja/format.h"
#include "tokenizer/jinja/markup.h"
#include "tokenizer/jinja/operators.h"

namespace kvasir::tokenizer::jinja {
namespace {

Status too_large() {
  return failure("integers beyond 128 bits are not supported");
}

Status wrong_types(std::string_view sign, const Value& a, const Value& b) {
  if (a.is_undefined()) return undefined_failure(a);
  if (b.is_undefined()) return undefined_failure(b);
  return failure("unsupported operand type(s) for {}: '{}' and '{}'", sign, type_name(a), type_name(b));
}

bool are_integers(const Value& a, const Value& b) {
  return a.is_integer() && b.is_integer();
}

bool are_numbers(const Value& a, const Value& b) {
  return a.is_number() && b.is_number();
}

Result<Value> add_texts(Runtime& runtime, const Value& a, const Value& b) {
  if (a.is_markup() != b.is_markup()) {
    KVASIR_ASSIGN_OR_RETURN(const Value x, escape(runtime, a));
    KVASIR_ASSIGN_OR_RETURN(const Value y, escape(runtime, b));
    return add_texts(runtime, x, y);
  }
  return runtime.join(a.text(), b.text(), a.is_markup());
}

Result<Value> add_sequences(Runtime& runtime, const Value& a, const Value& b) {
  KVASIR_ASSIGN_OR_RETURN(const std::span<Value> items, runtime.items(std::size_t{a.size} + b.size));
  std::copy_n(b.items, b.size, std::copy_n(a.items, a.size, items.begin()));
  return borrow_items(a.type, items);
}

Result<Value> repeat(Runtime& runtime, const Value& what, Int times) {
  const std::size_t count = times <= 0 || what.size == 0 ? 0
                            : times > (Int{1} << 32)     ? std::size_t{1} << 32
                                                         : static_cast<std::size_t>(times);
  const std::size_t total = count * what.size;
  if (what.is_string()) {
    KVASIR_RETURN_IF_ERROR(runtime.spend_text(total));
    KVASIR_ASSIGN_OR_RETURN(char* const bytes, runtime.allocate<char>(total));
    for (std::size_t i = 0; i < count; ++i) std::memcpy(bytes + i * what.size, what.data, what.size);
    return borrow_text({bytes, total}, what.detail);
  }
  KVASIR_ASSIGN_OR_RETURN(const std::span<Value> items, runtime.items(total));
  for (std::size_t i = 0; i < count; ++i) std::copy_n(what.items, what.size, items.begin() + i * what.size);
  return borrow_items(what.type, items);
}

Int floor_quotient(Int a, Int b) {
  const Int quotient = a / b;
  return a % b != 0 && (a < 0) != (b < 0) ? quotient - 1 : quotient;
}

double floor_remainder(double a, double b) {
  const double remainder = std::fmod(a, b);
  if (remainder == 0) return std::copysign(0.0, b);
  return (b < 0) != (remainder < 0) ? remainder + b : remainder;
}

Result<Value> integer_power(Runtime& runtime, Int base, Int exponent) {
  Int result = 1;
  while (true) {
    if ((exponent & 1) != 0 && __builtin_mul_overflow(result, base, &result)) return too_large();
    exponent >>= 1;
    if (exponent == 0) return runtime.integer(result);
    if (base == 0 || base == 1) continue;
    if (base == -1) {
      base = 1;
      continue;
    }
    if (__builtin_mul_overflow(base, base, &base)) return too_large();
  }
}

}  // namespace

Result<Value> add(Runtime& runtime, const Value& a, const Value& b) {
  if (are_integers(a, b)) {
    Int sum;
    if (__builtin_add_overflow(a.as_int(), b.as_int(), &sum)) return too_large();
    return runtime.integer(sum);
  }
  if (are_numbers(a, b)) return make_float(a.as_double() + b.as_double());
  if (a.is_string() && b.is_string()) return add_texts(runtime, a, b);
  if (a.is_sequence() && a.type == b.type) return add_sequences(runtime, a, b);
  if (b.is_undefined()) return undefined_failure(b);
  if (a.is_string() || a.is_sequence()) {
    return failure("can only concatenate {} (not \"{}\") to {}", type_name(a), type_name(b), type_name(a));
  }
  return wrong_types("+", a, b);
}

Result<Value> subtract(Runtime& runtime, const Value& a, const Value& b) {
  if (are_integers(a, b)) {
    Int difference;
    if (__builtin_sub_overflow(a.as_int(), b.as_int(), &difference)) return too_large();
    return runtime.integer(difference);
  }
  if (are_numbers(a, b)) return make_float(a.as_double() - b.as_double());
  return wrong_types("-", a, b);
}

Result<Value> multiply(Runtime& runtime, const Value& a, const Value& b) {
  if (are_integers(a, b)) {
    Int product;
    if (__builtin_mul_overflow(a.as_int(), b.as_int(), &product)) return too_large();
    return runtime.integer(product);
  }
  if (are_numbers(a, b)) return make_float(a.as_double() * b.as_double());
  const auto is_repeatable = [](const Value& v) { return v.is_string() || v.is_sequence(); };
  if (is_repeatable(a) && b.is_integer()) return repeat(runtime, a, b.as_int());
  if (a.is_integer() && is_repeatable(b)) return repeat(runtime, b, a.as_int());
  return wrong_types("*", a, b);
}

Result<Value> divide(Runtime&, const Value& a, const Value& b) {
  if (!are_numbers(a, b)) return wrong_types("/", a, b);
  if (b.as_double() == 0) return failure("division by zero");
  return make_float(a.as_double() / b.as_double());
}

Result<Value> floor_divide(Runtime& runtime, const Value& a, const Value& b) {
  if (!are_numbers(a, b)) return wrong_types("//", a, b);
  if (b.as_double() == 0) return failure("integer division or modulo by zero");
  if (are_integers(a, b)) {
    if (b.as_int() == -1) return subtract(runtime, make_int(0), a);  // the one quotient that may not fit
    return runtime.integer(floor_quotient(a.as_int(), b.as_int()));
  }
  const double x = a.as_double(), y = b.as_double();
  const double remainder = std::fmod(x, y);
  double quotient = (x - remainder) / y;
  if (remainder != 0 && (y < 0) != (remainder < 0)) quotient -= 1;
  if (quotient == 0) return make_float(std::copysign(0.0, x / y));
  const double rounded = std::floor(quotient);
  return make_float(quotient - rounded > 0.5 ? rounded + 1 : rounded);
}

Result<Value> modulo(Runtime& runtime, const Value& a, const Value& b) {
  if (a.is_string()) return format_percent(runtime, a, b);
  if (!are_numbers(a, b)) return wrong_types("%", a, b);
  if (b.as_double() == 0) return failure("integer division or modulo by zero");
  if (are_integers(a, b)) {
    const Int x = a.as_int(), y = b.as_int();
    if (y == -1) return make_int(0);
    return runtime.integer(x - floor_quotient(x, y) * y);
  }
  return make_float(floor_remainder(a.as_double(), b.as_double()));
}

Result<Value> power(Runtime& runtime, const Value& a, const Value& b) {
  if (!are_numbers(a, b)) return wrong_types("** or pow()", a, b);
  if (are_integers(a, b) && b.as_int() >= 0) return integer_power(runtime, a.as_int(), b.as_int());
  const double base = a.as_double(), exponent = b.as_double();
  if (base == 0 && exponent < 0) return failure("0.0 cannot be raised to a negative power");
  if (base < 0 && std::isfinite(exponent) && exponent != std::floor(exponent)) {
    return failure("complex numbers are not supported");
  }
  const double result = std::pow(base, exponent);
  if (std::isinf(result) && std::isfinite(base) && std::isfinite(exponent)) {
    return failure("the result of ** is too large");
  }
  return make_float(result);
}

Result<Value> negate(Runtime& runtime, const Value& a) {
  if (a.is_integer()) return subtract(runtime, make_int(0), a);
  if (a.is(Type::kFloat)) return make_float(-a.real);
  if (a.is_undefined()) return undefined_failure(a);
  return failure("bad operand type for unary -: '{}'", type_name(a));
}

Result<Value> plus(Runtime& runtime, const Value& a) {
  if (a.is_integer()) return runtime.integer(a.as_int());
  if (a.is(Type::kFloat)) return a;
  if (a.is_undefined()) return undefined_failure(a);
  return failure("bad operand type for unary +: '{}'", type_name(a));
}

}  // namespace kvasir::tokenizer::jinja
