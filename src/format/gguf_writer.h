#pragma once

// Writes GGUF files, version 3. Metadata is kept in memory, tensors are asked for as they are written.

#include <cstddef>
#include <cstdint>
#include <functional>
#include <stop_token>
#include <string>
#include <string_view>
#include <vector>

#include "base/status.h"
#include "format/gguf.h"
#include "format/new_file.h"

namespace kvasir::format {

class GgufWriter {
 public:
  // Keys are written in the order in which they are added; each once.
  void add_text(std::string_view key, std::string_view value);
  void add_count(std::string_view key, std::uint32_t value);
  void add_number(std::string_view key, float value);
  void add_boolean(std::string_view key, bool value);
  void add_booleans(std::string_view key, const std::vector<bool>& values);
  void add_texts(std::string_view key, const std::vector<std::string>& values);
  void add_integers(std::string_view key, const std::vector<std::int32_t>& values);
  void add_numbers(std::string_view key, const std::vector<float>& values);
  // As another file has it.
  void add_value(std::string_view key, const GgufValue& value);

  // Writes the rows [first, last) of a tensor as they are stored.
  using RowSource = std::function<void(std::int64_t first, std::int64_t last, std::byte* out)>;

  // A tensor of this shape (row-major) and type, "Q4_0". Requires: a type of the format; rows of whole
  // blocks.
  void add_tensor(const std::string& name, std::vector<std::int64_t> shape, std::string_view type,
                  RowSource source);

  // The file up to the data of the tensors.
  std::string header() const;

  // Writes all of it. Errors: kIo with the reason; kCancelled.
  Status write_to(NewFile& file, const std::stop_token& stop) const;

 private:
  struct Tensor {
    std::string name;
    std::vector<std::int64_t> shape;
    std::uint32_t type;
    std::size_t row_bytes;
    RowSource source;
  };

  void add_key(std::string_view key, GgufType type);

  std::string keys_;
  std::uint64_t num_keys_ = 0;
  std::vector<Tensor> tensors_;
};

}  // namespace kvasir::format
