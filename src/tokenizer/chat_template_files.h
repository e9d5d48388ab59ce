#pragma once

// The chat template among a model's files.

#include <memory>
#include <string>

#include "base/status.h"
#include "format/model_files.h"
#include "tokenizer/chat_template.h"

namespace kvasir::tokenizer {

struct ChatTemplates {
  std::unique_ptr<ChatTemplate> chat;      // null: the model has none
  std::unique_ptr<ChatTemplate> tool_use;  // null: `chat` renders tools as well
  std::string bos_token, eos_token;        // empty: none

  // The template of a request with tools, or without.
  const ChatTemplate* select(bool has_tools) const {
    return has_tools && tool_use ? tool_use.get() : chat.get();
  }
};

// The template in chat_template.jinja, else that in tokenizer_config.json: a string, or a list of {name,
// template} in which `default` and `tool_use` count. The texts of the tokens are in tokenizer_config.json, as
// a string or an object with the key `content`. A model without these files has no template. Errors: those of
// reading and parsing; kCorrupt for fields of another form.
Result<ChatTemplates> load_chat_templates(format::ModelFiles& files);

}  // namespace kvasir::tokenizer
