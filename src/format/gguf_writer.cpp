#include "format/gguf_writer.h"

#include <algorithm>
#include <numeric>
#include <span>

#include "base/bytes.h"
#include "base/check.h"
#include "format/gguf_types.h"

namespace kvasir::format {
namespace {

constexpr std::uint32_t kVersion = 3;
constexpr std::size_t kAlignment = 32;
constexpr std::size_t kChunkBytes = 1 << 22;  // of a tensor, in memory at once

template <typename T>
void append(std::string& to, T value) {
  to.append(reinterpret_cast<const char*>(&value), sizeof value);
}

void append_text(std::string& to, std::string_view text) {
  append<std::uint64_t>(to, text.size());
  to += text;
}

std::size_t padding_after(std::size_t bytes) {
  return (kAlignment - bytes % kAlignment) % kAlignment;
}

std::int64_t num_rows(const std::vector<std::int64_t>& shape) {
  return std::accumulate(shape.begin(), shape.end() - 1, std::int64_t{1}, std::multiplies<>());
}

}  // namespace

void GgufWriter::add_key(std::string_view key, GgufType type) {
  append_text(keys_, key);
  append(keys_, type);
  ++num_keys_;
}

void GgufWriter::add_text(std::string_view key, std::string_view value) {
  add_key(key, GgufType::kString);
  append_text(keys_, value);
}

void GgufWriter::add_count(std::string_view key, std::uint32_t value) {
  add_key(key, GgufType::kUint32);
  append(keys_, value);
}

void GgufWriter::add_number(std::string_view key, float value) {
  add_key(key, GgufType::kFloat32);
  append(keys_, value);
}

void GgufWriter::add_boolean(std::string_view key, bool value) {
  add_key(key, GgufType::kBool);
  append<std::uint8_t>(keys_, value ? 1 : 0);
}

void GgufWriter::add_booleans(std::string_view key, const std::vector<bool>& values) {
  const std::string bytes(values.begin(), values.end());
  add_value(key, {GgufType::kArray, std::as_bytes(std::span(bytes)), GgufType::kBool, values.size()});
}

void GgufWriter::add_texts(std::string_view key, const std::vector<std::string>& values) {
  std::string bytes;
  for (const std::string& value : values) append_text(bytes, value);
  add_value(key, {GgufType::kArray, std::as_bytes(std::span(bytes)), GgufType::kString, values.size()});
}

void GgufWriter::add_integers(std::string_view key, const std::vector<std::int32_t>& values) {
  add_value(key, {GgufType::kArray, std::as_bytes(std::span(values)), GgufType::kInt32, values.size()});
}

void GgufWriter::add_numbers(std::string_view key, const std::vector<float>& values) {
  add_value(key, {GgufType::kArray, std::as_bytes(std::span(values)), GgufType::kFloat32, values.size()});
}

void GgufWriter::add_value(std::string_view key, const GgufValue& value) {
  add_key(key, value.type);
  if (value.type == GgufType::kArray) {
    append(keys_, value.element_type);
    append(keys_, value.size);
  } else if (value.type == GgufType::kString) {
    append<std::uint64_t>(keys_, value.bytes.size());
  }
  keys_.append(as_text(value.bytes));
}

void GgufWriter::add_tensor(const std::string& name, std::vector<std::int64_t> shape, std::string_view type,
                            RowSource source) {
  const GgufTensorType* known = find_gguf_type(type);
  KVASIR_CHECK(known != nullptr && !shape.empty() && shape.back() % known->weights == 0);
  const std::size_t row_bytes = shape.back() / known->weights * known->bytes;
  tensors_.push_back({name, std::move(shape), known->number, row_bytes, std::move(source)});
}

std::string GgufWriter::header() const {
  std::string header = "GGUF";
  append(header, kVersion);
  append<std::uint64_t>(header, tensors_.size());
  append(header, num_keys_);
  header += keys_;
  std::uint64_t offset = 0;
  for (const Tensor& tensor : tensors_) {
    append_text(header, tensor.name);
    append(header, static_cast<std::uint32_t>(tensor.shape.size()));
    for (auto size = tensor.shape.rbegin(); size != tensor.shape.rend(); ++size) append(header, *size);
    append(header, tensor.type);
    append(header, offset);
    const std::uint64_t bytes = num_rows(tensor.shape) * tensor.row_bytes;
    offset += bytes + padding_after(bytes);
  }
  header.append(padding_after(header.size()), '\0');
  return header;
}

Status GgufWriter::write_to(NewFile& file, const std::stop_token& stop) const {
  const std::string start = header();
  KVASIR_RETURN_IF_ERROR(file.write(start.data(), start.size()));
  std::vector<std::byte> chunk;
  for (const Tensor& tensor : tensors_) {
    const std::int64_t rows = num_rows(tensor.shape);
    const auto rows_at_once =
        static_cast<std::int64_t>(std::max<std::size_t>(1, kChunkBytes / tensor.row_bytes));
    for (std::int64_t first = 0; first < rows; first += rows_at_once) {
      if (stop.stop_requested()) return error(StatusCode::kCancelled, "{}: stopped", file.path());
      const std::int64_t last = std::min(rows, first + rows_at_once);
      chunk.resize((last - first) * tensor.row_bytes);
      tensor.source(first, last, chunk.data());
      KVASIR_RETURN_IF_ERROR(file.write(chunk.data(), chunk.size()));
    }
    const std::string padding(padding_after(rows * tensor.row_bytes), '\0');
    KVASIR_RETURN_IF_ERROR(file.write(padding.data(), padding.size()));
  }
  return Status();
}

}  // namespace kvasir::format
