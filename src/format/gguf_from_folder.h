#pragma once

// The other direction of gguf_config.h, gguf_names.h and gguf_tokenizer.h: what a Hugging Face folder says of
// its model, as the metadata of a GGUF file.

#include <string>

#include "base/status.h"
#include "format/gguf_writer.h"
#include "format/model_files.h"
#include "format/tensor.h"

namespace kvasir::format {

// Adds the keys of config.json and, where they are, of tokenizer.json (which goes into the file as a whole,
// too) and the chat template. Llama, Mistral, Qwen 2 and Qwen 3. Errors: kUnsupported for another family, and
// for an option or tokenizer that the format has no key for; kCorrupt; those of reading.
Status add_folder_metadata(ModelFiles& files, GgufWriter& writer);

// The tensors of such a folder under their GGUF names, with row_order for rows that lie otherwise there.
// Errors: kUnsupported naming a tensor that the family does not have.
Result<TensorMap> folder_tensors(ModelFiles& files);

}  // namespace kvasir::format
