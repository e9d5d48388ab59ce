#pragma once

// Expected failures as values: Status for "done or why not", Result<T> for "a T or why not". Bad requests,
// I/O, corrupt files and full queues come back this way; our own bugs are KVASIR_CHECK's (base/check.h).

#include <fmt/format.h>

#include <optional>
#include <string>
#include <utility>
#include <variant>

namespace kvasir {

enum class StatusCode {
  kOk,
  kInvalidArgument,    // the caller sent something wrong (HTTP 400)
  kNotFound,           // (404)
  kCorrupt,            // a file or stored block is not what it claims to be
  kIo,                 // the operating system refused
  kUnsupported,        // well-formed, but not something that we can do (501)
  kResourceExhausted,  // a queue or a budget is full: try later (429)
  kUnavailable,        // not ready or shutting down (503)
  kCancelled,          // the caller went away
  kDeadlineExceeded,   // its time was up (504)
  kInternal,           // a bug that was contained (500)
};

// The outcome of an operation that returns nothing. The message is one line that names the thing, what was
// expected and what came.
class [[nodiscard]] Status {
 public:
  Status() = default;
  Status(StatusCode code, std::string message) : code_(code), message_(std::move(message)) {}

  bool ok() const { return code_ == StatusCode::kOk; }
  StatusCode code() const { return code_; }
  const std::string& message() const { return message_; }

 private:
  StatusCode code_ = StatusCode::kOk;
  std::string message_;
};

// error(StatusCode::kCorrupt, "{}: expected {}, got {}", ...): a failed Status with a formatted message.
template <typename... Args>
Status error(StatusCode code, fmt::format_string<Args...> format, Args&&... args) {
  return Status(code, fmt::format(format, std::forward<Args>(args)...));
}

// A T, or the Status that says why there is none. value() and operator* require ok().
template <typename T>
class [[nodiscard]] Result {
 public:
  Result(T value) : state_(std::move(value)) {}         // NOLINT: implicit by intent, `return value;`
  Result(Status status) : state_(std::move(status)) {}  // NOLINT: implicit by intent, `return error(...);`

  bool ok() const { return std::holds_alternative<T>(state_); }
  // The failure; an ok Status when there is a value.
  Status status() const { return ok() ? Status() : std::get<Status>(state_); }

  T& value() & { return std::get<T>(state_); }
  const T& value() const& { return std::get<T>(state_); }
  T&& value() && { return std::get<T>(std::move(state_)); }
  T& operator*() & { return value(); }
  const T& operator*() const& { return value(); }
  T&& operator*() && { return std::move(*this).value(); }
  T* operator->() { return &value(); }
  const T* operator->() const { return &value(); }

 private:
  std::variant<Status, T> state_;
};

}  // namespace kvasir

// Returns the failure of `expr` (a Status) from the enclosing function.
#define KVASIR_RETURN_IF_ERROR(expr)                                                           \
  do {                                                                                         \
    if (::kvasir::Status kvasir_status_ = (expr); !kvasir_status_.ok()) return kvasir_status_; \
  } while (false)

// KVASIR_ASSIGN_OR_RETURN(auto x, f()): x = the value of f() (a Result), or returns its failure.
#define KVASIR_ASSIGN_OR_RETURN(lhs, expr) \
  KVASIR_ASSIGN_OR_RETURN_(KVASIR_CONCAT_(kvasir_result_, __LINE__), lhs, expr)
#define KVASIR_CONCAT_(a, b) KVASIR_CONCAT2_(a, b)
#define KVASIR_CONCAT2_(a, b) a##b
#define KVASIR_ASSIGN_OR_RETURN_(result, lhs, expr) \
  auto result = (expr);                             \
  if (!result.ok()) return result.status();         \
  lhs = std::move(result).value()
