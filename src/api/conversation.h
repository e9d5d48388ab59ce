#pragma once

// A conversation on its way to a prompt: messages and tools as chat templates expect them, the template's
// text, and the text's tokens. All chat APIs come through here.

#include <memory>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <variant>
#include <vector>

#include "api/field_reader.h"
#include "api/reply_memory.h"
#include "base/status.h"
#include "tokenizer/chat_template_files.h"
#include "tokenizer/tokenizer.h"

namespace kvasir::api {

// In the shape of OpenAI's chat API with each content a string and the arguments of tool calls objects: what
// Hugging Face templates read.
struct Conversation {
  nlohmann::ordered_json messages = nlohmann::ordered_json::array();
  nlohmann::ordered_json tools;                                         // null: none
  nlohmann::ordered_json variables = nlohmann::ordered_json::object();  // further ones of the template
  bool add_generation_prompt = true;
  bool continue_final_message = false;  // the prompt ends in the last message, which the reply goes on with

  bool operator==(const Conversation&) const = default;
};

// OpenAI's `messages`: checked, parts of content joined, arguments parsed, nulls left out.
void read_messages(FieldReader& reader, Conversation& conversation);
// OpenAI's `tools`; those of other APIs are translated first.
void read_tools(FieldReader& reader, const char* key, Conversation& conversation);

// What templates read beside messages and tools: add_generation_prompt, chat_template_kwargs and the like.
void read_template_variables(FieldReader& reader, Conversation& conversation);

// Text parts of a content, one to a line. `what` names it in the refusal.
std::variant<std::string, Refusal> join_parts(const nlohmann::ordered_json& content, const std::string& what);

// The template of a model with its tokenizer. Any thread.
class ConversationEncoder {
 public:
  // Both outlive it. Requires: templates.chat.
  ConversationEncoder(const tokenizer::Tokenizer& tokenizer, const tokenizer::ChatTemplates& templates)
      : tokenizer_(tokenizer), templates_(templates) {}

  // Errors: kInvalidArgument with the template's message.
  Result<std::string> render(const Conversation& conversation) const;

  // The prompt's tokens. A reply of ours that is resent as it was has the tokens that it was made of, so that
  // the cache holds it to its last token; what `memory` knows under `salt` decides.
  struct Encoded {
    std::vector<TokenId> ids;
    std::string text;
  };
  Result<Encoded> encode(const Conversation& conversation, ReplyMemory& memory,
                         const std::string& salt) const;

 private:
  std::optional<ReplyMemory::Found> find_reply(const Conversation& conversation, const std::string& text,
                                               ReplyMemory& memory, const std::string& salt) const;

  const tokenizer::Tokenizer& tokenizer_;
  const tokenizer::ChatTemplates& templates_;
};

}  // namespace kvasir::api
