#include "api/value_scanner.h"

namespace kvasir::api {
namespace {

bool is_of_scalar(char byte) {
  return (byte >= '0' && byte <= '9') || (byte >= 'a' && byte <= 'z') || (byte >= 'A' && byte <= 'Z') ||
         byte == '-' || byte == '+' || byte == '.';
}

}  // namespace

ValueScanner ValueScanner::inside_object() {
  ValueScanner scanner;
  scanner.due_ = "}";
  return scanner;
}

ValueScanner::Step ValueScanner::open(char closing) {
  if (is_in_scalar_ || due_.size() == kMaxDepth) return Step::kBad;
  due_ += closing;
  return Step::kMore;
}

ValueScanner::Step ValueScanner::feed(char byte) {
  if (is_in_string_) {
    if (is_escaped_) {
      is_escaped_ = false;
    } else if (byte == '\\') {
      is_escaped_ = true;
    } else if (byte == '"') {
      is_in_string_ = false;
      if (due_.empty()) return Step::kLast;
    }
    return Step::kMore;
  }
  switch (byte) {
    case '"':
      if (is_in_scalar_) return Step::kBad;
      is_in_string_ = true;
      return Step::kMore;
    case '{':
      return open('}');
    case '[':
      return open(']');
    case '<':
      return Step::kBad;
    case '}':
    case ']':
      if (due_.empty()) return is_in_scalar_ ? Step::kPast : Step::kBad;
      if (due_.back() != byte) return Step::kBad;
      due_.pop_back();
      return due_.empty() ? Step::kLast : Step::kMore;
    default:
      if (!due_.empty()) return Step::kMore;
      if (!is_of_scalar(byte)) return is_in_scalar_ ? Step::kPast : Step::kBad;
      is_in_scalar_ = true;
      return Step::kMore;
  }
}

}  // namespace kvasir::api
