#pragma once

// Writes a model as one GGUF file, its weights as they are or rounded to blocks.

#include <cstdint>
#include <optional>
#include <stop_token>
#include <string>
#include <vector>

#include "backend/block_types.h"
#include "base/status.h"
#include "format/model_files.h"

namespace kvasir::model {

struct ExportOptions {
  std::optional<backend::BlockType> type;  // nothing: matrices stay as stored
  bool replaces = false;                   // a file that is there already
  std::stop_token stop;
};

struct ExportSummary {
  struct TypeTotal {
    backend::BlockType type;
    int num_tensors = 0;
    std::int64_t num_weights = 0;
    std::uint64_t num_bytes = 0;
  };

  std::vector<TypeTotal> types;  // the one that most of the weights have first
  int num_unfit = 0;             // matrices whose rows are no whole blocks of the type that they should have
  std::uint64_t num_bytes = 0;   // of the file
  bool has_tokenizer = false;    // without one the file cannot be served
};

// With a type, matrices whose rows are whole blocks of it are rounded to it, but embedding and output keep 8
// bits where it has 4, and routers and learned positions stay; what does not fit is Q8_0 or F16. Tensors of
// one dimension are F32. The file is at `path` whole or not at all. Errors: kUnsupported and kCorrupt as for
// reading; kInvalidArgument when `path` is one of the files that are read, or must not be replaced;
// kUnavailable when another process writes it; kIo; kCancelled. Requires: can_compress(*options.type).
Result<ExportSummary> export_gguf(format::ModelFiles& files, const ExportOptions& options,
                                  const std::string& path);

}  // namespace kvasir::model
