#pragma once

// A Hugging Face folder as the GGUF file that llama.cpp's converter would make of it.

#include "base/status.h"
#include "format/gguf_writer.h"
#include "format/model_files.h"
#include "model/gguf_options.h"

namespace kvasir::model {

// Adds the folder's metadata to the writer and gives its tensors, views into `files`. Of models for text and
// images it is the part for text. Errors: those of reading a config; kUnsupported naming an option, a tensor
// or a tokenizer that the format has nothing for; kCorrupt.
Result<GgufTensors> add_folder(format::ModelFiles& files, format::GgufWriter& writer);

}  // namespace kvasir::model
