// What each API's parser makes of a body.

#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

#include "api/chat.h"
#include "api/completions.h"
#include "api/embeddings.h"
#include "api/generate.h"
#include "api/messages.h"
#include "api/responses.h"

namespace kvasir::api {
namespace {

using nlohmann::ordered_json;

const ModelFacts& facts() {
  static const ModelFacts kFacts = [] {
    ModelFacts facts;
    facts.name = "m";
    facts.aliases = {"alias"};
    facts.vocab_size = 100;
    facts.context = 64;
    facts.tool_syntax = tool_call_syntax(ToolFormat::kHermes);
    return facts;
  }();
  return kFacts;
}

template <typename Parser>
auto parse(Parser parser, const char* body) {
  return parser(ordered_json::parse(body), facts());
}

// The request, or a test failure with the refusal.
template <typename Request, typename Outcome>
Request accepted(Outcome outcome) {
  if (const auto* refusal = std::get_if<Refusal>(&outcome)) {
    ADD_FAILURE() << refusal->status.message();
    return {};
  }
  return std::get<Request>(std::move(outcome));
}

// The field that a refusal names; "accepted" when there is none.
template <typename Outcome>
std::string refused(const Outcome& outcome) {
  const auto* refusal = std::get_if<Refusal>(&outcome);
  if (refusal == nullptr) return "accepted";
  EXPECT_EQ(refusal->status.code(), StatusCode::kInvalidArgument);
  EXPECT_NE(refusal->status.message().find(refusal->param), std::string::npos) << refusal->status.message();
  return refusal->param;
}

TEST(GenerateRequest, HasTheOriginalsDefaults) {
  const auto spec = accepted<GenerationSpec>(parse(parse_generate, R"({"prompt":"Hi"})"));
  ASSERT_EQ(spec.prompts.size(), 1u);
  EXPECT_EQ(std::get<std::string>(spec.prompts[0]), "Hi");
  EXPECT_EQ(spec.max_new_tokens, 128);
  EXPECT_TRUE(spec.use_cache && spec.use_prefix_cache && !spec.ignore_eos && !spec.stream);
  EXPECT_EQ(spec.sampling.temperature, 0);
  EXPECT_FALSE(spec.sampling.seed);
}

TEST(GenerateRequest, ReadsEveryField) {
  const auto spec = accepted<GenerationSpec>(parse(
      parse_generate,
      R"({"prompt":"p","max_new_tokens":5,"use_cache":false,"use_prefix_cache":false,"ignore_eos":true,)"
      R"("temperature":0.5,"top_p":0.9,"top_k":7,"min_p":0.1,"repetition_penalty":1.1,"presence_penalty":-1,)"
      R"("frequency_penalty":2,"seed":18446744073709551615,"stop":["a","b"],"cache_salt":"s","stream":true})"));
  EXPECT_EQ(spec.max_new_tokens, 5);
  EXPECT_TRUE(!spec.use_cache && !spec.use_prefix_cache && spec.ignore_eos && spec.stream);
  EXPECT_EQ(spec.sampling.temperature, 0.5f);
  EXPECT_EQ(spec.sampling.top_p, 0.9f);
  EXPECT_EQ(spec.sampling.top_k, 7);
  EXPECT_EQ(spec.sampling.min_p, 0.1f);
  EXPECT_EQ(spec.sampling.repetition_penalty, 1.1f);
  EXPECT_EQ(spec.sampling.presence_penalty, -1);
  EXPECT_EQ(spec.sampling.frequency_penalty, 2);
  EXPECT_EQ(spec.sampling.seed, ~std::uint64_t{0});
  EXPECT_EQ(spec.stop, (std::vector<std::string>{"a", "b"}));
  EXPECT_EQ(spec.cache_salt, "s");
}

TEST(GenerateRequest, ARefusalNamesTheField) {
  const std::pair<const char*, const char*> cases[] = {
      {R"({})", "prompt"},
      {R"({"prompt":null})", "prompt"},
      {R"({"prompt":"a","top_k":2.5})", "top_k"},
      {R"({"prompt":"a","top_p":null,"max_new_tokens":0})", "max_new_tokens"},
      {R"({"prompt":"a","seed":0.5})", "seed"},
      {R"({"prompt":"a","stop":[[]]})", "stop"},
      {R"({"prompt":"a","n":2})", "n"},
      {R"({"prompt":"a","temperature":101})", "temperature"},
      {R"({"prompt":"a","whatever":1})", "whatever"},
  };
  for (const auto& [body, param] : cases) EXPECT_EQ(refused(parse(parse_generate, body)), param) << body;
}

TEST(CompletionRequest, APromptIsTextOrTokensOrAListOfThem) {
  const auto prompts = [](const char* body) {
    return accepted<GenerationSpec>(parse(parse_completion, body)).prompts;
  };
  using Ids = std::vector<TokenId>;
  EXPECT_EQ(prompts(R"({"prompt":"a"})"), (std::vector<Prompt>{"a"}));
  EXPECT_EQ(prompts(R"({"prompt":[1,2]})"), (std::vector<Prompt>{Ids{1, 2}}));
  EXPECT_EQ(prompts(R"({"prompt":["a","b"]})"), (std::vector<Prompt>{"a", "b"}));
  EXPECT_EQ(prompts(R"({"prompt":[[1],[2,3]]})"), (std::vector<Prompt>{Ids{1}, Ids{2, 3}}));
  for (const char* body :
       {R"({"prompt":[]})", R"({"prompt":[[]]})", R"({"prompt":[100]})", R"({"prompt":[-1]})",
        R"({"prompt":[1.5]})", R"({"prompt":7})", R"({"prompt":["a",[1]]})", R"({"prompt":[["a"]]})"}) {
    const bool is_mixed = std::string(body).find("[\"a\",[1]]") != std::string::npos;
    EXPECT_EQ(refused(parse(parse_completion, body)), is_mixed ? "accepted" : "prompt") << body;
  }
}

TEST(CompletionRequest, ReadsWhatOpenAiVllmAndLlamaCppCallTheSame) {
  const auto spec = accepted<GenerationSpec>(parse(
      parse_completion,
      R"({"prompt":"p","model":"alias","n":2,"best_of":3,"logprobs":2,"echo":true,"max_tokens":null,"n_predict":-1,)"
      R"("repeat_penalty":1.2,"cache_prompt":false,"logit_bias":{"5":-100},"top_k":-1,"stop_token_ids":[7],)"
      R"("min_tokens":1,"truncate_prompt_tokens":-1,"allowed_token_ids":[5,7],"priority":-3,"user":"u",)"
      R"("stream":false,"return_token_ids":true,"include_stop_str_in_output":true,"seed":-1})"));
  EXPECT_EQ(spec.num_samples, 2);
  EXPECT_EQ(spec.best_of, 3);
  EXPECT_EQ(spec.num_logprobs, 2);
  EXPECT_EQ(spec.num_prompt_logprobs, 2);
  EXPECT_FALSE(spec.max_new_tokens);
  EXPECT_EQ(spec.sampling.temperature, 1);
  EXPECT_EQ(spec.sampling.repetition_penalty, 1.2f);
  EXPECT_FALSE(spec.use_prefix_cache);
  EXPECT_EQ(spec.sampling.logit_bias, (std::vector<std::pair<TokenId, float>>{{5, -100}}));
  EXPECT_EQ(spec.sampling.top_k, 0);
  EXPECT_EQ(spec.stop_token_ids, std::vector<TokenId>{7});
  EXPECT_EQ(spec.truncate_prompt_tokens, 63);
  EXPECT_EQ(spec.sampling.allowed_token_ids, (std::vector<TokenId>{5, 7}));
  EXPECT_EQ(spec.priority, -3);
  EXPECT_TRUE(spec.return_token_ids && spec.include_stop_text);
}

TEST(CompletionRequest, ARefusalNamesTheField) {
  const std::pair<const char*, const char*> cases[] = {
      {R"({"prompt":"a","stream_options":{"include_usage":true}})", "stream_options"},
      {R"({"prompt":"a","stream":true,"stream_options":{"x":1}})", "stream_options.x"},
      {R"({"prompt":"a","logit_bias":{"100":1}})", "logit_bias"},
      {R"({"prompt":"a","logit_bias":{"1":101}})", "logit_bias"},
      {R"({"prompt":"a","logit_bias":{"1x":1}})", "logit_bias"},
      {R"({"prompt":"a","suffix":"b"})", "suffix"},
      {R"({"prompt":"a","logprobs":21})", "logprobs"},
      {R"({"prompt":"a","n":0})", "n"},
      {R"({"prompt":"a","n":1000000000})", "n"},
      {R"({"prompt":"a","max_tokens":-1})", "max_tokens"},
      {R"({"prompt":"a","stop":["1","2","3","4","5","6","7","8","9","a","b","c","d","e","f","g","h"]})",
       "stop"},
      {R"({"prompt":"a","cache_salt":""})", "cache_salt"},
      {R"({"prompt":"a","truncate_prompt_tokens":0})", "truncate_prompt_tokens"},
      {R"({"prompt":"a","response_format":{"type":"xml"}})", "response_format"},
      {R"x({"prompt":"a","regex":"a(?=b)"})x", "regex"},
      {R"({"prompt":"a","regex":"a","grammar":"root ::= \"a\""})", "grammar"},
      {R"({"prompt":"a","guided_json":{"type":"object","patternProperties":{"a":{}}}})", "guided_json"},
  };
  for (const auto& [body, param] : cases) EXPECT_EQ(refused(parse(parse_completion, body)), param) << body;
}

TEST(CompletionRequest, CountsAreCheckedTogether) {
  const auto check = [](const char* body) {
    const auto refusal = check_counts(accepted<GenerationSpec>(parse(parse_completion, body)), 9);
    return refusal ? refusal->param : "accepted";
  };
  EXPECT_EQ(check(R"({"prompt":"a","n":3,"best_of":2})"), "best_of");
  EXPECT_EQ(check(R"({"prompt":"a","best_of":2,"stream":true})"), "best_of");
  EXPECT_EQ(check(R"({"prompt":"a","min_tokens":5,"max_tokens":4})"), "min_tokens");
  EXPECT_EQ(check(R"({"prompt":["a","b","c","d","e"],"n":2})"), "n");
  EXPECT_EQ(check(R"({"prompt":["a","b"],"best_of":5})"), "best_of");
  EXPECT_EQ(check(R"({"prompt":["a","b","c","d","e","f","g","h","i","j"]})"), "prompt");
  EXPECT_EQ(check(R"({"prompt":["a","b","c"],"n":3})"), "accepted");
  EXPECT_EQ(check(R"({"prompt":["a","b"],"n":2})"), "accepted");
}

TEST(Model, IsOneOfItsNames) {
  EXPECT_FALSE(check_model(ordered_json::parse(R"({})"), facts()));
  EXPECT_FALSE(check_model(ordered_json::parse(R"({"model":"m"})"), facts()));
  EXPECT_FALSE(check_model(ordered_json::parse(R"({"model":"alias"})"), facts()));
  const auto refusal = check_model(ordered_json::parse(R"({"model":"gpt"})"), facts());
  ASSERT_TRUE(refusal);
  EXPECT_EQ(refusal->status.code(), StatusCode::kNotFound);
  EXPECT_NE(refusal->status.message().find("'m'"), std::string::npos);
}

TEST(ChatRequest, MessagesBecomeWhatTemplatesRead) {
  const auto request = accepted<ChatRequest>(parse(
      parse_chat,
      R"({"messages":[{"role":"developer","content":"d"},)"
      R"({"role":"user","content":[{"type":"text","text":"a"},{"type":"text","text":"b"}],"name":null},)"
      R"({"role":"assistant","content":null,"refusal":null,"tool_calls":[{"id":"1","type":"function",)"
      R"("function":{"name":"f","arguments":"{\"z\":1,\"a\":2}"}}]},)"
      R"({"role":"tool","tool_call_id":"1","content":"r"}],"max_completion_tokens":3})"));
  EXPECT_EQ(request.spec.max_new_tokens, 3);
  EXPECT_EQ(request.conversation.messages.dump(),
            R"([{"role":"system","content":"d"},{"role":"user","content":"a\nb"},)"
            R"({"role":"assistant","tool_calls":[{"id":"1","type":"function",)"
            R"("function":{"name":"f","arguments":{"z":1,"a":2}}}],"content":""},)"
            R"({"role":"tool","tool_call_id":"1","content":"r"}])");
}

TEST(ChatRequest, ARefusalNamesTheField) {
  const std::pair<const char*, const char*> cases[] = {
      {R"({"messages":[]})", "messages"},
      {R"({"messages":[{"content":"a"}]})", "messages"},
      {R"({"messages":[{"role":"user"}]})", "messages"},
      {R"({"messages":[{"role":"user","content":[{"type":"image_url","image_url":{}}]}]})", "messages"},
      {R"({"messages":[{"role":"user","content":"a"}],"top_logprobs":2})", "top_logprobs"},
      {R"({"messages":[{"role":"user","content":"a"}],"tools":[{"type":"web"}]})", "tools[0]"},
      {R"({"messages":[{"role":"user","content":"a"}],"tool_choice":"required"})", "tool_choice"},
      {R"({"messages":[{"role":"user","content":"a"}],"functions":[]})", "functions"},
      {R"({"messages":[{"role":"user","content":"a"}],"modalities":["audio"]})", "modalities"},
      {R"({"messages":[{"role":"user","content":"a"}],"store":true})", "store"},
      {R"({"messages":[{"role":"tool","content":"a","tool_call_id":1}]})", "messages"},
      {R"({"messages":[{"role":"assistant","tool_calls":[{"id":1,"function":{"name":"f"}}]}]})", "messages"},
      {R"({"messages":[{"role":"assistant","tool_calls":[{"type":"x","function":{"name":"f"}}]}]})",
       "messages"},
      {R"({"messages":[{"role":"user","content":"a"}],"tools":[{"type":"function","function":{"name":"f","description":1}}]})",
       "tools[0]"},
  };
  for (const auto& [body, param] : cases) EXPECT_EQ(refused(parse(parse_chat, body)), param) << body;
}

// A template would write it out.
TEST(ChatRequest, ANullInACallOrAToolCountsAsAbsent) {
  const auto request = accepted<ChatRequest>(
      parse(parse_chat, R"({"messages":[{"role":"assistant","tool_calls":[{"id":null,"type":null,)"
                        R"("function":{"name":"f","arguments":null}}]}],"tools":[{"type":"function",)"
                        R"("function":{"name":"f","description":null,"parameters":null}}]})"));
  EXPECT_EQ(request.conversation.messages.dump(),
            R"([{"role":"assistant","tool_calls":[{"function":{"name":"f","arguments":{}}}],"content":""}])");
  EXPECT_EQ(request.conversation.tools.dump(), R"([{"type":"function","function":{"name":"f"}}])");
}

constexpr char kTools[] =
    R"("tools":[{"type":"function","function":{"name":"f","parameters":{"type":"object","properties":{"x":{"type":"integer"}}}}},)"
    R"({"type":"function","function":{"name":"g"}}])";

TEST(ChatRequest, ToolChoiceConstrainsTheReply) {
  const auto with = [](const std::string& choice) {
    const std::string body =
        std::string(R"({"messages":[{"role":"user","content":"a"}],)") + kTools + choice + "}";
    return accepted<ChatRequest>(parse(parse_chat, body.c_str()));
  };
  EXPECT_EQ(with("").tools.choice, ToolChoice::kAuto);
  EXPECT_EQ(with("").spec.format, nullptr);
  EXPECT_FALSE(with("").spec.skip_special_tokens);
  EXPECT_EQ(with(R"(,"tool_choice":"none")").tools.choice, ToolChoice::kNone);
  EXPECT_NE(with(R"(,"tool_choice":"required")").spec.format, nullptr);
  const ChatRequest named = with(R"(,"tool_choice":{"type":"function","function":{"name":"g"}})");
  EXPECT_NE(named.spec.format, nullptr);
  EXPECT_EQ(named.tools.names, std::vector<std::string>{"g"});
  EXPECT_FALSE(named.tools.allows_several);
}

TEST(MessagesRequest, BlocksBecomeMessages) {
  const auto request = accepted<ChatRequest>(parse(
      parse_messages,
      R"({"model":"m","max_tokens":5,"system":[{"type":"text","text":"s","cache_control":{"type":"ephemeral"}}],)"
      R"("messages":[{"role":"user","content":"q"},)"
      R"({"role":"assistant","content":[{"type":"text","text":"t"},{"type":"tool_use","id":"1","name":"f","input":{"x":1}}]},)"
      R"({"role":"user","content":[{"type":"tool_result","tool_use_id":"1","content":"r"},{"type":"text","text":"go"}]}],)"
      R"("tools":[{"name":"f","input_schema":{"type":"object"}}],"tool_choice":{"type":"auto"},"stop_sequences":["x"]})"));
  EXPECT_EQ(request.conversation.messages.dump(),
            R"([{"role":"system","content":"s"},{"role":"user","content":"q"},)"
            R"({"role":"assistant","content":"t","tool_calls":[{"id":"1","type":"function",)"
            R"("function":{"name":"f","arguments":{"x":1}}}]},)"
            R"({"role":"tool","tool_call_id":"1","content":"r"},{"role":"user","content":"go"}])");
  EXPECT_EQ(request.tools.names, std::vector<std::string>{"f"});
  EXPECT_FALSE(request.conversation.continue_final_message);
  EXPECT_EQ(refused(parse(parse_messages, R"({"messages":[{"role":"user","content":"q"}]})")), "max_tokens");
  EXPECT_EQ(
      refused(parse(parse_messages, R"({"max_tokens":1,"messages":[{"role":"system","content":"q"}]})")),
      "messages[0]");
}

TEST(MessagesRequest, ARefusalNamesTheField) {
  const std::pair<const char*, const char*> cases[] = {
      {R"("tools":[{"type":5,"name":"f"}])", "tools"},
      {R"("tools":[{"name":"f","description":5}])", "tools[0]"},
      {R"("tools":[{"name":"f"}],"tool_choice":{"type":"auto","disable_parallel_tool_use":1})",
       "tool_choice"},
      {R"("messages":[{"role":"assistant","content":[{"type":"tool_use","name":"f","input":"x"}]}])",
       "messages[0]"},
      {R"("top_k":-1)", "top_k"},
  };
  for (const auto& [fields, param] : cases) {
    auto body = ordered_json::parse(R"({"max_tokens":1,"messages":[{"role":"user","content":"q"}]})");
    body.update(ordered_json::parse('{' + std::string(fields) + '}'));
    EXPECT_EQ(refused(parse_messages(body, facts())), param) << fields;
  }
}

TEST(MessagesRequest, AReplyThatIsBegunGoesOn) {
  const auto request = accepted<ChatRequest>(parse(
      parse_messages,
      R"({"max_tokens":5,"messages":[{"role":"user","content":"q"},{"role":"assistant","content":"It is"}]})"));
  EXPECT_TRUE(request.conversation.continue_final_message);
}

TEST(ResponsesRequest, ItemsBecomeMessages) {
  const auto request = accepted<ChatRequest>(parse(
      parse_responses,
      R"({"model":"m","instructions":"s","input":[{"role":"user","content":[{"type":"input_text","text":"q"}]},)"
      R"({"type":"function_call","call_id":"1","name":"f","arguments":"{}"},)"
      R"({"type":"function_call_output","call_id":"1","output":"r"}],)"
      R"("tools":[{"type":"function","name":"f","parameters":{"type":"object"}}],)"
      R"("text":{"format":{"type":"json_schema","name":"n","schema":{"type":"object"}}}})"));
  EXPECT_EQ(
      request.conversation.messages.dump(),
      R"([{"role":"system","content":"s"},{"role":"user","content":"q"},)"
      R"({"role":"assistant","tool_calls":[{"id":"1","type":"function","function":{"name":"f","arguments":{}}}],)"
      R"("content":""},{"role":"tool","tool_call_id":"1","content":"r"}])");
  EXPECT_NE(request.spec.format, nullptr);
  EXPECT_EQ(refused(parse(parse_responses, R"({"input":"a","previous_response_id":"r"})")),
            "previous_response_id");
  EXPECT_EQ(refused(parse(parse_responses, R"({"input":[]})")), "input");
}

TEST(ResponsesRequest, ARefusalNamesTheItem) {
  const std::pair<const char*, const char*> cases[] = {
      {R"(5)", "input[1]"},
      {R"({"type":"image"})", "input[1]"},
      {R"({"content":"q"})", "input[1].role"},
      {R"({"role":"user","content":5})", "input[1].content"},
      {R"({"role":"user","content":[{"type":"input_image"}]})", "input[1].content"},
      {R"({"type":"function_call","call_id":"1","arguments":"{}"})", "input[1].name"},
      {R"({"type":"function_call_output","call_id":1,"output":"r"})", "input[1].call_id"},
      {R"({"type":"function_call_output","call_id":"1","output":{}})", "input[1].output"},
  };
  for (const auto& [item, name] : cases) {
    auto body = ordered_json::parse(R"({"input":[{"role":"user","content":"q"}]})");
    body["input"].push_back(ordered_json::parse(item));
    const auto parsed = parse_responses(body, facts());
    const auto* refusal = std::get_if<Refusal>(&parsed);
    ASSERT_NE(refusal, nullptr) << item;
    EXPECT_TRUE(refusal->status.message().starts_with(std::string(name) + ": ")) << refusal->status.message();
  }
}

TEST(EmbeddingsRequest, ReadsItsFields) {
  const auto request = accepted<EmbeddingRequest>(
      parse(parse_embeddings, R"({"input":["a",[1]],"encoding_format":"base64"})"));
  EXPECT_EQ(request.inputs.size(), 2u);
  EXPECT_TRUE(request.is_base64);
  EXPECT_EQ(refused(parse(parse_embeddings, R"({"input":"a","dimensions":5})")), "dimensions");
  EXPECT_EQ(refused(parse(parse_embeddings, R"({"input":"a","encoding_format":"hex"})")), "encoding_format");
}

// However wrong the types inside a body are, the answer is a refusal.
TEST(Requests, ValuesOfEachTypeInEachPlaceAreAnswered) {
  const char* const bodies[] = {
      R"({"prompt":"a","logit_bias":{"1":1},"stream":true,"stream_options":{"include_usage":true},"stop":["a"],"response_format":{"type":"json_schema","json_schema":{"schema":{"type":"object"}}}})",
      R"({"messages":[{"role":"user","content":[{"type":"text","text":"a"}]},{"role":"assistant","tool_calls":[{"id":"1","type":"function","function":{"name":"f","arguments":"{}"}}]}],"tools":[{"type":"function","function":{"name":"f","parameters":{"type":"object"}}}],"tool_choice":{"type":"function","function":{"name":"f"}},"chat_template_kwargs":{"a":1}})",
      R"({"max_tokens":5,"system":[{"type":"text","text":"s"}],"messages":[{"role":"assistant","content":[{"type":"tool_use","id":"1","name":"f","input":{}}]},{"role":"user","content":[{"type":"tool_result","tool_use_id":"1","content":"r"}]}],"tools":[{"name":"f","input_schema":{"type":"object"}}],"tool_choice":{"type":"tool","name":"f"}})",
      R"({"input":[{"role":"user","content":[{"type":"input_text","text":"q"}]},{"type":"function_call","call_id":"1","name":"f","arguments":"{}"},{"type":"function_call_output","call_id":"1","output":"r"}],"tools":[{"type":"function","name":"f","parameters":{"type":"object"}}],"tool_choice":{"type":"function","name":"f"},"text":{"format":{"type":"json_schema","schema":{}}},"reasoning":{"effort":"low"}})"};
  const ordered_json values[] = {nullptr,
                                 true,
                                 1,
                                 -1.5,
                                 "x",
                                 ordered_json::array(),
                                 ordered_json::object(),
                                 ordered_json::array({1}),
                                 ordered_json::parse(R"([{}])"),
                                 ordered_json::parse(R"({"a":{}})")};
  int num_bodies = 0;
  for (const char* text : bodies) {
    const ordered_json body = ordered_json::parse(text);
    const ordered_json places = body.flatten();
    for (const auto& [pointer, unused] : places.items()) {
      for (std::string place = pointer; !place.empty(); place.resize(place.rfind('/'))) {
        for (const ordered_json& value : values) {
          ordered_json changed = body;
          changed[ordered_json::json_pointer(place)] = value;
          ++num_bodies;
          // A library's exception would be answered too, but as an error that names no field.
          EXPECT_NO_THROW({
            parse_generate(changed, facts());
            parse_completion(changed, facts());
            parse_chat(changed, facts());
            parse_messages(changed, facts());
            parse_responses(changed, facts());
            parse_embeddings(changed, facts());
          }) << changed.dump();
        }
      }
    }
  }
  EXPECT_GT(num_bodies, 500);
}

}  // namespace
}  // namespace kvasir::api
