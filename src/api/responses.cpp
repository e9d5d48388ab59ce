#include "api/responses.h"

#include <limits>
#include <nlohmann/json.hpp>

#include "api/report.h"

namespace kvasir::api {
namespace {

using nlohmann::ordered_json;

// Items of a responses request as messages of the chat API. What is wrong with them is refused here, by its
// name in this API.
class ItemTranslator {
 public:
  ItemTranslator(FieldReader& reader, ordered_json& out) : reader_(reader), out_(out) {}

  void item(const ordered_json& item, const std::string& what) {
    if (!item.is_object()) return reader_.refuse(what, fmt::format("expected an object, got {}", show(item)));
    const ordered_json type = member(item, "type", ordered_json("message"));
    if (type == "message") {
      out_.push_back({{"role", word(item, "role", what)}, {"content", text(item, "content", what)}});
    } else if (type == "function_call") {
      add_call(item, what);
    } else if (type == "function_call_output") {
      out_.push_back({{"role", "tool"},
                      {"tool_call_id", word(item, "call_id", what, "")},
                      {"content", text(item, "output", what, "")}});
    } else if (type != "reasoning") {
      // What a model thought in earlier turns is not part of the next prompt.
      reader_.refuse(what, fmt::format("expected type message, function_call or function_call_output, got {}",
                                       show(type)));
    }
  }

 private:
  // Calls in a row, and the text before them, are one message.
  void add_call(const ordered_json& item, const std::string& what) {
    const bool goes_on = !out_.empty() && member(out_.back(), "role") == "assistant";
    if (!goes_on) out_.push_back({{"role", "assistant"}});
    out_.back()["tool_calls"].push_back(
        {{"id", word(item, "call_id", what, "")},
         {"type", "function"},
         {"function",
          {{"name", word(item, "name", what)}, {"arguments", member(item, "arguments", ordered_json(""))}}}});
  }

  ordered_json word(const ordered_json& item, const char* key, const std::string& what,
                    const ordered_json& fallback = nullptr) {
    ordered_json value = member(item, key, fallback);
    if (!value.is_string()) {
      reader_.refuse(what + "." + key, fmt::format("expected a string, got {}", show(value)));
    }
    return value;
  }
  // A text or its parts.
  ordered_json text(const ordered_json& item, const char* key, const std::string& what,
                    const ordered_json& fallback = nullptr) {
    auto joined = join_parts(member(item, key, fallback), what + "." + key);
    if (auto* refusal = std::get_if<Refusal>(&joined)) {
      reader_.refuse(*refusal);
      return "";
    }
    return std::get<std::string>(std::move(joined));
  }

  FieldReader& reader_;
  ordered_json& out_;
};

// The chat API has a function's fields inside `function`, this one beside the type.
ordered_json translate_tools(FieldReader& reader, const ordered_json* tools) {
  ordered_json out = ordered_json::array();
  if (tools == nullptr) return nullptr;
  if (!tools->is_array()) {
    reader.refuse("tools", "expected a list");
    return nullptr;
  }
  for (const ordered_json& tool : *tools) {
    const ordered_json type = tool.is_object() ? member(tool, "type") : ordered_json();
    ordered_json function = tool;
    if (tool.is_object()) function.erase("type");
    out.push_back({{"type", type}, {"function", std::move(function)}});
  }
  return out;
}

// text.format as the chat API's response_format.
void read_text_options(FieldReader& reader, OutputFormat& format) {
  const ordered_json* text = reader.take("text");
  if (text == nullptr) return;
  if (!text->is_object()) return reader.refuse("text", "expected an object");
  FieldReader nested(*text, "text.");
  if (const ordered_json* wanted = nested.take("format")) {
    ordered_json translated = {{"response_format", *wanted}};
    ordered_json& out = translated["response_format"];
    if (out.is_object() && member(out, "type") == "json_schema")
      out = {{"type", "json_schema"}, {"json_schema", *wanted}};
    FieldReader format_reader(translated, "text.format as ");
    read_response_format(format_reader, format);
    nested.refuse(format_reader);
  }
  nested.only("verbosity", "medium", "the model has no such setting");
  nested.refuse_unknown();
  reader.refuse(nested);
}

void read_reasoning(FieldReader& reader, Conversation& conversation) {
  const ordered_json* reasoning = reader.take("reasoning");
  if (reasoning == nullptr) return;
  if (!reasoning->is_object()) return reader.refuse("reasoning", "expected an object");
  FieldReader nested(*reasoning, "reasoning.");
  std::string effort;
  nested.read("effort", effort, 20);
  if (!effort.empty()) conversation.variables["reasoning_effort"] = effort;
  nested.accept({"summary", "generate_summary"});
  nested.refuse_unknown();
  reader.refuse(nested);
}

class ResponsesCall : public GenerationCall {
 public:
  ResponsesCall(std::unique_ptr<Generation> generation, const Environment& environment, ChatRequest request)
      : GenerationCall(std::move(generation)),
        environment_(environment),
        echo_(std::move(request.echo)),
        id_(random_id("resp_")),
        created_(unix_seconds()),
        reader_(request.tools, "call_") {}

 protected:
  void begin(std::string& out) override {
    ordered_json response = head("in_progress");
    response["output"] = ordered_json::array();
    append(out, "response.created", {{"response", response}});
    append(out, "response.in_progress", {{"response", std::move(response)}});
  }

  void add(const Generation::Delta& delta, std::string& out) override {
    add_pieces(reader_.push(delta.text), out);
    if (delta.choice.has_ended) add_pieces(reader_.finish(), out);
  }

  void end(std::string& out) override {
    close_item(out);
    const bool is_cut = generation().choices().front().is_cut;
    append(out, is_cut ? "response.incomplete" : "response.completed", {{"response", whole()}});
  }

  std::string body() override {
    add_pieces(reader_.push(generation().choices().front().text), unsent_);
    add_pieces(reader_.finish(), unsent_);
    close_item(unsent_);
    return dump(whole());
  }

 private:
  void append(std::string& out, const char* type, ordered_json fields) {
    ordered_json event = {{"type", type}, {"sequence_number", num_events_++}};
    event.update(fields);
    append_event(out, type, dump(event));
  }

  ordered_json head(const char* status) const {
    ordered_json json = {{"id", id_}, {"object", "response"}, {"created_at", created_}, {"status", status}};
    json["error"] = json["incomplete_details"] = json["previous_response_id"] = nullptr;
    json["model"] = environment_.model.name;
    json.update(echo_);
    return json;
  }

  ordered_json whole() const {
    const bool is_cut = generation().choices().front().is_cut;
    ordered_json json = head(is_cut ? "incomplete" : "completed");
    if (is_cut) json["incomplete_details"] = {{"reason", "max_output_tokens"}};
    json["output"] = items_;
    const Usage usage = generation().usage();
    json["usage"] = {{"input_tokens", usage.prompt_tokens},
                     {"input_tokens_details", {{"cached_tokens", usage.cached_tokens}}},
                     {"output_tokens", usage.completion_tokens},
                     {"output_tokens_details", {{"reasoning_tokens", 0}}},
                     {"total_tokens", usage.prompt_tokens + usage.completion_tokens}};
    json["kvasir"] = cache_json(generation());
    return json;
  }

  void add_pieces(const std::vector<ReadPiece>& pieces, std::string& out) {
    for (const ReadPiece& piece : pieces) {
      switch (piece.kind) {
        case ReplyPiece::Kind::kContent:
          if (!is_open_ || items_.back()["type"] != "message") open_message(out);
          add_text(piece.text, out);
          break;
        case ReplyPiece::Kind::kCallBegin:
          open_item(out, {{"type", "function_call"},
                          {"id", random_id("fc_")},
                          {"call_id", reader_.calls()[piece.call].id},
                          {"name", piece.text},
                          {"arguments", ""},
                          {"status", "in_progress"}});
          break;
        case ReplyPiece::Kind::kArguments:
          items_.back()["arguments"].get_ref<std::string&>() += piece.text;
          append(out, "response.function_call_arguments.delta",
                 {{"item_id", item_id()}, {"output_index", index()}, {"delta", piece.text}});
          break;
        case ReplyPiece::Kind::kCallEnd:
          close_item(out);
          break;
      }
    }
  }

  ordered_json& text_part() { return items_.back()["content"][0]; }
  ordered_json item_id() const { return items_.back()["id"]; }
  std::size_t index() const { return items_.size() - 1; }

  void open_message(std::string& out) {
    open_item(out, {{"type", "message"},
                    {"id", random_id("msg_")},
                    {"status", "in_progress"},
                    {"role", "assistant"},
                    {"content", ordered_json::array()}});
    items_.back()["content"].push_back(
        {{"type", "output_text"}, {"text", ""}, {"annotations", ordered_json::array()}});
    append(out, "response.content_part.added",
           {{"item_id", item_id()}, {"output_index", index()}, {"content_index", 0}, {"part", text_part()}});
  }

  void add_text(const std::string& text, std::string& out) {
    text_part()["text"].get_ref<std::string&>() += text;
    append(out, "response.output_text.delta",
           {{"item_id", item_id()},
            {"output_index", index()},
            {"content_index", 0},
            {"delta", text},
            {"logprobs", ordered_json::array()}});
  }

  void open_item(std::string& out, ordered_json item) {
    close_item(out);
    items_.push_back(std::move(item));
    is_open_ = true;
    append(out, "response.output_item.added", {{"output_index", index()}, {"item", items_.back()}});
  }

  void close_item(std::string& out) {
    if (!is_open_) return;
    is_open_ = false;
    ordered_json& item = items_.back();
    item["status"] = "completed";
    if (item["type"] == "message") {
      append(out, "response.output_text.done",
             {{"item_id", item_id()},
              {"output_index", index()},
              {"content_index", 0},
              {"text", text_part()["text"]},
              {"logprobs", ordered_json::array()}});
      append(
          out, "response.content_part.done",
          {{"item_id", item_id()}, {"output_index", index()}, {"content_index", 0}, {"part", text_part()}});
    } else {
      append(out, "response.function_call_arguments.done",
             {{"item_id", item_id()},
              {"output_index", index()},
              {"name", item["name"]},
              {"arguments", item["arguments"]}});
    }
    append(out, "response.output_item.done", {{"output_index", index()}, {"item", item}});
  }

  const Environment& environment_;
  const ordered_json echo_;
  const std::string id_;
  const std::int64_t created_;
  ReplyReader reader_;
  std::vector<ordered_json> items_;
  bool is_open_ = false;
  int num_events_ = 0;
  std::string unsent_;  // events, where there is no stream
};

// What a response repeats of its request.
ordered_json echo_of(const ordered_json& body, const GenerationSpec& spec, const ToolUse& tools) {
  ordered_json echo;
  const auto repeat = [&](const char* key, ordered_json otherwise) {
    echo[key] = body.value(key, std::move(otherwise));
  };
  repeat("instructions", nullptr);
  repeat("max_output_tokens", nullptr);
  repeat("metadata", ordered_json::object());
  echo["parallel_tool_calls"] = tools.allows_several;
  echo["temperature"] = spec.sampling.temperature;
  echo["top_p"] = spec.sampling.top_p;
  repeat("tool_choice", "auto");
  repeat("tools", ordered_json::array());
  repeat("text", {{"format", {{"type", "text"}}}});
  repeat("truncation", "disabled");
  echo["store"] = false;
  return echo;
}

}  // namespace

std::variant<ChatRequest, Refusal> parse_responses(const ordered_json& body, const ModelFacts& model) {
  ChatRequest request;
  GenerationSpec& spec = request.spec;
  spec.sampling.temperature = 1;
  FieldReader reader(body);
  reader.take("model");
  reader.read("max_output_tokens", spec.max_new_tokens, 1, std::numeric_limits<int>::max());
  reader.read("temperature", spec.sampling.temperature, 0, 2);
  reader.read("top_p", spec.sampling.top_p, 0, 1);
  reader.read("stream", spec.stream);
  reader.read("cache_salt", spec.cache_salt, RequestLimits::kMaxSaltBytes);
  read_text_options(reader, spec.format);
  read_reasoning(reader, request.conversation);

  ordered_json translated = ordered_json::object();
  ordered_json& messages = translated["messages"] = ordered_json::array();
  std::string instructions;
  reader.read("instructions", instructions, std::string::npos);
  if (!instructions.empty()) messages.push_back({{"role", "system"}, {"content", instructions}});
  reader.require("input");
  if (const ordered_json* input = reader.take("input")) {
    ItemTranslator translator(reader, messages);
    if (input->is_string()) {
      messages.push_back({{"role", "user"}, {"content", *input}});
    } else if (input->is_array() && !input->empty()) {
      for (std::size_t i = 0; i < input->size(); ++i)
        translator.item((*input)[i], fmt::format("input[{}]", i));
    } else {
      reader.refuse("input", "expected a string or a list of items");
    }
  }
  translated["tools"] = translate_tools(reader, reader.take("tools"));
  for (const char* key : {"tool_choice", "parallel_tool_calls"}) {
    if (const ordered_json* value = reader.take(key)) translated[key] = *value;
  }
  reader.accept({"metadata", "user", "service_tier", "safety_identifier", "prompt_cache_key",
                 "prompt_cache_retention", "stream_options"});
  reader.only("store", false, "nothing is stored");
  reader.only("background", false, "the response is sent when it is done");
  reader.only("truncation", "disabled", "a conversation that is too long is refused");
  reader.only("include", ordered_json::array(), "there is nothing more to include");
  reader.only("previous_response_id", nullptr, "nothing is stored: send the whole conversation");
  reader.refuse_unknown();
  if (reader.refusal()) return *reader.refusal();

  if (auto refusal = read_translated(translated, model, request)) return *refusal;
  if (auto refusal = apply_tools(model, request)) return *refusal;
  request.echo = echo_of(body, spec, request.tools);
  return request;
}

std::unique_ptr<Call> make_responses(std::unique_ptr<Generation> generation, const Environment& environment,
                                     ChatRequest request) {
  return std::make_unique<ResponsesCall>(std::move(generation), environment, std::move(request));
}

}  // namespace kvasir::api
