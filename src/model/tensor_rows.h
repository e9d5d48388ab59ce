#pragma once

// The rows of a file's tensor, whatever its type and however they lie, in the forms that weights are held in.

#include <cstdint>
#include <optional>
#include <span>
#include <vector>

#include "backend/block_types.h"
#include "backend/matrix.h"
#include "format/tensor.h"

namespace kvasir::model {

// Nothing for a type that we cannot read.
std::optional<backend::BlockType> stored_type(const format::TensorInfo& info);

// The form of a matrix that is stored like this where no other is asked for: its own, or for blocks that
// there is no product with, q8_0.
backend::WeightDtype natural_dtype(backend::BlockType stored);

// Whether the bytes of the file are the matrix in this form.
bool is_ready(const format::TensorInfo& info, backend::WeightDtype dtype);

// Writes these rows of a matrix (rows, columns), in ascending order, as a matrix of `dtype` at `to`: blocks
// of that very type as they are, all else rounded once. Requires: stored_type(info); a matrix of a form with
// super-blocks is stored in it.
void convert_tensor_rows(const format::TensorInfo& info, std::span<const std::int32_t> rows, int columns,
                         backend::WeightDtype dtype, std::byte* to);

// All values of a tensor of one dimension. Requires: stored_type(info).
std::vector<float> read_values(const format::TensorInfo& info);

}  // namespace kvasir::model
