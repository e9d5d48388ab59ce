#include "model/gguf_export.h"

#include <cstring>
#include <vector>

#include "format/gguf.h"
#include "format/gguf_from_folder.h"
#include "format/gguf_writer.h"
#include "model/model_config.h"
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

BlockType target_type(const std::string& name, const TensorInfo& info, BlockType wanted) {
  if (info.shape.size() < 2) return BlockType::kF32;
  const bool is_sensitive = name == "token_embd.weight" || name == "output.weight";
  const bool has_4_bits = wanted == BlockType::kQ4_0 || wanted == BlockType::kQ4_K;
  for (const BlockType type : {is_sensitive && has_4_bits ? BlockType::kQ8_0 : wanted, BlockType::kQ8_0}) {
    if (info.shape.back() % backend::block_size(type).weights == 0) return type;
  }
  return BlockType::kF16;
}

// Rows [first, last) of a tensor, in another type where that differs.
void write_rows(const TensorInfo& info, BlockType stored, BlockType target, std::int64_t first,
                std::int64_t last, std::byte* out) {
  const auto columns = static_cast<std::size_t>(info.shape.size() < 2 ? 1 : info.shape.back());
  const backend::BlockSize from = backend::block_size(stored), to = backend::block_size(target);
  const std::size_t row_bytes = columns / from.weights * from.bytes;
  std::vector<float> row(columns);
  for (std::int64_t i = first; i < last; ++i) {
    const std::byte* source = info.data.data() + (info.row_order.empty() ? i : info.row_order[i]) * row_bytes;
    std::byte* place = out + (i - first) * (columns / to.weights * to.bytes);
    if (stored == target) {
      std::memcpy(place, source, row_bytes);
      continue;
    }
    backend::expand(stored, source, columns / from.weights, row.data());
    backend::compress(target, row.data(), columns / to.weights, place);
  }
}

Status add_tensors(const format::TensorMap& tensors, std::optional<BlockType> wanted, GgufWriter& writer) {
  for (const auto& [name, info] : tensors) {
    const auto stored = stored_type(info);
    if (!stored) {
      return error(StatusCode::kUnsupported, "{}: tensor '{}': type {} cannot be read", info.file, name,
                   info.dtype_name);
    }
    const BlockType target = wanted ? target_type(name, info, *wanted) : *stored;
    // Of one dimension: one row in the file, of which write_rows() makes as many as there are values.
    const bool is_row = info.shape.size() < 2;
    const auto source = [&info = info, stored = *stored, target, is_row](std::int64_t first,
                                                                         std::int64_t last, std::byte* out) {
      write_rows(info, stored, target, is_row ? 0 : first, is_row ? info.shape[0] : last, out);
    };
    writer.add_tensor(name, info.shape, backend::name_of(target), source);
  }
  return Status();
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
  format::TensorMap made;
  const format::TensorMap* tensors = &made;
  if (files.gguf() != nullptr) {
    copy_metadata(files.gguf()->metadata, writer);
    tensors = &files.gguf()->tensors;
  } else {
    // What may be ignored there has been refused here if it changes the result.
    KVASIR_RETURN_IF_ERROR(read_model_config(files).status());
    KVASIR_RETURN_IF_ERROR(format::add_folder_metadata(files, writer));
    KVASIR_ASSIGN_OR_RETURN(made, format::folder_tensors(files));
  }
  if (type) writer.add_count("general.file_type", file_type_number(*type));
  KVASIR_RETURN_IF_ERROR(add_tensors(*tensors, type, writer));
  return writer.write(path);
}

}  // namespace kvasir::model
