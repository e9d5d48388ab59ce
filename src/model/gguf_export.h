#pragma once

// Writes a model as one GGUF file, its weights as they are or rounded to blocks.

#include <optional>
#include <string>

#include "backend/block_types.h"
#include "base/status.h"
#include "format/model_files.h"

namespace kvasir::model {

// Without a type matrices stay as stored. With one, those whose rows are whole blocks of it are rounded to
// it, but embedding and output keep 8 bits where it has 4, and routers and learned positions stay; what does
// not fit is Q8_0 or F16. Tensors of one dimension are F32. Errors: kUnsupported and kCorrupt as for reading;
// kIo. Requires: can_compress(*type).
Status export_gguf(format::ModelFiles& files, std::optional<backend::BlockType> type,
                   const std::string& path);

}  // namespace kvasir::model
