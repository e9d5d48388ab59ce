#pragma once

// The memory and the budgets of one render. Values are made here and live until the render ends; all of them
// together are bounded, so nothing need be freed before, and cycles cannot leak. One thread.

#include <chrono>
#include <cstring>
#include <memory_resource>
#include <string>
#include <type_traits>

#include "base/status.h"
#include "tokenizer/chat_template.h"
#include "tokenizer/jinja/objects.h"

namespace kvasir::tokenizer::jinja {

// A failure of the template: what in Python would be an exception.
template <typename... Args>
Status failure(fmt::format_string<Args...> format, Args&&... args) {
  return error(StatusCode::kInvalidArgument, format, std::forward<Args>(args)...);
}

class Runtime {
 public:
  Runtime(const TemplateLimits& limits, std::chrono::local_seconds now) : limits_(limits), now_(now) {}
  Runtime(const Runtime&) = delete;
  Runtime& operator=(const Runtime&) = delete;

  std::chrono::local_seconds now() const { return now_; }
  const TemplateLimits& limits() const { return limits_; }
  std::size_t num_steps() const { return num_steps_; }
  // Whether the failure is the template's own, by raise_exception.
  bool has_raised() const { return has_raised_; }
  void set_raised() { has_raised_ = true; }

  // Takes steps from the budget. Errors: kInvalidArgument when none are left.
  Status spend(std::size_t steps) {
    num_steps_ += steps;
    return num_steps_ <= limits_.max_steps ? Status() : out_of_steps();
  }
  // The steps of going through so much text.
  Status spend_text(std::size_t bytes) { return spend(1 + bytes / 32); }
  // Takes memory from the budget of values without making one: for what is made elsewhere.
  Status spend_memory(std::size_t bytes);

  // Room for n Ts, not initialised.
  template <typename T>
  Result<T*> allocate(std::size_t n) {
    static_assert(std::is_trivially_destructible_v<T>, "the memory is given back whole");
    KVASIR_RETURN_IF_ERROR(spend_memory(n * sizeof(T)));
    return static_cast<T*>(memory_.allocate(n * sizeof(T), alignof(T)));
  }
  template <typename T>
  Result<T*> make(const T& value) {
    KVASIR_ASSIGN_OR_RETURN(T * place, allocate<T>(1));
    return new (place) T(value);
  }

  Result<std::string_view> copy(std::string_view text);
  Result<Value> text(std::string_view text, bool is_markup = false);
  // `a` and `b` one after the other. Adding to the result of the last such call takes time for `b` only, so
  // that text put together piece by piece costs what it is long.
  Result<Value> join(std::string_view a, std::string_view b, bool is_markup);
  Result<Value> integer(Int value);
  // Room for the items of a list, to be filled.
  Result<std::span<Value>> items(std::size_t n);
  Result<Value> list(std::span<const Value> items);
  Result<Value> tuple(std::span<const Value> items);
  // Of equal keys the last value counts, at the place of the first. Errors: a key that cannot be hashed.
  Result<Value> dict(std::span<const Entry> entries);
  Result<Value> iterator(std::string_view name, std::span<const Value> items);
  Result<Value> method(std::string_view name, const Builtin& builtin, const Value& self);
  // An undefined value that says `message` when it is used.
  Result<Value> undefined(std::string_view message);

 private:
  Status out_of_steps() const;

  const TemplateLimits limits_;
  const std::chrono::local_seconds now_;
  std::pmr::monotonic_buffer_resource memory_;
  std::size_t num_steps_ = 0;
  std::size_t num_bytes_ = 0;
  bool has_raised_ = false;
  // Behind the text that join() made last, up to the end of its room.
  char* growth_begin_ = nullptr;
  char* growth_end_ = nullptr;
};

}  // namespace kvasir::tokenizer::jinja
