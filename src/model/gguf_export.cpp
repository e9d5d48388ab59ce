#include "model/gguf_export.h"

#include <cstring>
#include <vector>

#include "format/gguf.h"
#include "format/gguf_writer.h"
#include "model/gguf_from_folder.h"
#include "model/tensor_rows.h"

namespace kvasir::model {
namespace {

using backend::BlockType;
using format::GgufWriter;
using format::TensorInfo;

// general.file_type, which other readers show: what most of the weights are.
std::uint32_t file_type_number(BlockType type) {
  switch (type) {
    case BlockType::kF32:
      return 0;
    case BlockType::kQ4_0:
      return 2;
    case BlockType::kQ8_0:
      return 7;
    case BlockType::kQ4_K:
      return 15;
    default:
      return 1;
  }
}

// What routers and learned positions are rounded to costs more than their size is worth.
bool stays_as_stored(const std::string& name) {
  return name.ends_with(".ffn_gate_inp.weight") || name == "position_embd.weight";
}

// Of a matrix.
BlockType target_type(const std::string& name, const GgufTensor& tensor, BlockType wanted) {
  const bool is_sensitive = name == "token_embd.weight" || name == "output.weight";
  const bool has_4_bits = wanted == BlockType::kQ4_0 || wanted == BlockType::kQ4_K;
  for (const BlockType type : {is_sensitive && has_4_bits ? BlockType::kQ8_0 : wanted, BlockType::kQ8_0}) {
    if (tensor.shape.back() % backend::block_size(type).weights == 0) return type;
  }
  return BlockType::kF16;
}

// A matrix, or one for each expert, row by row as the file has them.
class RowWriter {
 public:
  RowWriter(const GgufTensor& tensor, BlockType stored, BlockType target)
      : tensor_(tensor),
        stored_(stored),
        target_(target),
        columns_(tensor.shape.back()),
        row_bytes_(bytes_of(stored)),
        target_bytes_(bytes_of(target)),
        rows_per_part_(tensor.parts.at(0).data.size() / row_bytes_) {}

  // Rows [first, last), in the type that they are to have.
  void write(std::int64_t first, std::int64_t last, std::byte* out) const {
    std::vector<std::byte> column(row_bytes_);
    std::vector<float> values(columns_);
    for (std::int64_t i = first; i < last; ++i, out += target_bytes_) {
      const std::byte* row = find(i, column);
      if (stored_ == target_) {
        std::memcpy(out, row, row_bytes_);
        continue;
      }
      backend::expand(stored_, row, columns_ / backend::block_size(stored_).weights, values.data());
      backend::compress(target_, values.data(), columns_ / backend::block_size(target_).weights, out);
    }
  }

 private:
  std::size_t bytes_of(BlockType type) const {
    return columns_ / backend::block_size(type).weights * backend::block_size(type).bytes;
  }

  // The bytes of row `i`; those of a column are gathered.
  const std::byte* find(std::size_t i, std::vector<std::byte>& column) const {
    const TensorInfo& part = tensor_.parts.at(i / rows_per_part_);
    std::size_t row = i % rows_per_part_;
    if (!part.row_order.empty()) row = part.row_order[row];
    if (!tensor_.is_transposed) return part.data.data() + row * row_bytes_;
    const std::size_t element = backend::block_size(stored_).bytes;
    for (std::size_t k = 0; k < columns_; ++k) {
      std::memcpy(column.data() + k * element, part.data.data() + (k * rows_per_part_ + row) * element,
                  element);
    }
    return column.data();
  }

  const GgufTensor& tensor_;
  const BlockType stored_, target_;
  const std::size_t columns_, row_bytes_, target_bytes_, rows_per_part_;
};

// Of one dimension: one row in the file, as all readers want it in F32.
void add_values(const std::string& name, const GgufTensor& tensor, GgufWriter& writer) {
  const auto source = [&tensor](std::int64_t, std::int64_t, std::byte* out) {
    const std::vector<float> values = tensor.parts.empty() ? tensor.values : read_values(tensor.parts.at(0));
    std::memcpy(out, values.data(), values.size() * sizeof(float));
  };
  writer.add_tensor(name, tensor.shape, "F32", source);
}

// `tensors` must outlive the writer.
Status add_tensors(const GgufTensors& tensors, std::optional<BlockType> wanted, GgufWriter& writer) {
  for (const auto& [name, tensor] : tensors) {
    const auto stored = tensor.parts.empty() ? BlockType::kF32 : stored_type(tensor.parts.at(0));
    if (!stored) {
      const TensorInfo& info = tensor.parts.at(0);
      return error(StatusCode::kUnsupported, "{}: tensor '{}': type {} cannot be read", info.file, name,
                   info.dtype_name);
    }
    if (tensor.shape.size() < 2) {
      add_values(name, tensor, writer);
      continue;
    }
    const BlockType target = wanted && !stays_as_stored(name) ? target_type(name, tensor, *wanted) : *stored;
    const RowWriter rows(tensor, *stored, target);
    writer.add_tensor(
        name, tensor.shape, backend::name_of(target),
        [rows](std::int64_t first, std::int64_t last, std::byte* out) { rows.write(first, last, out); });
  }
  return Status();
}

GgufTensors tensors_of(const format::Gguf& gguf) {
  GgufTensors tensors;
  for (const auto& [name, info] : gguf.tensors) {
    GgufTensor& tensor = tensors[name];
    tensor.shape = info.shape;
    tensor.parts.emplace(0, info);
  }
  return tensors;
}

void copy_metadata(const format::GgufMetadata& metadata, GgufWriter& writer) {
  for (const auto& [key, value] : metadata.values()) {
    if (key.starts_with("split.") || key == "general.alignment" || key == "general.file_type") continue;
    writer.add_value(key, value);
  }
}

}  // namespace

Status export_gguf(format::ModelFiles& files, std::optional<BlockType> type, const std::string& path) {
  GgufWriter writer;
  GgufTensors tensors;
  if (files.gguf() != nullptr) {
    copy_metadata(files.gguf()->metadata, writer);
    tensors = tensors_of(*files.gguf());
  } else {
    KVASIR_ASSIGN_OR_RETURN(tensors, add_folder(files, writer));
  }
  if (type) writer.add_count("general.file_type", file_type_number(*type));
  KVASIR_RETURN_IF_ERROR(add_tensors(tensors, type, writer));
  return writer.write(path);
}

}  // namespace kvasir::model
