#pragma once

// What people write after --model, taken apart:
//
//   (nothing)                     the model in the binary
//   models/llama                  a folder in the form of Hugging Face
//   model.gguf                    a file; model-00001-of-00003.gguf: with the others beside it
//   org/name[@revision]           a repository of the hub
//   org/name[@revision]:Q4_K_M    one of its GGUF files, by quantisation or by name

#include <string>
#include <string_view>

#include "base/status.h"

namespace kvasir::hub {

struct ModelReference {
  enum class Kind { kEmbedded, kFolder, kGgufFile, kRepo };

  Kind kind = Kind::kEmbedded;
  std::string path;      // of a folder or a file
  std::string repo;      // "org/name"
  std::string revision;  // of the repository; empty: none was given
  std::string file;      // a GGUF file's path or name, or a quantisation; empty: the model in safetensors

  std::string_view revision_or_main() const { return revision.empty() ? std::string_view("main") : revision; }

  // The path, or the repository as it was written.
  std::string text() const;
};

// A path that exists counts before a repository of that name. Errors: kNotFound for what looks like a path;
// kInvalidArgument for a file of another kind and for what is neither.
Result<ModelReference> parse_model_reference(std::string_view text);

// A repository, whatever paths there are. Errors: kInvalidArgument.
Result<ModelReference> parse_repo_reference(std::string_view text);

}  // namespace kvasir::hub
