#include "api/messages.h"

#include <limits>
#include <nlohmann/json.hpp>

#include "api/report.h"

namespace kvasir::api {
namespace {

using nlohmann::ordered_json;

std::string type_of(const ordered_json& block) {
  return block.is_object() && block.contains("type") && block["type"].is_string()
             ? block["type"].get<std::string>()
             : "";
}

// Anthropic's messages as OpenAI's: results of tools are messages of their own, uses of tools are tool_calls.
class MessageTranslator {
 public:
  MessageTranslator(FieldReader& reader, ordered_json& out) : reader_(reader), out_(out) {}

  void system(const ordered_json& content) {
    auto text = join_parts(content, "system");
    if (auto* refusal = std::get_if<Refusal>(&text)) return reader_.refuse(*refusal);
    out_.push_back({{"role", "system"}, {"content", std::get<std::string>(text)}});
  }

  void message(const ordered_json& message, const std::string& what) {
    const ordered_json role = message.is_object() ? member(message, "role") : ordered_json();
    if (role != "user" && role != "assistant") {
      return reader_.refuse(what, fmt::format("expected role 'user' or 'assistant', got {}", show(role)));
    }
    const ordered_json content = member(message, "content");
    if (content.is_string()) {
      out_.push_back({{"role", role}, {"content", content}});
      return;
    }
    if (!content.is_array() || content.empty())
      return reader_.refuse(what, "expected content: a string or blocks");
    ordered_json texts = ordered_json::array(), calls = ordered_json::array();
    for (const ordered_json& block : content) block_of(block, role, what, texts, calls);
    if (texts.empty() && calls.empty()) return;
    ordered_json translated = {{"role", role}, {"content", texts}};
    if (!calls.empty()) translated["tool_calls"] = std::move(calls);
    if (texts.empty()) translated.erase("content");
    out_.push_back(std::move(translated));
  }

 private:
  void block_of(const ordered_json& block, const ordered_json& role, const std::string& what,
                ordered_json& texts, ordered_json& calls) {
    const std::string type = type_of(block);
    if (type == "text") {
      texts.push_back(block);
    } else if (type == "tool_use" && role == "assistant") {
      const ordered_json input = member(block, "input", ordered_json::object());
      if (!input.is_object())
        return reader_.refuse(what, fmt::format("expected an input that is an object, got {}", show(input)));
      calls.push_back({{"id", member(block, "id", ordered_json(""))},
                       {"type", "function"},
                       {"function", {{"name", member(block, "name")}, {"arguments", input}}}});
    } else if (type == "tool_result" && role == "user") {
      out_.push_back({{"role", "tool"},
                      {"tool_call_id", member(block, "tool_use_id", ordered_json(""))},
                      {"content", member(block, "content", ordered_json(""))}});
    } else if (type != "thinking" && type != "redacted_thinking") {
      // What a model thought in earlier turns is not part of the next prompt.
      reader_.refuse(what, fmt::format("expected blocks of type text, tool_use or tool_result, got '{}'",
                                       type.substr(0, 40)));
    }
  }

  FieldReader& reader_;
  ordered_json& out_;
};

// As OpenAI's tools and tool_choice.
ordered_json translate_tools(FieldReader& reader) {
  ordered_json out = ordered_json::object();
  if (const ordered_json* tools = reader.take("tools")) {
    if (!tools->is_array()) reader.refuse("tools", "expected a list");
    out["tools"] = ordered_json::array();
    for (const ordered_json& tool : *tools) {
      const ordered_json type = tool.is_object() ? member(tool, "type", "custom") : tool;
      if (type != "custom") {
        reader.refuse("tools",
                      fmt::format("only tools of the client's own are supported, got {}", show(type)));
        return ordered_json::object();
      }
      out["tools"].push_back({{"type", "function"},
                              {"function",
                               {{"name", member(tool, "name")},
                                {"description", member(tool, "description")},
                                {"parameters", member(tool, "input_schema", ordered_json::object())}}}});
    }
  }
  const ordered_json* choice = reader.take("tool_choice");
  if (choice == nullptr) return out;
  const std::string type = type_of(*choice);
  if (type == "tool") {
    out["tool_choice"] = {{"type", "function"}, {"function", {{"name", member(*choice, "name")}}}};
  } else if (type == "auto" || type == "any" || type == "none") {
    out["tool_choice"] = type == "any" ? "required" : type;
  } else {
    reader.refuse("tool_choice", "expected type 'auto', 'any', 'tool' or 'none'");
  }
  const ordered_json one_only = member(*choice, "disable_parallel_tool_use", false);
  if (!one_only.is_boolean()) {
    reader.refuse("tool_choice",
                  fmt::format("disable_parallel_tool_use: expected true or false, got {}", show(one_only)));
  }
  out["parallel_tool_calls"] = one_only != true;
  return out;
}

class MessagesCall : public GenerationCall {
 public:
  MessagesCall(std::unique_ptr<Generation> generation, const Environment& environment, const ToolUse& tools)
      : GenerationCall(std::move(generation), ErrorStyle::kAnthropic),
        environment_(environment),
        id_(random_id("msg_")),
        reader_(tools, "toolu_") {}

 protected:
  void begin(std::string& out) override {
    ordered_json message = head();
    message["content"] = ordered_json::array();
    message["stop_reason"] = message["stop_sequence"] = nullptr;
    message["usage"] = {{"input_tokens", generation().usage().prompt_tokens},
                        {"cache_creation_input_tokens", 0},
                        {"cache_read_input_tokens", 0},
                        {"output_tokens", 0}};
    append(out, "message_start", {{"message", std::move(message)}});
    append(out, "ping", ordered_json::object());
  }

  void add(const Generation::Delta& delta, std::string& out) override {
    add_pieces(reader_.push(delta.text), out);
    if (delta.choice.has_ended) add_pieces(reader_.finish(), out);
  }

  void end(std::string& out) override {
    close_block(out);
    const Choice& choice = generation().choices().front();
    append(out, "message_delta",
           {{"delta", {{"stop_reason", stop_reason_of(choice)}, {"stop_sequence", stop_sequence_of(choice)}}},
            {"usage", usage()},
            {"kvasir", cache_json(generation())}});
    append(out, "message_stop", ordered_json::object());
  }

  std::string body() override {
    const Choice& choice = generation().choices().front();
    reader_.push(choice.text);
    reader_.finish();
    ordered_json message = head();
    ordered_json& content = message["content"] = ordered_json::array();
    if (!reader_.content().empty() || reader_.calls().empty()) {
      content.push_back({{"type", "text"}, {"text", reader_.content()}});
    }
    for (const ToolCall& call : reader_.calls()) {
      ordered_json input = ordered_json::parse(call.arguments, nullptr, false);
      // What the model cut short is no JSON.
      if (!input.is_object()) input = ordered_json::object();
      content.push_back(
          {{"type", "tool_use"}, {"id", call.id}, {"name", call.name}, {"input", std::move(input)}});
    }
    message["stop_reason"] = stop_reason_of(choice);
    message["stop_sequence"] = stop_sequence_of(choice);
    message["usage"] = usage();
    message["kvasir"] = cache_json(generation());
    return dump(message);
  }

 private:
  static void append(std::string& out, const char* type, ordered_json fields) {
    ordered_json event = {{"type", type}};
    event.update(fields);
    append_event(out, type, dump(event));
  }

  ordered_json head() const {
    return {{"id", id_}, {"type", "message"}, {"role", "assistant"}, {"model", environment_.model.name}};
  }

  // What was computed has been put into the cache, unless the request kept it out.
  ordered_json usage() const {
    const Usage usage = generation().usage();
    const GenerationSpec& spec = generation().spec();
    const int computed = usage.prompt_tokens - usage.cached_tokens;
    const bool is_kept = spec.use_cache && spec.use_prefix_cache &&
                         usage.prompt_tokens >= environment_.engine.config().min_tokens;
    return {{"input_tokens", is_kept ? 0 : computed},
            {"cache_creation_input_tokens", is_kept ? computed : 0},
            {"cache_read_input_tokens", usage.cached_tokens},
            {"output_tokens", usage.completion_tokens}};
  }

  void add_pieces(const std::vector<ReadPiece>& pieces, std::string& out) {
    for (const ReadPiece& piece : pieces) {
      switch (piece.kind) {
        case ReplyPiece::Kind::kContent:
          if (!is_text_open_) open_block(out, {{"type", "text"}, {"text", ""}}, true);
          append_delta(out, {{"type", "text_delta"}, {"text", piece.text}});
          break;
        case ReplyPiece::Kind::kCallBegin:
          open_block(out,
                     {{"type", "tool_use"},
                      {"id", reader_.calls()[piece.call].id},
                      {"name", piece.text},
                      {"input", ordered_json::object()}},
                     false);
          break;
        case ReplyPiece::Kind::kArguments:
          append_delta(out, {{"type", "input_json_delta"}, {"partial_json", piece.text}});
          break;
        case ReplyPiece::Kind::kCallEnd:
          close_block(out);
          break;
      }
    }
  }

  void append_delta(std::string& out, ordered_json delta) const {
    append(out, "content_block_delta", {{"index", num_blocks_ - 1}, {"delta", std::move(delta)}});
  }

  void open_block(std::string& out, ordered_json block, bool is_text) {
    close_block(out);
    append(out, "content_block_start", {{"index", num_blocks_++}, {"content_block", std::move(block)}});
    is_open_ = true;
    is_text_open_ = is_text;
  }

  void close_block(std::string& out) {
    if (is_open_) append(out, "content_block_stop", {{"index", num_blocks_ - 1}});
    is_open_ = is_text_open_ = false;
  }

  ordered_json stop_reason_of(const Choice& choice) const {
    if (choice.is_cut) return "max_tokens";
    if (choice.stop_text) return "stop_sequence";
    return reader_.calls().empty() ? "end_turn" : "tool_use";
  }
  static ordered_json stop_sequence_of(const Choice& choice) {
    return choice.stop_text ? ordered_json(*choice.stop_text) : ordered_json();
  }

  const Environment& environment_;
  const std::string id_;
  ReplyReader reader_;
  int num_blocks_ = 0;
  bool is_open_ = false, is_text_open_ = false;
};

}  // namespace

std::variant<ChatRequest, Refusal> parse_messages(const ordered_json& body, const ModelFacts& model) {
  ChatRequest request;
  GenerationSpec& spec = request.spec;
  spec.sampling.temperature = 1;
  FieldReader reader(body);
  reader.take("model");
  reader.require("max_tokens");
  reader.read("max_tokens", spec.max_new_tokens, 1, std::numeric_limits<int>::max());
  reader.read("temperature", spec.sampling.temperature, 0, 1);
  reader.read("top_p", spec.sampling.top_p, 0, 1);
  reader.read("top_k", spec.sampling.top_k, 0, std::numeric_limits<int>::max());
  reader.read_strings("stop_sequences", spec.stop, RequestLimits::kMaxStops, RequestLimits::kMaxStopBytes);
  reader.read("stream", spec.stream);
  reader.read("cache_salt", spec.cache_salt, RequestLimits::kMaxSaltBytes);

  ordered_json translated = translate_tools(reader);
  ordered_json& messages = translated["messages"] = ordered_json::array();
  MessageTranslator translator(reader, messages);
  if (const ordered_json* system = reader.take("system")) translator.system(*system);
  reader.require("messages");
  if (const ordered_json* given = reader.take("messages")) {
    if (!given->is_array() || given->empty()) reader.refuse("messages", "expected a list of messages");
    for (std::size_t i = 0; given->is_array() && i < given->size(); ++i) {
      translator.message((*given)[i], fmt::format("messages[{}]", i));
    }
  }
  // The whole prompt is cached as it is, marked or not.
  reader.accept({"metadata", "service_tier", "cache_control"});
  reader.only("thinking", {{"type", "disabled"}}, "what a model thinks is part of its text");
  reader.refuse_unknown();
  if (reader.refusal()) return *reader.refusal();

  if (auto refusal = read_translated(translated, model, request)) return *refusal;
  // A reply whose beginning is given goes on with it.
  request.conversation.continue_final_message = request.conversation.messages.back()["role"] == "assistant";
  if (auto refusal = apply_tools(model, request)) return *refusal;
  return request;
}

std::unique_ptr<Call> make_messages(std::unique_ptr<Generation> generation, const Environment& environment,
                                    const ToolUse& tools) {
  return std::make_unique<MessagesCall>(std::move(generation), environment, tools);
}

}  // namespace kvasir::api
