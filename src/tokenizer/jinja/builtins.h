#pragma once

// What templates can call: filters, tests, methods and globals, as tables of functions, with their arguments
// put in place by name and position.

#include <array>
#include <span>
#include <string_view>

#include "tokenizer/jinja/runtime.h"

namespace kvasir::tokenizer::jinja {

struct Builtin {
  static constexpr std::size_t kMaxParameters = 6;
  // `self` is the value that a filter or test is applied to, or the object of a method; missing for globals.
  // Arguments that were not given are missing.
  using Run = Result<Value> (*)(Runtime&, const Value& self, std::span<const Value> arguments);
  // With arguments as they were given.
  using RunRaw = Result<Value> (*)(Runtime&, const Value& self, const Arguments& arguments);

  std::string_view name;
  Run run = nullptr;
  RunRaw run_raw = nullptr;
  std::size_t num_required = 0;
  // An empty name ends them; "-" can be given by position only.
  std::array<std::string_view, kMaxParameters> parameters = {};

  constexpr Builtin(std::string_view name, Run run, std::size_t num_required = 0,
                    std::array<std::string_view, kMaxParameters> parameters = {})
      : name(name), run(run), num_required(num_required), parameters(parameters) {}
  constexpr Builtin(std::string_view name, RunRaw run_raw) : name(name), run_raw(run_raw) {}
};

// Errors: arguments that do not fit, and the function's own.
Result<Value> call_builtin(Runtime& runtime, const Builtin& builtin, const Value& self,
                           const Arguments& arguments);

// Null for what there is not.
const Builtin* find_filter(std::string_view name);
const Builtin* find_test(std::string_view name);
const Builtin* find_method(const Value& value, std::string_view name);
std::span<const Builtin> globals();

// Whether jinja2 has a filter of this name that is not here.
bool is_unsupported_filter(std::string_view name);

// The tables that find_filter() looks into.
std::span<const Builtin> text_filters();
std::span<const Builtin> sequence_filters();
std::span<const Builtin> string_methods();

// Arguments as what a function needs. Errors: values of another type, which are named `what`.
Result<std::string_view> text_argument(const Value& value, std::string_view what);
Result<std::int64_t> int_argument(const Value& value, std::string_view what);
// `fallback` for an argument that is missing or None.
Result<std::int64_t> int_argument(const Value& value, std::string_view what, std::int64_t fallback);
bool bool_argument(const Value& value, bool fallback);

// Python's int() and float() of a string; missing when it is none.
Result<Value> parse_int(Runtime& runtime, std::string_view text, int base);
Value parse_float(std::string_view text);

// str.replace(); -1: all of them.
Result<Value> replace_text(Runtime& runtime, const Value& text, std::string_view old_part,
                           std::string_view new_part, std::int64_t most);

}  // namespace kvasir::tokenizer::jinja
