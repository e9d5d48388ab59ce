#include "format/gguf.h"

#include <algorithm>
#include <bit>
#include <cstring>
#include <utility>

#include "base/bytes.h"
#include "format/gguf_types.h"
#include "format/printable.h"

namespace kvasir::format {
namespace {

constexpr std::uint64_t kMaxKeys = 1 << 16, kMaxTensors = 1 << 16;
constexpr std::uint64_t kMaxKeyBytes = 65535, kMaxTensorNameBytes = 127;
constexpr std::uint32_t kMaxDimensions = 4;
constexpr std::uint64_t kMinAlignment = 8, kMaxAlignment = 1 << 20, kDefaultAlignment = 32;
constexpr int kMaxArrayDepth = 4;

constexpr std::uint32_t kNumValueTypes = 13;

template <typename T>
T load(std::span<const std::byte> bytes) {
  T value;
  std::memcpy(&value, bytes.data(), sizeof value);
  return value;
}

// Takes fields from the front of a file; each failure names the field that is cut short.
class Cursor {
 public:
  Cursor(const std::string& file, std::span<const std::byte> bytes) : file_(file), bytes_(bytes) {}

  const std::string& file() const { return file_; }
  std::uint64_t at() const { return at_; }
  std::uint64_t left() const { return bytes_.size() - at_; }

  Result<std::span<const std::byte>> take(std::string_view what, std::uint64_t count) {
    if (count > left()) {
      return error(StatusCode::kCorrupt, "{}: {}: expected {} bytes at byte {}, but the file has {}", file_,
                   what, count, at_, bytes_.size());
    }
    const auto result = bytes_.subspan(at_, count);
    at_ += count;
    return result;
  }

  template <typename T>
  Status read(std::string_view what, T& out) {
    KVASIR_ASSIGN_OR_RETURN(const auto bytes, take(what, sizeof out));
    out = load<T>(bytes);
    return Status();
  }

  // A length and as many bytes.
  Status read_text(std::string_view what, std::uint64_t max_bytes, std::string_view& out) {
    std::uint64_t size = 0;
    KVASIR_RETURN_IF_ERROR(read(what, size));
    if (size > max_bytes) {
      return error(StatusCode::kCorrupt, "{}: {}: expected a text of at most {} bytes, got a length of {}",
                   file_, what, max_bytes, size);
    }
    KVASIR_ASSIGN_OR_RETURN(const auto bytes, take(what, size));
    out = as_text(bytes);
    return Status();
  }

 private:
  const std::string& file_;
  std::span<const std::byte> bytes_;
  std::uint64_t at_ = 0;
};

Status read_value_type(Cursor& cursor, std::string_view what, GgufType& out) {
  std::uint32_t number = 0;
  KVASIR_RETURN_IF_ERROR(cursor.read(what, number));
  if (number >= kNumValueTypes) {
    return error(StatusCode::kCorrupt, "{}: {}: expected a type from 0 to {}, got {}", cursor.file(), what,
                 kNumValueTypes - 1, number);
  }
  out = static_cast<GgufType>(number);
  return Status();
}

Status check_booleans(const std::string& file, std::string_view what, std::span<const std::byte> bytes) {
  for (const std::byte byte : bytes) {
    if (byte > std::byte{1}) {
      return error(StatusCode::kCorrupt, "{}: {}: expected a boolean of 0 or 1, got {}", file, what,
                   static_cast<int>(byte));
    }
  }
  return Status();
}

Status read_value(Cursor& cursor, std::string_view what, int depth, GgufValue& value);

Status read_array(Cursor& cursor, std::string_view what, int depth, GgufValue& array) {
  if (depth >= kMaxArrayDepth) {
    return error(StatusCode::kCorrupt, "{}: {}: arrays are nested deeper than {} levels", cursor.file(), what,
                 kMaxArrayDepth);
  }
  KVASIR_RETURN_IF_ERROR(read_value_type(cursor, what, array.element_type));
  KVASIR_RETURN_IF_ERROR(cursor.read(what, array.size));
  const bool is_nested = array.element_type == GgufType::kArray;
  const std::size_t fixed_bytes = value_bytes(array.element_type);
  const std::size_t least_bytes = fixed_bytes > 0 ? fixed_bytes : is_nested ? 12 : 8;
  if (array.size > cursor.left() / least_bytes) {
    return error(StatusCode::kCorrupt,
                 "{}: {}: claims {} elements of at least {} bytes, but {} bytes are left", cursor.file(),
                 what, array.size, least_bytes, cursor.left());
  }
  Cursor elements = cursor;
  if (fixed_bytes > 0) {
    KVASIR_ASSIGN_OR_RETURN(array.bytes, cursor.take(what, array.size * fixed_bytes));
    if (array.element_type != GgufType::kBool) return Status();
    return check_booleans(cursor.file(), what, array.bytes);
  }
  for (std::uint64_t i = 0; i < array.size; ++i) {
    GgufValue element{array.element_type, {}};
    KVASIR_RETURN_IF_ERROR(read_value(elements, what, depth + 1, element));
  }
  KVASIR_ASSIGN_OR_RETURN(array.bytes, cursor.take(what, elements.at() - cursor.at()));
  return Status();
}

// The value of value.type at the cursor.
Status read_value(Cursor& cursor, std::string_view what, int depth, GgufValue& value) {
  if (value.type == GgufType::kArray) return read_array(cursor, what, depth, value);
  if (value.type == GgufType::kString) {
    std::string_view text;
    KVASIR_RETURN_IF_ERROR(cursor.read_text(what, cursor.left(), text));
    value.bytes = std::as_bytes(std::span(text));
    return Status();
  }
  KVASIR_ASSIGN_OR_RETURN(value.bytes, cursor.take(what, value_bytes(value.type)));
  return value.type == GgufType::kBool ? check_booleans(cursor.file(), what, value.bytes) : Status();
}

Status read_metadata(Cursor& cursor, std::uint64_t count, GgufMetadata::Map& out) {
  for (std::uint64_t i = 0; i < count; ++i) {
    std::string_view key;
    KVASIR_RETURN_IF_ERROR(cursor.read_text(fmt::format("key {} of {}", i + 1, count), kMaxKeyBytes, key));
    const std::string what = fmt::format("key '{}'", printable(key));
    GgufValue value;
    KVASIR_RETURN_IF_ERROR(read_value_type(cursor, what, value.type));
    KVASIR_RETURN_IF_ERROR(read_value(cursor, what, 0, value));
    if (key.empty()) return error(StatusCode::kCorrupt, "{}: key {}: expected a name", cursor.file(), i + 1);
    if (!out.emplace(key, value).second) {
      return error(StatusCode::kCorrupt, "{}: {} occurs twice", cursor.file(), what);
    }
  }
  return Status();
}

Result<std::uint64_t> read_alignment(const GgufMetadata& metadata) {
  KVASIR_ASSIGN_OR_RETURN(const std::int64_t alignment, metadata.integer("general.alignment", kMinAlignment,
                                                                         kMaxAlignment, kDefaultAlignment));
  if (!std::has_single_bit(static_cast<std::uint64_t>(alignment))) {
    return error(StatusCode::kCorrupt, "{}: key 'general.alignment': expected a power of two, got {}",
                 metadata.file(), alignment);
  }
  return alignment;
}

// A tensor before the place of its data is known.
struct TensorEntry {
  std::string name;
  TensorInfo info;
  std::uint64_t offset = 0, bytes = 0;  // in the data
};

// The shape, with the last dimension in the file first, and the size.
Status read_shape(Cursor& cursor, const std::string& what, TensorEntry& entry, std::uint64_t& num_weights,
                  std::uint64_t& row_weights) {
  std::uint32_t num_dimensions = 0;
  KVASIR_RETURN_IF_ERROR(cursor.read(what + ": number of dimensions", num_dimensions));
  if (num_dimensions == 0 || num_dimensions > kMaxDimensions) {
    return error(StatusCode::kCorrupt, "{}: {}: expected 1 to {} dimensions, got {}", cursor.file(), what,
                 kMaxDimensions, num_dimensions);
  }
  num_weights = 1;
  for (std::uint32_t i = 0; i < num_dimensions; ++i) {
    std::uint64_t size = 0;
    KVASIR_RETURN_IF_ERROR(cursor.read(what + ": shape", size));
    if (size == 0 || size > INT64_MAX || __builtin_mul_overflow(num_weights, size, &num_weights)) {
      return error(StatusCode::kCorrupt,
                   "{}: {}: shape: expected counts from 1 whose product is a size, got {} as dimension {}",
                   cursor.file(), what, size, i);
    }
    if (i == 0) row_weights = size;
    entry.info.shape.push_back(static_cast<std::int64_t>(size));
  }
  std::reverse(entry.info.shape.begin(), entry.info.shape.end());
  return Status();
}

Status read_tensor(Cursor& cursor, const std::string& number, std::uint64_t alignment, TensorEntry& entry) {
  std::string_view name;
  KVASIR_RETURN_IF_ERROR(cursor.read_text(number, kMaxTensorNameBytes, name));
  if (name.empty()) return error(StatusCode::kCorrupt, "{}: {}: expected a name", cursor.file(), number);
  entry.name = name;
  const std::string what = fmt::format("tensor '{}'", printable(name));
  std::uint64_t num_weights = 0, row_weights = 0;
  KVASIR_RETURN_IF_ERROR(read_shape(cursor, what, entry, num_weights, row_weights));
  std::uint32_t type_number = 0;
  KVASIR_RETURN_IF_ERROR(cursor.read(what + ": type", type_number));
  const GgufTensorType* type = find_gguf_type(type_number);
  if (type == nullptr) {
    return error(StatusCode::kUnsupported, "{}: {}: type {} is not known", cursor.file(), what, type_number);
  }
  if (row_weights % type->weights != 0) {
    return error(StatusCode::kCorrupt, "{}: {}: expected rows of a multiple of {} weights for {}, got {}",
                 cursor.file(), what, type->weights, type->name, row_weights);
  }
  if (__builtin_mul_overflow(num_weights / type->weights, type->bytes, &entry.bytes)) {
    return error(StatusCode::kCorrupt, "{}: {}: shape: its size in bytes is beyond 64 bits", cursor.file(),
                 what);
  }
  KVASIR_RETURN_IF_ERROR(cursor.read(what + ": offset", entry.offset));
  if (entry.offset % alignment != 0) {
    return error(StatusCode::kCorrupt, "{}: {}: offset: expected a multiple of {}, got {}", cursor.file(),
                 what, alignment, entry.offset);
  }
  entry.info.file = cursor.file();
  entry.info.dtype = type->dtype;
  entry.info.dtype_name = type->name;
  return Status();
}

Status check_places(const std::string& file, std::vector<TensorEntry>& entries,
                    std::span<const std::byte> data) {
  std::sort(entries.begin(), entries.end(),
            [](const TensorEntry& a, const TensorEntry& b) { return a.offset < b.offset; });
  std::uint64_t end = 0;
  const TensorEntry* before = nullptr;
  for (const TensorEntry& entry : entries) {
    if (entry.offset < end) {
      return error(StatusCode::kCorrupt, "{}: tensor '{}': begins at byte {} of the data, inside '{}'", file,
                   printable(entry.name), entry.offset, printable(before->name));
    }
    if (__builtin_add_overflow(entry.offset, entry.bytes, &end) || end > data.size()) {
      return error(
          StatusCode::kCorrupt,
          "{}: tensor '{}': expected {} bytes at byte {} of the data, but the file has {} bytes of it", file,
          printable(entry.name), entry.bytes, entry.offset, data.size());
    }
    before = &entry;
  }
  return Status();
}

Status read_header(Cursor& cursor, std::uint64_t& num_tensors, std::uint64_t& num_keys) {
  KVASIR_ASSIGN_OR_RETURN(const auto magic, cursor.take("magic", 4));
  if (std::memcmp(magic.data(), "GGUF", 4) != 0) {
    return error(StatusCode::kCorrupt, "{}: expected a file that begins with 'GGUF'", cursor.file());
  }
  std::uint32_t version = 0;
  KVASIR_RETURN_IF_ERROR(cursor.read("version", version));
  if (version != 2 && version != 3) {
    const std::uint32_t swapped = __builtin_bswap32(version);
    return error(StatusCode::kUnsupported, "{}: {} version {} is not supported; expected 2 or 3",
                 cursor.file(), swapped <= 3 ? "big-endian GGUF" : "GGUF", swapped <= 3 ? swapped : version);
  }
  KVASIR_RETURN_IF_ERROR(cursor.read("number of tensors", num_tensors));
  KVASIR_RETURN_IF_ERROR(cursor.read("number of keys", num_keys));
  if (num_tensors > kMaxTensors) {
    return error(StatusCode::kCorrupt, "{}: expected at most {} tensors, got {}", cursor.file(), kMaxTensors,
                 num_tensors);
  }
  if (num_keys > kMaxKeys) {
    return error(StatusCode::kCorrupt, "{}: expected at most {} keys, got {}", cursor.file(), kMaxKeys,
                 num_keys);
  }
  return Status();
}

}  // namespace

Result<Gguf> parse_gguf(const std::string& name, std::span<const std::byte> bytes) {
  Cursor cursor(name, bytes);
  std::uint64_t num_tensors = 0, num_keys = 0;
  KVASIR_RETURN_IF_ERROR(read_header(cursor, num_tensors, num_keys));
  GgufMetadata::Map values;
  KVASIR_RETURN_IF_ERROR(read_metadata(cursor, num_keys, values));
  Gguf gguf;
  gguf.metadata = GgufMetadata(name, std::move(values));
  KVASIR_ASSIGN_OR_RETURN(const std::uint64_t alignment, read_alignment(gguf.metadata));
  std::vector<TensorEntry> entries;
  for (std::uint64_t i = 0; i < num_tensors; ++i) {
    TensorEntry entry;
    KVASIR_RETURN_IF_ERROR(
        read_tensor(cursor, fmt::format("tensor {} of {}", i + 1, num_tensors), alignment, entry));
    entries.push_back(std::move(entry));
  }
  const std::uint64_t begin =
      std::min<std::uint64_t>((cursor.at() + alignment - 1) / alignment * alignment, bytes.size());
  const std::span<const std::byte> data = bytes.subspan(begin);
  KVASIR_RETURN_IF_ERROR(check_places(name, entries, data));
  for (TensorEntry& entry : entries) {
    entry.info.data = data.subspan(entry.offset, entry.bytes);
    const auto [place, is_new] = gguf.tensors.emplace(entry.name, std::move(entry.info));
    if (!is_new) {
      return error(StatusCode::kCorrupt, "{}: tensor '{}' occurs twice", name, printable(entry.name));
    }
  }
  return gguf;
}

}  // namespace kvasir::format
