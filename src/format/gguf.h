#pragma once

// GGUF files (https://github.com/ggml-org/ggml/blob/master/docs/gguf.md), versions 2 and 3, little-endian:
// hostile bytes in, checked views out. It copies neither metadata nor tensor data and does not know what the
// keys and tensors mean.
//
//   | "GGUF" | u32 version | u64 tensors | u64 keys | key, type, value | .. | name, shape, type, offset | ..
//   | zeros up to a multiple of the alignment | data of the tensors, each at its offset |

#include <cstddef>
#include <cstdint>
#include <functional>
#include <map>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/status.h"
#include "format/tensor.h"

namespace kvasir::format {

// The numbers of the format.
enum class GgufType : std::uint32_t {
  kUint8,
  kInt8,
  kUint16,
  kInt16,
  kUint32,
  kInt32,
  kFloat32,
  kBool,
  kString,
  kArray,
  kUint64,
  kInt64,
  kFloat64,
};

// Bytes of one value; 0 for texts and arrays, which say it themselves.
std::size_t value_bytes(GgufType type);

struct GgufValue {
  GgufType type = GgufType::kUint8;
  std::span<const std::byte> bytes;          // of a number; of a string's text; of an array's elements
  GgufType element_type = GgufType::kUint8;  // of an array
  std::uint64_t size = 0;                    // of an array: its number of elements
};

// The metadata of a file. Each reading function returns `fallback`, where there is one, for a key that is
// not there. Errors of all: kCorrupt naming file, key, what was expected and what is there.
class GgufMetadata {
 public:
  using Map = std::map<std::string_view, GgufValue, std::less<>>;

  GgufMetadata() = default;
  GgufMetadata(std::string file, Map values) : file_(std::move(file)), values_(std::move(values)) {}

  const std::string& file() const { return file_; }
  const Map& values() const { return values_; }
  bool has(std::string_view key) const { return values_.contains(key); }
  bool has_array(std::string_view key) const;

  // An integer of any type from `least` to `most`.
  Result<std::int64_t> integer(std::string_view key, std::int64_t least, std::int64_t most,
                               std::optional<std::int64_t> fallback = std::nullopt) const;
  // A finite number of any type.
  Result<double> number(std::string_view key, std::optional<double> fallback = std::nullopt) const;
  Result<bool> boolean(std::string_view key, std::optional<bool> fallback = std::nullopt) const;
  Result<std::string_view> text(std::string_view key,
                                std::optional<std::string_view> fallback = std::nullopt) const;

  // Arrays of at most 2^22 elements; of numbers or booleans of any type, and of strings. Views into the file.
  Result<std::vector<double>> numbers(std::string_view key) const;
  Result<std::vector<std::string_view>> texts(std::string_view key) const;

 private:
  Result<const GgufValue*> find(std::string_view key, std::string_view expected) const;
  Status wrong(std::string_view key, std::string_view expected, const GgufValue& value) const;

  std::string file_;
  Map values_;  // the keys are views into the file
};

struct Gguf {
  GgufMetadata metadata;
  TensorMap tensors;
};

// One file. `name` opens every message. The views point into `bytes`. Errors: kCorrupt; kUnsupported for
// another version or byte order and for tensor types that are not known. Memory: some hundred bytes for each
// of at most 65536 keys and as many tensors.
Result<Gguf> parse_gguf(const std::string& name, std::span<const std::byte> bytes);

// Gives the bytes of a file that lies beside the first one, by its name.
using SiblingReader = std::function<Result<std::span<const std::byte>>(const std::string& file)>;

// A model whose file is `path`, with the content `bytes`; or, when that is part of a split model, of all the
// parts, NAME-00001-of-00003.gguf and so on, of which `path` may be any: the metadata of the first and the
// tensors of all. Errors: those of parse_gguf and `read`; kCorrupt for parts that do not fit together.
Result<Gguf> read_gguf(const std::string& path, std::span<const std::byte> bytes, const SiblingReader& read);

}  // namespace kvasir::format
