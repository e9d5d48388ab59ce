#pragma once

// A model with everything that serving it takes: tokenizer, chat template, names.

#include <memory>
#include <stop_token>
#include <string>

#include "api/api_service.h"
#include "apps/loaded_model.h"
#include "apps/options.h"
#include "tokenizer/chat_template_files.h"
#include "tokenizer/tokenizer.h"

namespace kvasir {

struct ServedModel {
  LoadedModel loaded;
  std::unique_ptr<tokenizer::Tokenizer> tokenizer;
  tokenizer::ChatTemplates templates;
  api::ModelFacts facts;

  // What the service needs; refers to this object.
  api::ApiService::Parts parts(engine::Engine& engine, const Clock& clock) const;
};

// Says in the log what a user should know of the chat template.
Result<ServedModel> load_served_model(const ModelOptions& model_options, const ServeOptions& options,
                                      const CheckMemory& check_memory = {}, const std::stop_token& stop = {});

}  // namespace kvasir
