#include "api/tool_calls.h"

#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>
#include <iterator>
#include <map>
#include <nlohmann/json.hpp>
#include <random>

#include "tests/shared_data.h"

namespace kvasir::api {
namespace {

using nlohmann::json;
using Kind = ReplyPiece::Kind;

const std::vector<std::string> kNames = {"get_weather", "f", "add.two", "naïve"};

// A reply without the pieces' bounds: content as it is, a call as «name|arguments».
std::string joined(const std::vector<ReplyPiece>& pieces) {
  std::string all;
  bool is_in_call = false;
  for (const ReplyPiece& piece : pieces) {
    EXPECT_EQ(is_in_call, piece.kind == Kind::kArguments || piece.kind == Kind::kCallEnd);
    switch (piece.kind) {
      case Kind::kContent:
        EXPECT_NE(piece.text, "");
        all += piece.text;
        break;
      case Kind::kCallBegin:
        is_in_call = true;
        all += "«" + piece.text + "|";
        break;
      case Kind::kArguments:
        EXPECT_NE(piece.text, "");
        all += piece.text;
        break;
      case Kind::kCallEnd:
        EXPECT_EQ(piece.text, "");
        is_in_call = false;
        all += "»";
        break;
    }
  }
  EXPECT_FALSE(is_in_call);
  return all;
}

std::string parse(ToolFormat format, const std::vector<std::string_view>& texts) {
  ToolCallParser parser(format, kNames);
  std::vector<ReplyPiece> pieces;
  for (const std::string_view text : texts) parser.push(text, pieces);
  parser.finish(pieces);
  int num_calls = 0;
  for (const ReplyPiece& piece : pieces) num_calls += piece.kind == Kind::kCallBegin;
  EXPECT_EQ(parser.num_calls(), num_calls);
  return joined(pieces);
}

struct Case {
  ToolFormat format;
  std::string reply;
  std::string expected;
};

std::string hermes(const std::string& object) {
  return "<tool_call>\n" + object + "\n</tool_call>";
}

const std::string kF = R"({"name": "f", "arguments": {"a": 1}})";

const std::vector<Case>& cases() {
  constexpr ToolFormat kH = ToolFormat::kHermes, kL = ToolFormat::kLlama3, kM = ToolFormat::kMistral;
  const auto same = [](ToolFormat format, const std::string& reply) { return Case{format, reply, reply}; };
  static const std::vector<Case> all = {
      // Hermes: calls, text before and between, whitespace.
      {kH, "", ""},
      {kH, hermes(kF), R"(«f|{"a": 1}»)"},
      {kH, hermes(kF) + "\n" + hermes(kF), R"(«f|{"a": 1}»«f|{"a": 1}»)"},
      {kH, "I look.\n" + hermes(kF) + "\nAnd\n" + hermes(kF) + " \n",
       "I look.«f|{\"a\": 1}»\nAnd«f|{\"a\": 1}»"},
      {kH, "<tool_call>" + kF + "</tool_call>ok", R"(«f|{"a": 1}»ok)"},
      {kH, "<tool_call>\t\r\n { \"name\" :\"f\" ,\"arguments\":\n{ }\n} \n\n</tool_call>", "«f|{ }»"},
      // Members in any order, others among them, none but the name, the other format's word.
      {kH, hermes(R"({"arguments": {"a": [{}]}, "name": "f"})"), R"(«f|{"a": [{}]}»)"},
      {kH,
       hermes(
           R"({"id": "}", "arguments": {"a": 1}, "x": [1, {"b": null}], "n": -1.5e3, "name": "f", "y": {"}": 0}})"),
       R"(«f|{"a": 1}»)"},
      {kH, hermes(R"({"name": "f"})"), "«f|{}»"},
      {kH, hermes(R"({"type": "function", "name": "f", "parameters": {}, "more": ["}"]})"), "«f|{}»"},
      // Strings with braces, quotes and escapes; unicode; what JSON does not allow but models write.
      {kH, hermes(R"({"name": "f", "arguments": {"a": "}]\"{</tool_call>\\", "b": {"c": [[], "\u00e9ü"]}}})"),
       R"(«f|{"a": "}]\"{</tool_call>\\", "b": {"c": [[], "\u00e9ü"]}}»)"},
      {kH, hermes(R"({"name": "na\u00efve", "arguments": {}})"), "«naïve|{}»"},
      {kH, hermes("{\"name\": \"f\", \"arguments\": {\"code\": \"a\nb\", }}"), "«f|{\"code\": \"a\nb\", }»"},
      // What only looks like a call is content, to the byte.
      same(kH, "a < b <tool_calls> <tool <<tool_cal"),
      same(kH, " \n lots\n\n of \t space \n "),
      same(kH, "<tool_call> no JSON </tool_call>"),
      same(kH, hermes(R"({"name": "g", "arguments": {"a": 1}})")),
      same(kH, hermes(R"({"arguments": {"a": 1}, "name": "g"})")),
      same(kH, hermes(R"({"name": 7, "arguments": {}})")),
      same(kH, hermes(R"({"name": "f" "arguments": {}})")),
      same(kH, hermes(R"({"name": "f", "name": "f"})")),
      same(kH, hermes(R"({"name": "f", "arguments": "{}"})")),
      same(kH, hermes(R"({"arguments": {"a": ]}, "name": "f"})")),
      same(kH, hermes(R"({"arguments": {}, "arguments": {}, "name": "f"})")),
      same(kH, hermes(R"({"name": "f\q"})")),
      same(kH, hermes(R"({"name": f})")),
      same(kH, hermes(R"({"x": 1 2, "name": "f"})")),
      same(kH, hermes("{}")),
      same(kH, hermes("[]")),
      same(kH, "<tool_call>\n{\"name\": \"f\", \"argu"),
      // A call that follows such a thing is still one.
      {kH, "x <tool_call>\n" + hermes(kF), "x <tool_call>«f|{\"a\": 1}»"},
      {kH, "<tool<tool_call><tool_call>" + kF + "</tool_call>", R"(<tool<tool_call>«f|{"a": 1}»)"},
      {kH, hermes(R"({"name": "g"})") + hermes(kF), hermes(R"({"name": "g"})") + R"(«f|{"a": 1}»)"},
      // What breaks off behind the point of no return.
      {kH, "<tool_call>\n{\"name\": \"f\", \"arguments\": {\"a\": \"b", "«f|{\"a\": \"b»"},
      {kH, "<tool_call>\n{\"name\": \"f\", \"arguments\": {\"a\": 1}}\n</tool", "«f|{\"a\": 1}»"},
      {kH, "<tool_call>\n{\"name\": \"f\", \"arguments\": {\"a\": 1}\n</tool_call>ok", "«f|{\"a\": 1}»ok"},
      {kH, "<tool_call>\n{\"name\": \"f\", \"arguments\": {\"a\": 1\n</tool_call>ok", "«f|{\"a\": 1\n»ok"},
      {kH, "<tool_call>\n{\"name\": \"f\", \"arguments\": {\"a\": ]}}", "«f|{\"a\": »]}}"},
      {kH, "<tool_call>" + kF + "<tool_call>" + kF, R"(«f|{"a": 1}»«f|{"a": 1}»)"},
      {kH, "<tool_call>" + kF + "</tool_cat>", R"(«f|{"a": 1}»</tool_cat>)"},

      // Llama 3: the whole reply.
      {kL, "", ""},
      {kL, R"({"name": "f", "parameters": {"a": 1}})", R"(«f|{"a": 1}»)"},
      {kL,
       R"( {"type": "function", "name": "f", "parameters": {"a": "}"}})"
       "\n",
       R"(«f|{"a": "}"}»)"},
      {kL, R"(<|python_tag|> {"name": "f", "arguments": {}})", "«f|{}»"},
      {kL, R"({"name": "f", "parameters": {}}; {"name": "add.two", "parameters": {"b": 2}})",
       R"(«f|{}»«add.two|{"b": 2}»)"},
      {kL,
       R"({"name": "f", "parameters": {}})"
       "\n<|python_tag|>"
       R"({"name": "f"};)",
       "«f|{}»«f|{}»"},
      {kL, R"({"name": "f", "parameters": {}} That is all.)", "«f|{}» That is all."},
      {kL, R"({"name": "f", "parameters": {}}; {"name": "g"} {"name": "f"})",
       R"(«f|{}»; {"name": "g"} {"name": "f"})"},
      {kL, R"({"name": "f", "parameters": {"a": 1)", R"(«f|{"a": 1»)"},
      same(kL, R"(So: {"name": "f", "parameters": {}})"),
      same(kL, R"({"name": "Bob", "parameters": {}})"),
      same(kL, R"({"answer": 42})"),
      same(kL, R"(<|python_tag|>brave_search.call(query="x"))"),
      same(kL, "<|python_"),
      same(kL, "; x"),
      same(kL, " \n "),

      // Mistral: arrays and bare names.
      {kM, "[TOOL_CALLS] [" + kF + "]", R"(«f|{"a": 1}»)"},
      {kM, "Yes. [TOOL_CALLS][" + kF + R"(, {"name": "add.two", "arguments": {}, "id": "a]b"} ] bye)",
       R"(Yes.«f|{"a": 1}»«add.two|{}» bye)"},
      {kM, R"([TOOL_CALLS][{"id": "123456789", "name": "f", "arguments": {}}])", "«f|{}»"},
      {kM, "[TOOL_CALLS]f[ARGS]{\"a\": 1}[TOOL_CALLS]add.two[ARGS] {}\n", R"(«f|{"a": 1}»«add.two|{}»)"},
      {kM, "Hm.[TOOL_CALLS]f[CALL_ID]123456789[ARGS]{\"a\": \"[ARGS]\"} so", R"(Hm.«f|{"a": "[ARGS]"}» so)"},
      {kM, R"([TOOL_CALLS] [{"name": "f", "arguments": {}}, {"name": "g"}])", R"(«f|{}», {"name": "g"}])"},
      {kM, "[TOOL_CALLS] [" + kF + ", ", R"(«f|{"a": 1}»)"},
      {kM, "[TOOL_CALLS]f[ARGS]{\"a\": [}", R"(«f|{"a": [»})"},
      {kM, "[TOOL_CALLS][TOOL_CALLS]f[ARGS]{}", "[TOOL_CALLS]«f|{}»"},
      {kM, "[TOOL_CALLS] [" + kF + "[TOOL_CALLS]f[ARGS]{}", R"(«f|{"a": 1}»«f|{}»)"},
      same(kM, "[TOOL_CALLS] []"),
      same(kM, "[TOOL_CALLS] [1]"),
      same(kM, "[TOOL_CALLS]g[ARGS]{}"),
      same(kM, "[TOOL_CALLS]f[ARG]{}"),
      same(kM, "[TOOL_CALLS]f[ARGS]7"),
      same(kM, "[TOOL_CALLS]f[CALL_ID]1"),
      same(kM, "[TOOL_CALLS] get_weather(1)"),
      same(kM, "[1, 2] [TOOL [[TOOL_CALL] x"),
  };
  return all;
}

TEST(ToolCalls, TakesRepliesApart) {
  for (const Case& c : cases()) EXPECT_EQ(parse(c.format, {c.reply}), c.expected) << c.reply;
}

TEST(ToolCalls, TheResultDoesNotDependOnTheCuts) {
  for (const Case& c : cases()) {
    const std::string_view reply = c.reply;
    std::vector<std::string_view> bytes;
    for (std::size_t i = 0; i < reply.size(); ++i) bytes.push_back(reply.substr(i, 1));
    ASSERT_EQ(parse(c.format, bytes), c.expected) << c.reply;
    for (std::size_t i = 0; i <= reply.size(); ++i) {
      for (std::size_t j = i; j <= reply.size(); ++j) {
        ASSERT_EQ(parse(c.format, {reply.substr(0, i), reply.substr(i, j - i), reply.substr(j)}), c.expected)
            << c.reply << " cut at " << i << " and " << j;
      }
    }
  }
}

// What has come when all but the end of a text has been pushed.
std::string so_far(ToolFormat format, std::string_view text) {
  ToolCallParser parser(format, kNames);
  std::vector<ReplyPiece> pieces;
  parser.push(text, pieces);
  std::string all;
  for (const ReplyPiece& piece : pieces)
    all += piece.kind == Kind::kCallBegin ? piece.text + "|" : piece.text;
  return all;
}

TEST(ToolCalls, PiecesComeOutAsSoonAsTheyAreCertain) {
  EXPECT_EQ(so_far(ToolFormat::kHermes, "Hello"), "Hello");
  EXPECT_EQ(so_far(ToolFormat::kHermes, "Hello <tool"), "Hello");
  EXPECT_EQ(so_far(ToolFormat::kHermes, "Hello <tools"), "Hello <tools");
  EXPECT_EQ(so_far(ToolFormat::kHermes, R"(<tool_call>{"name": "f", "arguments": )"), "");
  EXPECT_EQ(so_far(ToolFormat::kHermes, R"(<tool_call>{"name": "f", "arguments": {)"), "f|{");
  EXPECT_EQ(so_far(ToolFormat::kHermes, R"(<tool_call>{"name": "f", "arguments": {"a": "x)"),
            R"(f|{"a": "x)");
  EXPECT_EQ(so_far(ToolFormat::kHermes, R"(<tool_call>{"arguments": {"a": 1}, )"), "");
  EXPECT_EQ(so_far(ToolFormat::kHermes, R"(<tool_call>{"arguments": {"a": 1}, "name": "f")"),
            R"(f|{"a": 1})");
  EXPECT_EQ(so_far(ToolFormat::kHermes, R"(<tool_call>{"name": "g")"), R"(<tool_call>{"name": "g")");
  EXPECT_EQ(so_far(ToolFormat::kLlama3, "No"), "No");
  EXPECT_EQ(so_far(ToolFormat::kLlama3, R"({"name": "f", "parameters": {"a")"), R"(f|{"a")");
  EXPECT_EQ(so_far(ToolFormat::kMistral, "[TOOL_CALLS]f[ARGS]{1"), "f|{1");
  EXPECT_EQ(so_far(ToolFormat::kMistral, "[TOOL_CALLS]go"), "[TOOL_CALLS]go");
}

TEST(ToolCalls, PiecesAreAddedBehindThoseOfTheCaller) {
  ToolCallParser parser(ToolFormat::kHermes, kNames);
  std::vector<ReplyPiece> pieces = {{Kind::kContent, "x"}};
  parser.push("ab", pieces);
  parser.push("c ", pieces);
  parser.finish(pieces);
  ASSERT_EQ(pieces.size(), 4u);
  EXPECT_EQ(pieces[0].text, "x");
  EXPECT_EQ(pieces[1].text, "ab");
  EXPECT_EQ(pieces[2].text, "c");
  EXPECT_EQ(pieces[3].text, " ");
}

// Random replies from the parts that matter: the same for any cuts, nothing lost, and well-formed.
TEST(ToolCalls, RandomRepliesAreTakenApartTheSameForAnyCuts) {
  const char* const kParts[] = {"<tool_call>",
                                "</tool_call>",
                                "[TOOL_CALLS]",
                                "[ARGS]",
                                "[CALL_ID]",
                                "<|python_tag|>",
                                "{",
                                "}",
                                "[",
                                "]",
                                "\"name\": \"f\"",
                                "\"name\"",
                                "\"arguments\": {",
                                "\"parameters\":{\"x\":",
                                ":",
                                ",",
                                "\"",
                                "\\",
                                "f",
                                " ",
                                "\n",
                                ";",
                                "<",
                                "ü",
                                "1",
                                R"({"name": "f", "arguments": {}})",
                                R"({"name": "g"})",
                                R"(<tool_call>{"name": "f", "arguments": {)",
                                R"([TOOL_CALLS]f[ARGS]{)",
                                R"({"parameters": {}, "name": "f")"};
  std::mt19937_64 random(7);
  const auto below = [&](std::size_t limit) { return random() % limit; };
  int num_with_calls = 0;
  for (int round = 0; round < 30'000; ++round) {
    std::string reply;
    for (std::size_t n = below(14); n > 0; --n) reply += kParts[below(std::size(kParts))];
    const auto format = static_cast<ToolFormat>(round % 3);
    const std::string whole = parse(format, {reply});
    std::vector<std::string_view> pieces;
    for (std::size_t at = 0; at < reply.size();) {
      pieces.push_back(std::string_view(reply).substr(at, 1 + below(9)));
      at += pieces.back().size();
    }
    ASSERT_EQ(parse(format, pieces), whole) << reply;
    if (whole.find("«") == std::string::npos) {
      ASSERT_EQ(whole, reply);
    } else {
      ++num_with_calls;
    }
  }
  EXPECT_GT(num_with_calls, 500);
}

json random_value(std::mt19937_64& random, int depth) {
  const char* const kTexts[] = {"",
                                "a",
                                "}",
                                "{",
                                "\"",
                                "\\",
                                "</tool_call>",
                                "[TOOL_CALLS]",
                                "[ARGS]",
                                "; ",
                                "é\n\t",
                                "😀",
                                "<|python_tag|>"};
  json value;
  switch (random() % (depth > 0 ? 6 : 4)) {
    case 0:
      return kTexts[random() % std::size(kTexts)];
    case 1:
      return static_cast<std::int64_t>(random());
    case 2:
      return random() % 2 == 0;
    case 3:
      return nullptr;
    case 4:
      value = json::array();
      for (std::size_t n = random() % 4; n > 0; --n) value.push_back(random_value(random, depth - 1));
      return value;
    default:
      value = json::object();
      for (std::size_t n = random() % 4; n > 0; --n) {
        value[kTexts[random() % std::size(kTexts)]] = random_value(random, depth - 1);
      }
      return value;
  }
}

TEST(ToolCalls, TextOfTheSyntaxIsTheCallsItWasMadeOf) {
  std::mt19937_64 random(3);
  for (int round = 0; round < 3'000; ++round) {
    const bool is_bare = round % 4 == 3;
    const auto format = static_cast<ToolFormat>(is_bare ? 2 : round % 4);
    const ToolCallSyntax syntax = tool_call_syntax(format, is_bare ? "...[TOOL_CALLS]name[ARGS]..." : "");
    std::string text = syntax.prefix, expected;
    for (std::size_t call = 0, num = 1 + random() % 3; call < num; ++call) {
      json arguments = random_value(random, 4);
      if (!arguments.is_object()) arguments = {{"value", arguments}};
      const std::string written = arguments.dump(random() % 2 == 0 ? -1 : 1, ' ', random() % 2 == 0);
      const std::string& name = kNames[random() % kNames.size()];
      if (call > 0) text += syntax.separator;
      text +=
          syntax.before_name + name + syntax.between_name_and_arguments + written + syntax.after_arguments;
      expected += "«" + name + "|" + written + "»";
    }
    text += syntax.suffix;
    ASSERT_EQ(parse(format, {text}), expected) << text;
  }
}

TEST(ToolCalls, HostileTextIsContentAndTakesLinearTime) {
  constexpr std::size_t kSize = 4 << 20;
  const auto repeated = [](std::string_view begin, std::string_view part) {
    std::string text(begin);
    while (text.size() < kSize) text += part;
    return text;
  };
  const std::string hermes_args = R"(<tool_call>{"arguments": {"a": ")",
                    llama_args = R"({"parameters": {"a": ")";
  const std::pair<ToolFormat, std::string> hostile[] = {
      {ToolFormat::kHermes, repeated("", "<tool_call>")},
      {ToolFormat::kHermes, repeated("", "<tool_call>{\"name\": \"")},
      {ToolFormat::kHermes, repeated("", " ")},
      {ToolFormat::kHermes, repeated("<tool_call>", " ")},
      {ToolFormat::kHermes, repeated("<tool_call>{\"name\": \"", "f")},
      {ToolFormat::kHermes, repeated(hermes_args, hermes_args)},
      {ToolFormat::kHermes, repeated(hermes_args, "\\\"")},
      {ToolFormat::kHermes, repeated("<tool_call>{\"arguments\": ", "{\"a\": ")},
      {ToolFormat::kLlama3, repeated(llama_args, llama_args)},
      {ToolFormat::kLlama3, repeated("", "<|python_tag|>")},
      {ToolFormat::kMistral, repeated("[TOOL_CALLS]", "[")},
      {ToolFormat::kMistral, repeated("", "[TOOL_CALLS]f[CALL_ID]")},
      {ToolFormat::kMistral, repeated("", "[TOOL_CALLS][{\"arguments\": {\"a\": [TOOL_CALLS]")},
  };
  for (const auto& [format, reply] : hostile) {
    ToolCallParser parser(format, kNames);
    std::vector<ReplyPiece> pieces;
    std::size_t num_out = 0;
    for (std::size_t at = 0; at < reply.size(); at += 4096) {
      parser.push(std::string_view(reply).substr(at, 4096), pieces);
      for (const ReplyPiece& piece : pieces) num_out += piece.text.size();
      pieces.clear();
      ASSERT_LE(at, num_out + ToolCallParser::kMaxHeldBytes + 4096) << reply.substr(0, 60);
    }
    parser.finish(pieces);
    for (const ReplyPiece& piece : pieces) num_out += piece.text.size();
    EXPECT_EQ(num_out, reply.size());
    EXPECT_EQ(parser.num_calls(), 0);
  }
}

TEST(ToolCalls, NestingHasALimit) {
  const auto nested = [](std::size_t depth) {
    return R"({"a": )" + std::string(depth - 1, '[') + std::string(depth - 1, ']') + "}";
  };
  const auto reply_with = [](const std::string& arguments) {
    return parse(ToolFormat::kLlama3, {R"({"name": "f", "parameters": )" + arguments + "}"});
  };
  const std::string deepest = nested(ValueScanner::kMaxDepth), deeper = nested(ValueScanner::kMaxDepth + 1);
  EXPECT_EQ(reply_with(deepest), "«f|" + deepest + "»");
  const std::size_t end = deeper.find(']') - 1;  // before the innermost bracket
  EXPECT_EQ(reply_with(deeper), "«f|" + deeper.substr(0, end) + "»" + deeper.substr(end) + "}");
}

TEST(ToolCalls, WithoutToolsAllIsContent) {
  ToolCallParser parser(ToolFormat::kHermes, {});
  std::vector<ReplyPiece> pieces;
  parser.push(hermes(kF), pieces);
  parser.finish(pieces);
  EXPECT_EQ(joined(pieces), hermes(kF));
}

TEST(ToolFormats, AreDetectedFromTemplates) {
  EXPECT_EQ(detect_tool_format(""), std::nullopt);
  EXPECT_EQ(detect_tool_format("{{ messages[0].content }}"), std::nullopt);
  EXPECT_EQ(detect_tool_format("<|start_header_id|>{{ message.content }}"), std::nullopt);
  EXPECT_EQ(detect_tool_format(R"({{- '<tool_call>\n{"name": "' ~ name ~ '", "arguments": ' }})"),
            ToolFormat::kHermes);
  EXPECT_EQ(detect_tool_format(R"({{- "<tool_call>\n{\"name\": <name>, \"arguments\": <object>}" }})"),
            ToolFormat::kHermes);
  EXPECT_EQ(detect_tool_format("<tool_call>\n<function=f>\n<parameter=a>"), std::nullopt);
  EXPECT_EQ(detect_tool_format("<|start_header_id|> {\"name\": name, \"parameters\": dictionary}"),
            ToolFormat::kLlama3);
  EXPECT_EQ(detect_tool_format("{{ '[TOOL_CALLS]' + name + '[ARGS]' }}"), ToolFormat::kMistral);
}

TEST(ToolFormats, AreThoseOfRealTemplates) {
  KVASIR_REQUIRE_SHARED_DATA("templates");
  const std::map<std::string, ToolFormat> expected = {
      {"NousResearch-Hermes-2-Pro-Llama-3-8B-tool_use", ToolFormat::kHermes},
      {"Qwen-Qwen2.5-7B-Instruct", ToolFormat::kHermes},
      {"Qwen-Qwen3-0.6B", ToolFormat::kHermes},
      {"Reka-Edge", ToolFormat::kHermes},
      {"cfg-minimind", ToolFormat::kHermes},
      {"ibm-granite-granite-4.1", ToolFormat::kHermes},
      {"meta-llama-Llama-3.1-8B-Instruct", ToolFormat::kLlama3},
      {"meta-llama-Llama-3.2-3B-Instruct", ToolFormat::kLlama3},
      {"meta-llama-Llama-3.3-70B-Instruct", ToolFormat::kLlama3},
      {"Mistral-Small-3.2-24B-Instruct-2506", ToolFormat::kMistral},
      {"mistralai-Ministral-3-14B-Reasoning-2512", ToolFormat::kMistral},
      {"mistralai-Mistral-Nemo-Instruct-2407", ToolFormat::kMistral},
  };
  std::size_t num_found = 0;
  for (const auto& file : std::filesystem::directory_iterator(testing::shared_data_dir() / "templates")) {
    std::ifstream stream(file.path(), std::ios::binary);
    const std::string source(std::istreambuf_iterator<char>(stream), {});
    const auto known = expected.find(file.path().stem().string());
    num_found += known != expected.end();
    EXPECT_EQ(detect_tool_format(source),
              known == expected.end() ? std::nullopt : std::optional(known->second))
        << file.path();
  }
  EXPECT_EQ(num_found, expected.size());
}

}  // namespace
}  // namespace kvasir::api
