#pragma once

// Finds the end of a JSON value that comes byte by byte. It follows strings and brackets, which is what the
// end depends on, and leaves the rest to whoever parses the value: a model that forgets a comma has still
// written arguments, and the client is told what it wrote.

#include <cstddef>
#include <string>

namespace kvasir::api {

class ValueScanner {
 public:
  enum class Step {
    kMore,  // the byte belongs to the value, which goes on
    kLast,  // the byte is the value's last
    kPast,  // the value (a number, true, false, null) ended before this byte
    kBad,   // no value goes on with this byte
  };
  static constexpr std::size_t kMaxDepth = 64;

  // Before the first byte of a value; whitespace before it is the caller's.
  ValueScanner() = default;
  // Behind the first members of an object, of which it finds the end.
  static ValueScanner inside_object();

  // Takes the next byte, O(1). Bad are a bracket that closes another kind, nesting over kMaxDepth, and '<'
  // outside of a string: there a special token begins. Requires: no call after kLast, kPast or kBad.
  Step feed(char byte);

 private:
  Step open(char closing);

  std::string due_;  // closing brackets, the outermost first
  bool is_in_string_ = false;
  bool is_escaped_ = false;
  bool is_in_scalar_ = false;
};

}  // namespace kvasir::api
