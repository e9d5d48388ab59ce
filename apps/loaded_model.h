#pragma once

// A model ready to run: from a folder, or the one in the binary.

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
};

// The files of a folder; of the embedded model when `folder` is empty.
Result<format::ModelFiles> open_model_files(const std::string& folder);

// Says on standard error what it does.
Result<LoadedModel> load_model(const ModelOptions& options);

// The tokenizer.json of the files.
Result<std::unique_ptr<tokenizer::Tokenizer>> load_tokenizer(format::ModelFiles& files);

}  // namespace kvasir
