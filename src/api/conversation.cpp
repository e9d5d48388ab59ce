#include "api/conversation.h"

#include <algorithm>
#include <set>

#include "base/json.h"

namespace kvasir::api {
namespace {

using nlohmann::ordered_json;

constexpr std::size_t kMaxMessages = 4096, kMaxTools = 512, kMaxNameBytes = 64;

Refusal refuse(const std::string& what, std::string_view why) {
  return {error(StatusCode::kInvalidArgument, "{}: {}", what, why), what.substr(0, what.find('['))};
}

bool is_tool_name(const ordered_json& name) {
  if (!name.is_string()) return false;
  const auto& text = name.get_ref<const std::string&>();
  const auto is_plain = [](char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '_' ||
           c == '-' || c == '.';
  };
  return !text.empty() && text.size() <= kMaxNameBytes && std::all_of(text.begin(), text.end(), is_plain);
}

// The object without the members that are null: a template would write them out.
ordered_json without_nulls(const ordered_json& object) {
  ordered_json out = ordered_json::object();
  for (const auto& [key, value] : object.items()) {
    if (!value.is_null()) out[key] = value;
  }
  return out;
}

// Arguments come as JSON text, as the model wrote them; templates read an object.
std::optional<Refusal> normalize_calls(ordered_json& calls, const std::string& what) {
  if (!calls.is_array()) return refuse(what, "expected a list");
  for (ordered_json& call : calls) {
    ordered_json function = member(call, "function");
    if (!member(function, "name").is_string()) return refuse(what, "expected objects with function.name");
    if (!member(call, "id", "").is_string()) return refuse(what, "expected ids that are strings");
    if (member(call, "type", "function") != "function") return refuse(what, "expected type 'function'");
    call = without_nulls(call);
    function = without_nulls(function);
    const auto found = function.find("arguments");
    if (found == function.end()) {
      function["arguments"] = ordered_json::object();
    } else if (found->is_string()) {
      auto parsed = parse_ordered_json(what, found->get_ref<const std::string&>());
      if (parsed.ok()) *found = std::move(*parsed);
    }
    call["function"] = std::move(function);
  }
  return std::nullopt;
}

// One message as templates read it.
std::variant<ordered_json, Refusal> normalize(const ordered_json& message, const std::string& what) {
  if (!message.is_object()) return refuse(what, fmt::format("expected an object, got {}", show(message)));
  ordered_json out = without_nulls(message);
  if (!out.contains("role") || !out["role"].is_string()) return refuse(what + ".role", "expected a string");
  // OpenAI's newer word, which templates do not know.
  if (out["role"] == "developer") out["role"] = "system";
  for (const char* unsupported : {"audio", "function_call"}) {
    if (out.contains(unsupported)) return refuse(what + "." + unsupported, "is not supported");
  }
  if (!member(out, "tool_call_id", "").is_string())
    return refuse(what + ".tool_call_id", "expected a string");
  const bool calls = out.contains("tool_calls");
  if (calls) {
    if (auto refusal = normalize_calls(out["tool_calls"], what + ".tool_calls")) return *refusal;
    if (out["tool_calls"].empty()) out.erase("tool_calls");
  }
  if (!out.contains("content")) {
    if (!calls) return refuse(what + ".content", "is required");
    out["content"] = "";
    return out;
  }
  auto content = join_parts(out["content"], what + ".content");
  if (auto* refusal = std::get_if<Refusal>(&content)) return *refusal;
  out["content"] = std::get<std::string>(content);
  return out;
}

}  // namespace

std::variant<std::string, Refusal> join_parts(const ordered_json& content, const std::string& what) {
  if (content.is_string()) return content.get<std::string>();
  if (!content.is_array())
    return refuse(what, fmt::format("expected a string or a list of parts, got {}", show(content)));
  std::string text;
  for (const ordered_json& part : content) {
    const bool is_object = part.is_object() && part.contains("type") && part["type"].is_string();
    const std::string type = is_object ? part["type"].get<std::string>() : "";
    const bool is_text = type == "text" || type == "input_text" || type == "output_text";
    if (!is_text) {
      return refuse(what, fmt::format("expected parts of type text, got {}",
                                      is_object ? "'" + type.substr(0, 40) + "'" : show(part)));
    }
    if (!part.contains("text") || !part["text"].is_string()) return refuse(what, "a text part has no text");
    if (&part != &content.front()) text += '\n';
    text += part["text"].get_ref<const std::string&>();
  }
  return text;
}

void read_messages(FieldReader& reader, Conversation& conversation) {
  reader.require("messages");
  const ordered_json* messages = reader.take("messages");
  if (messages == nullptr) return;
  if (!messages->is_array() || messages->empty() || messages->size() > kMaxMessages) {
    return reader.refuse("messages", fmt::format("expected a list of 1 to {} messages", kMaxMessages));
  }
  for (std::size_t i = 0; i < messages->size(); ++i) {
    auto message = normalize((*messages)[i], fmt::format("messages[{}]", i));
    if (auto* refusal = std::get_if<Refusal>(&message)) return reader.refuse(*refusal);
    conversation.messages.push_back(std::move(std::get<ordered_json>(message)));
  }
}

void read_tools(FieldReader& reader, const char* key, Conversation& conversation) {
  const ordered_json* tools = reader.take(key);
  if (tools == nullptr) return;
  if (!tools->is_array() || tools->size() > kMaxTools) {
    return reader.refuse(key, fmt::format("expected a list of at most {} tools", kMaxTools));
  }
  ordered_json checked = ordered_json::array();
  std::set<std::string> names;
  for (std::size_t i = 0; i < tools->size(); ++i) {
    const ordered_json& tool = (*tools)[i];
    const ordered_json function = member(tool, "function"), name = member(function, "name");
    const std::string what = fmt::format("{}[{}]", key, i);
    if (member(tool, "type") != "function") {
      return reader.refuse(what, "only tools of type function are supported");
    }
    if (!is_tool_name(name)) {
      return reader.refuse(
          what,
          fmt::format("expected function.name of 1 to {} letters, digits, '_', '-', '.'", kMaxNameBytes));
    }
    if (!member(function, "parameters", ordered_json::object()).is_object()) {
      return reader.refuse(what, "function.parameters: expected a JSON schema");
    }
    if (!member(function, "description", "").is_string()) {
      return reader.refuse(what, "function.description: expected a string");
    }
    if (!names.insert(name.get<std::string>()).second) {
      return reader.refuse(what, fmt::format("there are two functions with the name {}", show(name)));
    }
    checked.push_back(tool);
    checked.back()["function"] = without_nulls(function);
  }
  if (!checked.empty()) conversation.tools = std::move(checked);
}

void read_template_variables(FieldReader& reader, Conversation& conversation) {
  reader.read("add_generation_prompt", conversation.add_generation_prompt);
  reader.read("continue_final_message", conversation.continue_final_message);
  if (conversation.continue_final_message && conversation.add_generation_prompt &&
      reader.has("add_generation_prompt")) {
    reader.refuse("continue_final_message", "cannot be true where add_generation_prompt is");
  }
  if (const ordered_json* variables = reader.take("chat_template_kwargs")) {
    if (!variables->is_object()) return reader.refuse("chat_template_kwargs", "expected an object");
    conversation.variables = *variables;
  }
  // Templates of models that reason read it; to the others it says nothing.
  std::string effort;
  reader.read("reasoning_effort", effort, 20);
  if (!effort.empty()) conversation.variables["reasoning_effort"] = effort;
}

Result<std::string> ConversationEncoder::render(const Conversation& conversation) const {
  ordered_json context = conversation.variables;
  context["messages"] = conversation.messages;
  context["tools"] = conversation.tools;
  context["add_generation_prompt"] = conversation.add_generation_prompt;
  context["bos_token"] = templates_.bos_token;
  context["eos_token"] = templates_.eos_token;
  const tokenizer::ChatTemplate& chat_template = *templates_.select(!conversation.tools.is_null());
  if (!conversation.continue_final_message) return chat_template.render(context, tokenizer::local_now());
  context["add_generation_prompt"] = false;
  KVASIR_ASSIGN_OR_RETURN(std::string text, chat_template.render(context, tokenizer::local_now()));
  std::string last = conversation.messages.back()["content"].get<std::string>();
  last.erase(last.find_last_not_of(" \t\n") + 1);
  const std::size_t found = text.rfind(last);
  if (found == std::string::npos) {
    return error(StatusCode::kInvalidArgument,
                 "the chat template does not show the last message, which the reply is to continue");
  }
  text.resize(found + last.size());
  return text;
}

Result<ConversationEncoder::Encoded> ConversationEncoder::encode(const Conversation& conversation,
                                                                 ReplyMemory& memory,
                                                                 const std::string& salt) const {
  Encoded encoded;
  KVASIR_ASSIGN_OR_RETURN(encoded.text, render(conversation));
  // The template has written what begins a text.
  constexpr tokenizer::EncodeOptions kOptions = {.add_special_tokens = false};
  if (auto found = find_reply(conversation, encoded.text, memory, salt)) {
    const std::string_view rest = std::string_view(encoded.text).substr(found->num_bytes);
    KVASIR_ASSIGN_OR_RETURN(const auto ids, tokenizer_.encode(rest, kOptions));
    // Before a special token, and only there, a text may be cut in two without its tokens being others.
    if (ids.empty() || (tokenizer_.is_special(ids[0]) && rest.starts_with(*tokenizer_.id_to_token(ids[0])))) {
      encoded.ids = std::move(found->ids);
      encoded.ids.insert(encoded.ids.end(), ids.begin(), ids.end());
      return encoded;
    }
  }
  KVASIR_ASSIGN_OR_RETURN(encoded.ids, tokenizer_.encode(encoded.text, kOptions));
  return encoded;
}

// The last reply of ours in the conversation that is as it was.
std::optional<ReplyMemory::Found> ConversationEncoder::find_reply(const Conversation& conversation,
                                                                  const std::string& text,
                                                                  ReplyMemory& memory,
                                                                  const std::string& salt) const {
  constexpr int kMaxTries = 3;
  int num_tries = 0;
  for (std::size_t i = conversation.messages.size(); i-- > 0 && num_tries < kMaxTries;) {
    if (conversation.messages[i]["role"] != "assistant") continue;
    ++num_tries;
    Conversation before = conversation;
    before.add_generation_prompt = true;
    before.messages.erase(before.messages.begin() + static_cast<std::ptrdiff_t>(i), before.messages.end());
    if (before.messages.empty()) return std::nullopt;
    const auto prompt = render(before);
    if (!prompt.ok() || !text.starts_with(*prompt)) continue;
    if (auto found = memory.find(salt, *prompt, text)) return found;
  }
  return std::nullopt;
}

}  // namespace kvasir::api
