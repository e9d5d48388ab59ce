#pragma once

// The names of GGUF files, which say what part of a model they are and in which quantisation. No side
// effects.

#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/status.h"

namespace kvasir::hub {

// "model-00002-of-00003.gguf": part 2 of 3.
struct GgufPart {
  std::string prefix;  // "model", with its folder if it has one
  int number = 0;      // from 1 to `count`
  int count = 0;
};

// Nothing for a file that is not one of several.
std::optional<GgufPart> parse_gguf_part(std::string_view path);

// All parts of the model that `path` is one of, in order; `path` alone when the model is in one file.
std::vector<std::string> gguf_parts(std::string_view path);

// Those of `paths` that open a model: GGUF files, of several parts the first.
std::vector<std::string> gguf_models(std::span<const std::string> paths);

// The model that `spec` means among the files `paths` of `owner` (which opens every message): a path, a
// file's name, or a quantisation such as q4_k_m in either case, which the name must end with. Returns its
// first part. Errors: kNotFound for none and kInvalidArgument for several, with what there is.
Result<std::string> find_gguf(std::string_view owner, std::string_view spec,
                              std::span<const std::string> paths);

// For messages: the names, or the first of them and how many more there are.
std::string join_names(std::span<const std::string> names);

}  // namespace kvasir::hub
