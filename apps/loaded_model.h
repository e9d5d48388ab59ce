#pragma once

// A model ready to run: from a folder, from the hub, or the one in the binary.

#include <functional>
#include <memory>
#include <stop_token>
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

// The files of what `--model` says (hub/model_reference.h), downloaded where they are not on this machine; of
// the embedded model when it is empty. Errors: kCancelled when it was stopped while downloading.
Result<format::ModelFiles> open_model_files(const std::string& model, const std::stop_token& stop = {});

// Asked before weights are read whether there is memory for them (model/load_options.h); may be empty.
using CheckMemory = std::function<Status(const model::ModelConfig& config, std::size_t weight_bytes)>;

// Says on standard error what it does.
Result<LoadedModel> load_model(const ModelOptions& options, const CheckMemory& check_memory = {},
                               const std::stop_token& stop = {});

// The tokenizer.json of the files.
Result<std::unique_ptr<tokenizer::Tokenizer>> load_tokenizer(format::ModelFiles& files);

}  // namespace kvasir
