#pragma once

// A model ready to run, with its tokenizer: from a folder, or the one in the binary.

#include <memory>
#include <string>

#include "apps/options.h"
#include "base/thread_pool.h"
#include "format/model_files.h"
#include "model/model.h"
#include "tokenizer/tokenizer.h"

namespace kvasir {

struct LoadedModel {
  std::unique_ptr<ThreadPool> pool;
  std::unique_ptr<format::ModelFiles> files;
  std::unique_ptr<model::Model> model;
  std::unique_ptr<tokenizer::Tokenizer> tokenizer;
};

// The files of a folder; of the embedded model when `folder` is empty.
Result<format::ModelFiles> open_model_files(const std::string& folder);

Result<std::unique_ptr<tokenizer::Tokenizer>> load_tokenizer(format::ModelFiles& files);

// Says on standard error what it does. Errors: those of the parts; a tokenizer with ids that the model lacks.
Result<LoadedModel> load_model(const ModelOptions& options);

}  // namespace kvasir
