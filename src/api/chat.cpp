#include "api/chat.h"

#include <limits>
#include <nlohmann/json.hpp>

#include "api/openai_call.h"
#include "api/report.h"
#include "api/token_logprobs.h"

namespace kvasir::api {
namespace {

using nlohmann::ordered_json;

void read_logprobs(FieldReader& reader, GenerationSpec& spec) {
  bool wants_logprobs = false;
  reader.read("logprobs", wants_logprobs);
  std::optional<int> num_top;
  reader.read("top_logprobs", num_top, 0, RequestLimits::kMaxLogprobs);
  if (num_top && !wants_logprobs) reader.refuse("top_logprobs", "only allowed with logprobs: true");
  if (wants_logprobs) spec.num_logprobs = num_top.value_or(0);
}

constexpr OpenAiCall::Names kChatNames = {"chatcmpl-", "chat.completion", "chat.completion.chunk"};

class ChatCall : public OpenAiCall {
 public:
  ChatCall(std::unique_ptr<Generation> generation, const Environment& environment, const ToolUse& tools)
      : OpenAiCall(std::move(generation), environment, kChatNames) {
    for (int i = 0; i < this->generation().spec().num_samples; ++i) readers_.emplace_back(tools, "call_");
  }

 protected:
  void begin(std::string& out) override {
    for (int i = 0; i < generation().spec().num_samples; ++i) {
      append_chunk(out, i, {{"role", "assistant"}, {"content", ""}}, nullptr, nullptr);
    }
  }

  void add(const Generation::Delta& delta, std::string& out) override {
    const Choice& choice = delta.choice;
    ReplyReader& reader = readers_[choice.index];
    std::vector<ReadPiece> pieces = reader.push(delta.text);
    if (choice.has_ended) {
      for (ReadPiece& piece : reader.finish()) pieces.push_back(std::move(piece));
    }
    ordered_json logprobs = logprobs_json(choice, delta.num_new_ids);
    for (const ReadPiece& piece : pieces) {
      if (piece.kind == ReplyPiece::Kind::kCallEnd) continue;
      if (piece.kind == ReplyPiece::Kind::kContent && logprobs.is_null()) {
        append_text(out, choice.index, piece.text);
      } else {
        append_chunk(out, choice.index, delta_json(piece, reader), std::move(logprobs), nullptr);
        logprobs = nullptr;
      }
    }
    if (!logprobs.is_null()) {
      append_chunk(out, choice.index, ordered_json::object(), std::move(logprobs), nullptr);
    }
    if (choice.has_ended) {
      append_chunk(out, choice.index, ordered_json::object(), nullptr, finish_reason(choice), &choice);
    }
  }

  std::string body() override {
    ordered_json json = begin_body();
    for (const Choice& choice : generation().choices()) {
      ReplyReader& reader = readers_[choice.index];
      reader.push(choice.text);
      reader.finish();
      ordered_json& out = json["choices"].emplace_back();
      out["index"] = choice.index;
      out["message"] = message_json(reader);
      out["logprobs"] = logprobs_json(choice, choice.ids.size());
      out["finish_reason"] = finish_reason(choice);
      out["stop_reason"] = stop_reason(choice);
      if (generation().spec().return_token_ids) out["token_ids"] = choice.ids;
    }
    const PromptReport& prompt = generation().prompts().front();
    if (generation().spec().return_token_ids) json["prompt_token_ids"] = prompt.ids;
    if (generation().spec().num_prompt_logprobs) {
      json["prompt_logprobs"] = prompt_logprobs(environment().tokenizer, prompt);
    }
    return end_body(std::move(json));
  }

 private:
  void append_text(std::string& out, int index, std::string_view text) const {
    begin_chunk(out);
    out += R"({"index":)";
    out += std::to_string(index);
    out += R"(,"delta":{"content":)";
    append_quoted(out, text);
    out += R"(},"logprobs":null,"finish_reason":null})";
    end_chunk(out);
  }

  void append_chunk(std::string& out, int index, ordered_json delta, ordered_json logprobs,
                    ordered_json finish_reason, const Choice* ended = nullptr) const {
    ordered_json choice;
    choice["index"] = index;
    choice["delta"] = std::move(delta);
    choice["logprobs"] = std::move(logprobs);
    choice["finish_reason"] = std::move(finish_reason);
    if (ended != nullptr) choice["stop_reason"] = stop_reason(*ended);
    begin_chunk(out);
    out += dump(choice);
    end_chunk(out);
  }

  static ordered_json delta_json(const ReadPiece& piece, const ReplyReader& reader) {
    if (piece.kind == ReplyPiece::Kind::kContent) return {{"content", piece.text}};
    ordered_json call = {{"index", piece.call}};
    if (piece.kind == ReplyPiece::Kind::kCallBegin) {
      call["id"] = reader.calls()[piece.call].id;
      call["type"] = "function";
      call["function"] = {{"name", piece.text}, {"arguments", ""}};
    } else {
      call["function"]["arguments"] = piece.text;
    }
    return {{"tool_calls", ordered_json::array({std::move(call)})}};
  }

  ordered_json message_json(const ReplyReader& reader) const {
    ordered_json message;
    message["role"] = "assistant";
    message["content"] = reader.content();
    if (reader.calls().empty()) return message;
    if (reader.content().empty()) message["content"] = nullptr;
    for (const ToolCall& call : reader.calls()) {
      message["tool_calls"].push_back({{"id", call.id},
                                       {"type", "function"},
                                       {"function", {{"name", call.name}, {"arguments", call.arguments}}}});
    }
    return message;
  }

  ordered_json logprobs_json(const Choice& choice, std::size_t num_ids) const {
    const std::optional<int> num_top = generation().spec().num_logprobs;
    if (!num_top || num_ids == 0) return nullptr;
    return chat_logprobs(environment().tokenizer, *num_top, std::span(choice.logprobs).last(num_ids));
  }

  const char* finish_reason(const Choice& choice) const {
    if (choice.is_cut) return "length";
    return readers_[choice.index].calls().empty() ? "stop" : "tool_calls";
  }

  std::vector<ReplyReader> readers_;  // by choice
};

}  // namespace

std::variant<ChatRequest, Refusal> parse_chat(const ordered_json& body, const ModelFacts& model) {
  ChatRequest request;
  GenerationSpec& spec = request.spec;
  spec.sampling.temperature = 1;
  FieldReader reader(body);
  read_common_fields(reader, model, spec);
  read_messages(reader, request.conversation);
  read_tools(reader, "tools", request.conversation);
  request.tools = read_tool_choice(reader, request.conversation.tools, model.tool_format);
  for (const char* key : {"max_tokens", "n_predict", "max_completion_tokens"}) {
    std::optional<int> count;
    reader.read(key, count, -1, std::numeric_limits<int>::max());
    if (count) spec.max_new_tokens = *count < 0 ? std::nullopt : count;
  }
  read_logprobs(reader, spec);
  read_template_variables(reader, request.conversation);
  reader.only("modalities", ordered_json::array({"text"}), "the model reads and writes text");
  reader.refuse_unknown();
  if (reader.refusal()) return *reader.refusal();
  if (auto refusal = apply_tools(model, request)) return *refusal;
  return request;
}

std::unique_ptr<Call> make_chat(std::unique_ptr<Generation> generation, const Environment& environment,
                                const ToolUse& tools) {
  return std::make_unique<ChatCall>(std::move(generation), environment, tools);
}

}  // namespace kvasir::api
