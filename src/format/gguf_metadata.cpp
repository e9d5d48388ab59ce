// Reading the values of a GGUF file's metadata.

#include <cmath>
#include <cstring>

#include "base/bytes.h"
#include "format/gguf.h"
#include "format/printable.h"

namespace kvasir::format {
namespace {

constexpr std::uint64_t kMaxElements = 1 << 22;

template <typename T>
T load(const std::byte* from) {
  T value;
  std::memcpy(&value, from, sizeof value);
  return value;
}

// What is not an integer, or is beyond 63 bits, is none.
std::optional<std::int64_t> as_integer(GgufType type, const std::byte* from) {
  switch (type) {
    case GgufType::kUint8:
      return load<std::uint8_t>(from);
    case GgufType::kInt8:
      return load<std::int8_t>(from);
    case GgufType::kUint16:
      return load<std::uint16_t>(from);
    case GgufType::kInt16:
      return load<std::int16_t>(from);
    case GgufType::kUint32:
      return load<std::uint32_t>(from);
    case GgufType::kInt32:
      return load<std::int32_t>(from);
    case GgufType::kInt64:
      return load<std::int64_t>(from);
    case GgufType::kUint64: {
      const auto value = load<std::uint64_t>(from);
      if (value > INT64_MAX) return std::nullopt;
      return static_cast<std::int64_t>(value);
    }
    default:
      return std::nullopt;
  }
}

std::optional<double> as_number(GgufType type, const std::byte* from) {
  if (type == GgufType::kFloat32) return load<float>(from);
  if (type == GgufType::kFloat64) return load<double>(from);
  if (const auto integer = as_integer(type, from)) return static_cast<double>(*integer);
  return std::nullopt;
}

// What messages say of a value.
std::string show(const GgufValue& value) {
  if (value.type == GgufType::kArray) return fmt::format("an array of {}", value.size);
  if (value.type == GgufType::kString) return fmt::format("the text '{}'", printable(as_text(value.bytes)));
  if (value.type == GgufType::kBool) return value.bytes[0] == std::byte{1} ? "true" : "false";
  if (const auto integer = as_integer(value.type, value.bytes.data())) return fmt::format("{}", *integer);
  if (const auto number = as_number(value.type, value.bytes.data())) return fmt::format("{}", *number);
  return "a number beyond 63 bits";
}

}  // namespace

std::size_t value_bytes(GgufType type) {
  switch (type) {
    case GgufType::kUint8:
    case GgufType::kInt8:
    case GgufType::kBool:
      return 1;
    case GgufType::kUint16:
    case GgufType::kInt16:
      return 2;
    case GgufType::kUint64:
    case GgufType::kInt64:
    case GgufType::kFloat64:
      return 8;
    case GgufType::kUint32:
    case GgufType::kInt32:
    case GgufType::kFloat32:
      return 4;
    case GgufType::kString:
    case GgufType::kArray:
      return 0;
  }
  return 0;
}

bool GgufMetadata::has_array(std::string_view key) const {
  const auto found = values_.find(key);
  return found != values_.end() && found->second.type == GgufType::kArray;
}

Status GgufMetadata::wrong(std::string_view key, std::string_view expected, const GgufValue& value) const {
  return error(StatusCode::kCorrupt, "{}: key '{}': expected {}, got {}", file_, key, expected, show(value));
}

Result<const GgufValue*> GgufMetadata::find(std::string_view key, std::string_view expected) const {
  const auto found = values_.find(key);
  if (found == values_.end()) {
    return error(StatusCode::kCorrupt, "{}: key '{}': expected {}, but it is missing", file_, key, expected);
  }
  return &found->second;
}

Result<std::int64_t> GgufMetadata::integer(std::string_view key, std::int64_t least, std::int64_t most,
                                           std::optional<std::int64_t> fallback) const {
  if (fallback && !has(key)) return *fallback;
  const std::string expected = fmt::format("an integer from {} to {}", least, most);
  KVASIR_ASSIGN_OR_RETURN(const GgufValue* value, find(key, expected));
  const bool is_single = value->type != GgufType::kString && value->type != GgufType::kArray;
  const auto integer = is_single ? as_integer(value->type, value->bytes.data()) : std::nullopt;
  if (!integer || *integer < least || *integer > most) return wrong(key, expected, *value);
  return *integer;
}

Result<double> GgufMetadata::number(std::string_view key, std::optional<double> fallback) const {
  if (fallback && !has(key)) return *fallback;
  KVASIR_ASSIGN_OR_RETURN(const GgufValue* value, find(key, "a number"));
  const bool is_single = value->type != GgufType::kString && value->type != GgufType::kArray;
  const auto number = is_single ? as_number(value->type, value->bytes.data()) : std::nullopt;
  if (!number || !std::isfinite(*number)) return wrong(key, "a finite number", *value);
  return *number;
}

Result<bool> GgufMetadata::boolean(std::string_view key, std::optional<bool> fallback) const {
  if (fallback && !has(key)) return *fallback;
  KVASIR_ASSIGN_OR_RETURN(const GgufValue* value, find(key, "a boolean"));
  if (value->type != GgufType::kBool) return wrong(key, "a boolean", *value);
  return value->bytes[0] == std::byte{1};
}

Result<std::string_view> GgufMetadata::text(std::string_view key,
                                            std::optional<std::string_view> fallback) const {
  if (fallback && !has(key)) return *fallback;
  KVASIR_ASSIGN_OR_RETURN(const GgufValue* value, find(key, "a text"));
  if (value->type != GgufType::kString) return wrong(key, "a text", *value);
  return as_text(value->bytes);
}

Result<std::vector<double>> GgufMetadata::numbers(std::string_view key) const {
  const std::string expected = fmt::format("an array of at most {} numbers", kMaxElements);
  KVASIR_ASSIGN_OR_RETURN(const GgufValue* value, find(key, expected));
  const GgufType type = value->element_type;
  if (value->type != GgufType::kArray || type == GgufType::kString || type == GgufType::kArray ||
      value->size > kMaxElements) {
    return wrong(key, expected, *value);
  }
  std::vector<double> numbers;
  numbers.reserve(value->size);
  const std::size_t bytes = value_bytes(type);
  for (std::uint64_t i = 0; i < value->size; ++i) {
    const std::byte* from = value->bytes.data() + i * bytes;
    const auto number = type == GgufType::kBool ? static_cast<double>(*from) : as_number(type, from);
    if (!number || !std::isfinite(*number)) {
      return error(StatusCode::kCorrupt, "{}: key '{}': element {}: expected a finite number", file_, key, i);
    }
    numbers.push_back(*number);
  }
  return numbers;
}

Result<std::vector<std::string_view>> GgufMetadata::texts(std::string_view key) const {
  const std::string expected = fmt::format("an array of at most {} texts", kMaxElements);
  KVASIR_ASSIGN_OR_RETURN(const GgufValue* value, find(key, expected));
  if (value->type != GgufType::kArray || value->element_type != GgufType::kString ||
      value->size > kMaxElements) {
    return wrong(key, expected, *value);
  }
  std::vector<std::string_view> texts;
  texts.reserve(value->size);
  const std::byte* at = value->bytes.data();
  for (std::uint64_t i = 0; i < value->size; ++i) {
    const auto bytes = load<std::uint64_t>(at);
    at += sizeof bytes;
    texts.push_back(as_text({at, bytes}));
    at += bytes;
  }
  return texts;
}

}  // namespace kvasir::format
