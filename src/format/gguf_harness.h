#pragma once

// GGUF files byte by byte, right or wrong: for tests.

#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "format/gguf.h"

namespace kvasir::format {

class GgufBuilder {
 public:
  template <typename T>
  static std::string raw(T value) {
    return std::string(reinterpret_cast<const char*>(&value), sizeof value);
  }
  static std::string text(std::string_view value) {
    return raw<std::uint64_t>(value.size()) + std::string(value);
  }

  // A key with any bytes as its value.
  GgufBuilder& key(std::string_view name, GgufType type, const std::string& value) {
    keys_ += text(name) + raw(type) + value;
    ++num_keys_;
    return *this;
  }
  GgufBuilder& number(std::string_view name, std::uint32_t value) {
    return key(name, GgufType::kUint32, raw(value));
  }
  GgufBuilder& number(std::string_view name, float value) {
    return key(name, GgufType::kFloat32, raw(value));
  }
  GgufBuilder& boolean(std::string_view name, bool value) {
    return key(name, GgufType::kBool, std::string(1, value ? '\1' : '\0'));
  }
  GgufBuilder& string(std::string_view name, std::string_view value) {
    return key(name, GgufType::kString, text(value));
  }
  GgufBuilder& strings(std::string_view name, const std::vector<std::string>& values) {
    std::string bytes = raw(GgufType::kString) + raw<std::uint64_t>(values.size());
    for (const std::string& value : values) bytes += text(value);
    return key(name, GgufType::kArray, bytes);
  }
  template <typename T>
  GgufBuilder& array(std::string_view name, GgufType element_type, const std::vector<T>& values) {
    std::string bytes = raw(element_type) + raw<std::uint64_t>(values.size());
    for (const T& value : values) bytes += raw(value);
    return key(name, GgufType::kArray, bytes);
  }

  // `shape` with the innermost dimension first, as in the file.
  GgufBuilder& tensor(std::string_view name, const std::vector<std::uint64_t>& shape, std::uint32_t type,
                      std::uint64_t offset) {
    tensors_ += text(name) + raw(static_cast<std::uint32_t>(shape.size()));
    for (const std::uint64_t size : shape) tensors_ += raw(size);
    tensors_ += raw(type) + raw(offset);
    ++num_tensors_;
    return *this;
  }

  // Fields of the header as they are written, in place of the true ones.
  std::uint32_t version = 3;
  std::uint64_t extra_tensors = 0;

  // The file, padded to `alignment`, with these bytes of data.
  std::string build(std::size_t data_bytes = 0, std::size_t alignment = 32) const {
    std::string file = "GGUF" + raw(version) + raw<std::uint64_t>(num_tensors_ + extra_tensors) +
                       raw<std::uint64_t>(num_keys_) + keys_ + tensors_;
    file.resize((file.size() + alignment - 1) / alignment * alignment);
    return file + std::string(data_bytes, '\1');
  }

 private:
  std::string keys_, tensors_;
  std::uint64_t num_keys_ = 0, num_tensors_ = 0;
};

}  // namespace kvasir::format
