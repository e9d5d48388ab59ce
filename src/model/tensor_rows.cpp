#include "model/tensor_rows.h"

#include <cstring>

namespace kvasir::model {
namespace {

using backend::BlockType;
using format::TensorInfo;

bool is_aligned(const void* data, std::size_t bytes) {
  return reinterpret_cast<std::uintptr_t>(data) % bytes == 0;
}

std::vector<float> expand_blocks(BlockType stored, const std::byte* blocks, std::size_t count) {
  std::vector<float> floats(count);
  backend::expand(stored, blocks, count / backend::block_size(stored).weights, floats.data());
  return floats;
}

}  // namespace

std::optional<BlockType> stored_type(const TensorInfo& info) {
  return backend::block_type_of(info.dtype_name);
}

backend::WeightDtype natural_dtype(BlockType stored) {
  return backend::held_as(stored).value_or(backend::WeightDtype::kQ8_0);
}

bool is_ready(const TensorInfo& info, backend::WeightDtype dtype) {
  const auto stored = stored_type(info);
  return stored && backend::held_as(*stored) == dtype && !backend::is_quantized(dtype) &&
         info.row_order.empty() && is_aligned(info.data.data(), backend::element_bytes(dtype));
}

void convert_tensor_rows(const TensorInfo& info, std::span<const std::int32_t> rows, int columns,
                         backend::WeightDtype dtype, std::byte* to) {
  const BlockType stored = *stored_type(info);
  const backend::BlockSize block = backend::block_size(stored);
  const std::size_t row_bytes = columns / block.weights * block.bytes;
  const int num_rows = static_cast<int>(rows.size());
  const std::byte* from = info.data.data() + rows.front() * row_bytes;
  std::vector<std::byte> gathered;
  if (!info.row_order.empty() || rows.back() - rows.front() + 1 != num_rows) {
    gathered.resize(num_rows * row_bytes);
    for (int i = 0; i < num_rows; ++i) {
      const std::size_t row = info.row_order.empty() ? rows[i] : info.row_order[rows[i]];
      std::memcpy(gathered.data() + i * row_bytes, info.data.data() + row * row_bytes, row_bytes);
    }
    from = gathered.data();
  }
  const auto own = backend::held_as(stored);
  if (own && !backend::is_quantized(*own)) {
    backend::convert_rows(from, *own, to, dtype, num_rows, columns, 0, num_rows);
  } else if (own == dtype) {
    backend::pack_block_rows(from, dtype, to, num_rows, columns, 0, num_rows);
  } else {
    const std::vector<float> floats = expand_blocks(stored, from, std::size_t(num_rows) * columns);
    backend::convert_rows(floats.data(), backend::WeightDtype::kF32, to, dtype, num_rows, columns, 0,
                          num_rows);
  }
}

std::vector<float> read_values(const TensorInfo& info) {
  const std::vector<float> stored = expand_blocks(*stored_type(info), info.data.data(), info.shape.back());
  std::vector<float> values(stored.size());
  for (std::size_t i = 0; i < values.size(); ++i) {
    values[i] = stored[info.row_order.empty() ? i : info.row_order[i]] - info.offset;
  }
  return values;
}

}  // namespace kvasir::model
