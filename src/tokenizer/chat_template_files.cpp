#include "tokenizer/chat_template_files.h"

#include <nlohmann/json.hpp>
#include <string_view>
#include <utility>

#include "base/bytes.h"
#include "base/json.h"
#include "tokenizer/json_node.h"

namespace kvasir::tokenizer {
namespace {

constexpr const char* kTemplateFile = "chat_template.jinja";
constexpr const char* kConfigFile = "tokenizer_config.json";

// The text of a special token: "</s>", or {"content": "</s>", ...}.
Result<std::string> token_text(const JsonNode& config, const char* name) {
  if (!config.has(name)) return std::string();
  const JsonNode token = config.at(name);
  return token.value().is_object() ? token.text("content", "") : config.text(name);
}

Status read_named(const JsonNode& list, ChatTemplates& out) {
  for (std::size_t i = 0; i < list.value().size(); ++i) {
    const JsonNode each = list.at(i);
    if (!each.value().is_object()) return each.corrupt("an object with name and template");
    KVASIR_ASSIGN_OR_RETURN(const std::string name, each.text("name"));
    KVASIR_ASSIGN_OR_RETURN(const std::string source, each.text("template"));
    const auto place = name == "default" ? &out.chat : name == "tool_use" ? &out.tool_use : nullptr;
    if (place == nullptr) continue;
    KVASIR_ASSIGN_OR_RETURN(*place, ChatTemplate::parse(each.where(), source));
  }
  return Status();
}

}  // namespace

Result<ChatTemplates> load_chat_templates(format::ModelFiles& files) {
  ChatTemplates out;
  if (files.has(kTemplateFile)) {
    KVASIR_ASSIGN_OR_RETURN(const auto bytes, files.read(kTemplateFile));
    KVASIR_ASSIGN_OR_RETURN(out.chat, ChatTemplate::parse(files.path(kTemplateFile), as_text(bytes)));
  }
  if (!files.has(kConfigFile)) return out;
  KVASIR_ASSIGN_OR_RETURN(const nlohmann::json json, files.read_json(kConfigFile));
  const JsonNode config(files.path(kConfigFile), json);
  KVASIR_ASSIGN_OR_RETURN(out.bos_token, token_text(config, "bos_token"));
  KVASIR_ASSIGN_OR_RETURN(out.eos_token, token_text(config, "eos_token"));
  if (out.chat != nullptr || !config.has("chat_template")) return out;
  const JsonNode given = config.at("chat_template");
  if (given.value().is_array()) {
    KVASIR_RETURN_IF_ERROR(read_named(given, out));
  } else {
    KVASIR_ASSIGN_OR_RETURN(const std::string source, config.text("chat_template"));
    KVASIR_ASSIGN_OR_RETURN(out.chat, ChatTemplate::parse(given.where(), source));
  }
  return out;
}

}  // namespace kvasir::tokenizer
