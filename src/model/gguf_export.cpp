#include "model/gguf_export.h"

#include <algorithm>
#include <cstring>
#include <filesystem>
#include <functional>
#include <numeric>
#include <set>

#include "format/gguf.h"
#include "format/gguf_writer.h"
#include "format/new_file.h"
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
    case BlockType::kF16:
      return 1;
    case BlockType::kQ4_0:
      return 2;
    case BlockType::kQ4_1:
      return 3;
    case BlockType::kQ8_0:
      return 7;
    case BlockType::kQ5_0:
      return 8;
    case BlockType::kQ5_1:
      return 9;
    case BlockType::kQ2_K:
      return 10;
    case BlockType::kQ3_K:
      return 12;
    case BlockType::kQ4_K:
      return 15;
    case BlockType::kQ5_K:
      return 17;
    case BlockType::kQ6_K:
      return 18;
    case BlockType::kIq4Nl:
      return 25;
    case BlockType::kBf16:
      return 32;
  }
  return 0;
}

// What routers and learned positions are rounded to costs more than their size is worth.
bool stays_as_stored(const std::string& name) {
  return name.ends_with(".ffn_gate_inp.weight") || name == "position_embd.weight";
}

// Of a matrix, whatever its rows are.
BlockType best_type(const std::string& name, BlockType wanted) {
  const bool is_sensitive = name == "token_embd.weight" || name == "output.weight";
  const bool has_4_bits = wanted == BlockType::kQ4_0 || wanted == BlockType::kQ4_K;
  return is_sensitive && has_4_bits ? BlockType::kQ8_0 : wanted;
}

// That type, or the next one that has whole blocks in a row.
BlockType fitting_type(const GgufTensor& tensor, BlockType best) {
  for (const BlockType type : {best, BlockType::kQ8_0}) {
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

std::int64_t num_weights(const GgufTensor& tensor) {
  return std::accumulate(tensor.shape.begin(), tensor.shape.end(), std::int64_t{1}, std::multiplies<>());
}

// Counts a tensor of `num_weights` weights, a whole number of blocks.
void count(BlockType type, std::int64_t num_weights, ExportSummary& summary) {
  const backend::BlockSize block = backend::block_size(type);
  auto& totals = summary.types;
  auto total = std::find_if(totals.begin(), totals.end(), [&](const auto& t) { return t.type == type; });
  if (total == totals.end()) total = totals.insert(total, {type});
  ++total->num_tensors;
  total->num_weights += num_weights;
  total->num_bytes += num_weights / block.weights * block.bytes;
}

// `tensors` must outlive the writer.
Status add_tensors(const GgufTensors& tensors, std::optional<BlockType> wanted, GgufWriter& writer,
                   ExportSummary& summary) {
  for (const auto& [name, tensor] : tensors) {
    const auto stored = tensor.parts.empty() ? BlockType::kF32 : stored_type(tensor.parts.at(0));
    if (!stored) {
      const TensorInfo& info = tensor.parts.at(0);
      return error(StatusCode::kUnsupported, "{}: tensor '{}': type {} cannot be read", info.file, name,
                   info.dtype_name);
    }
    if (tensor.shape.size() < 2) {
      add_values(name, tensor, writer);
      count(BlockType::kF32, num_weights(tensor), summary);
      continue;
    }
    BlockType target = *stored;
    if (wanted && !stays_as_stored(name)) {
      const BlockType best = best_type(name, *wanted);
      target = fitting_type(tensor, best);
      if (target != best) ++summary.num_unfit;
    }
    const RowWriter rows(tensor, *stored, target);
    writer.add_tensor(
        name, tensor.shape, backend::name_of(target),
        [rows](std::int64_t first, std::int64_t last, std::byte* out) { rows.write(first, last, out); });
    count(target, num_weights(tensor), summary);
  }
  std::sort(summary.types.begin(), summary.types.end(),
            [](const auto& a, const auto& b) { return a.num_weights > b.num_weights; });
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

bool has_tokenizer(const format::ModelFiles& files) {
  if (files.gguf() == nullptr) return files.has("tokenizer.json");
  const auto& values = files.gguf()->metadata.values();
  return values.contains("tokenizer.ggml.model") || values.contains("tokenizer.huggingface.json");
}

// The files that a model is read from, as far as they are on a disk.
std::set<std::string> files_of(const format::ModelFiles& files) {
  std::set<std::string> paths;
  if (const format::Gguf* gguf = files.gguf()) {
    paths.insert(gguf->metadata.file());
    for (const auto& [name, tensor] : gguf->tensors) paths.insert(tensor.file);
    return paths;
  }
  std::error_code failure;
  std::filesystem::directory_iterator entry(files.name(), failure), end;
  for (; !failure && entry != end; entry.increment(failure)) {
    if (entry->path().extension() != ".gguf") paths.insert(entry->path().string());
  }
  return paths;
}

// A file that is read must not be replaced, under whatever name.
Status check_is_no_input(const format::ModelFiles& files, const std::string& path) {
  for (const std::string& input : files_of(files)) {
    std::error_code failure;
    if (!std::filesystem::equivalent(input, path, failure)) continue;
    return error(StatusCode::kInvalidArgument,
                 "{}: is a file of the model that is read; expected another name for the new one", path);
  }
  return Status();
}

}  // namespace

Result<ExportSummary> export_gguf(format::ModelFiles& files, const ExportOptions& options,
                                  const std::string& path) {
  KVASIR_RETURN_IF_ERROR(check_is_no_input(files, path));
  KVASIR_ASSIGN_OR_RETURN(format::NewFile file, format::NewFile::create(path, options.replaces));
  GgufWriter writer;
  GgufTensors tensors;
  if (files.gguf() != nullptr) {
    copy_metadata(files.gguf()->metadata, writer);
    tensors = tensors_of(*files.gguf());
  } else {
    KVASIR_ASSIGN_OR_RETURN(tensors, add_folder(files, writer));
  }
  ExportSummary summary;
  KVASIR_RETURN_IF_ERROR(add_tensors(tensors, options.type, writer, summary));
  if (!summary.types.empty()) {
    writer.add_count("general.file_type", file_type_number(summary.types.front().type));
  }
  KVASIR_RETURN_IF_ERROR(writer.write_to(file, options.stop));
  KVASIR_RETURN_IF_ERROR(file.publish());
  summary.num_bytes = file.size();
  summary.has_tokenizer = has_tokenizer(files);
  return summary;
}

}  // namespace kvasir::model
