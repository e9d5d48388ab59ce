// Chat templates against jinja2 as transformers sets it up, from goldens.

#include "tokenizer/chat_template.h"

#include <gtest/gtest.h>

#include <fstream>
#include <nlohmann/json.hpp>
#include <sstream>

#include "tests/shared_data.h"

namespace kvasir::tokenizer {
namespace {

using Json = nlohmann::ordered_json;
namespace fs = std::filesystem;

Json read_json(const fs::path& path) {
  std::ifstream file(path);
  return Json::parse(file);
}

std::string read_text(const fs::path& path) {
  std::ifstream file(path, std::ios::binary);
  std::ostringstream text;
  text << file.rdbuf();
  return text.str();
}

// "2025-03-04T05:06:07"
std::chrono::local_seconds parse_time(const std::string& text) {
  int year, month, day, hour, minute, second;
  EXPECT_EQ(std::sscanf(text.c_str(), "%d-%d-%dT%d:%d:%d", &year, &month, &day, &hour, &minute, &second), 6);
  return std::chrono::local_days(std::chrono::year(year) / month / day) + std::chrono::hours(hour) +
         std::chrono::minutes(minute) + std::chrono::seconds(second);
}

// Compares a render with {"rendered": text} or {"raises": {"type", "message"}}; only a message of
// raise_exception is ours to repeat.
void expect_golden(const Result<std::string>& got, const Json& golden) {
  if (golden.contains("rendered")) {
    ASSERT_TRUE(got.ok()) << got.status().message();
    EXPECT_EQ(*got, golden["rendered"].get<std::string>());
    return;
  }
  ASSERT_FALSE(got.ok()) << *got;
  EXPECT_EQ(got.status().code(), StatusCode::kInvalidArgument);
  if (golden["raises"]["type"] == "TemplateError") {
    EXPECT_EQ(got.status().message(), golden["raises"]["message"].get<std::string>());
  }
}

// Each conversation through one template.
void expect_goldens(const std::string& source, const Json& golden, const Json& conversations) {
  const auto parsed = ChatTemplate::parse(golden["template"].get<std::string>(), source);
  ASSERT_TRUE(parsed.ok()) << parsed.status().message();
  for (const Json& one : golden["cases"]) {
    SCOPED_TRACE(one["conv"].dump());
    const Json& conversation = conversations.at(one["conv"].get<std::string>());
    Json context = conversation["kwargs"];
    for (const char* key : {"messages", "tools"}) context[key] = conversation[key];
    for (const char* key : {"bos_token", "eos_token"}) context[key] = golden[key];
    context["documents"] = nullptr;
    context["add_generation_prompt"] = one["add_generation_prompt"];
    expect_golden((*parsed)->render(context, parse_time(golden["now"].get<std::string>())), one);
  }
}

// Small templates on one context. Returns how many there were.
std::size_t expect_micro_goldens(const fs::path& path) {
  const Json file = read_json(path);
  for (const Json& one : file["cases"]) {
    SCOPED_TRACE(one["template"].dump());
    const auto parsed = ChatTemplate::parse("micro", one["template"].get<std::string>());
    if (one.contains("compile_error")) {
      // What is wrong may show when it is reached.
      if (!parsed.ok()) continue;
      EXPECT_FALSE((*parsed)->render(file["context"], {}).ok());
      continue;
    }
    if (!parsed.ok()) {
      EXPECT_TRUE(one.contains("raises")) << parsed.status().message();
      continue;
    }
    Json golden = one;
    if (one.contains("raises") && one["raises"].is_string()) {
      golden["raises"] = {{"type", one["raises"]}, {"message", one["message"]}};
    }
    expect_golden((*parsed)->render(file["context"], parse_time(file["now"].get<std::string>())), golden);
  }
  return file["cases"].size();
}

// All <name>.json of `goldens` with <name>.jinja of `templates`.
std::size_t expect_template_goldens(const fs::path& goldens, const fs::path& templates) {
  const Json conversations = read_json(goldens / "_conversations.json");
  std::size_t count = 0;
  for (const auto& entry : fs::directory_iterator(goldens)) {
    const std::string name = entry.path().stem().string();
    if (name.starts_with('_') || entry.path().extension() != ".json") continue;
    SCOPED_TRACE(name);
    expect_goldens(read_text(templates / (name + ".jinja")), read_json(entry.path()), conversations);
    ++count;
  }
  return count;
}

TEST(ChatTemplate, EqualsJinja2OnTemplatesOfModels) {
  KVASIR_REQUIRE_SHARED_DATA("template_goldens");
  const fs::path data = testing::shared_data_dir();
  EXPECT_GE(expect_template_goldens(data / "template_goldens", data / "templates"), 51u);
}

TEST(ChatTemplate, EqualsJinja2OnSharedExpressions) {
  KVASIR_REQUIRE_SHARED_DATA("template_goldens");
  EXPECT_GE(expect_micro_goldens(testing::shared_data_dir() / "template_goldens" / "_jinja_micro.json"),
            239u);
}

TEST(ChatTemplate, EqualsJinja2OnOurTemplates) {
  const fs::path data = testing::test_data_dir() / "chat_template";
  EXPECT_GE(expect_template_goldens(data, data), 6u);
}

TEST(ChatTemplate, EqualsJinja2OnOurExpressions) {
  EXPECT_GE(expect_micro_goldens(testing::test_data_dir() / "chat_template" / "_expressions.json"), 1000u);
}

TEST(ChatTemplate, ErrorsNameTheLine) {
  const auto broken = ChatTemplate::parse("t.jinja", "a\n{% if x %}\nb");
  ASSERT_FALSE(broken.ok());
  EXPECT_EQ(broken.status().code(), StatusCode::kCorrupt);
  EXPECT_TRUE(broken.status().message().starts_with("t.jinja, line 3: Unexpected end of template"))
      << broken.status().message();
  const auto parsed = ChatTemplate::parse("t.jinja", "a\n{{ x.y\n }}");
  ASSERT_TRUE(parsed.ok());
  EXPECT_EQ((*parsed)->render(Json::object(), {}).status().message(), "t.jinja, line 2: 'x' is undefined");
}

TEST(ChatTemplate, WhatIsNotSupportedIsSaid) {
  for (const char* source :
       {"{{ x|wordwrap }}", "{% autoescape true %}{% endautoescape %}", "{{ '\\ud83d' }}"}) {
    const auto parsed = ChatTemplate::parse("t", source);
    ASSERT_FALSE(parsed.ok()) << source;
    EXPECT_EQ(parsed.status().code(), StatusCode::kUnsupported) << source;
  }
}

TEST(ChatTemplate, ToolsAndDocumentsAreNoneWhereTheContextHasNone) {
  const auto parsed =
      ChatTemplate::parse("t", "{{ tools }}{{ documents }}{{ add_generation_prompt }}{{ eos }}");
  ASSERT_TRUE(parsed.ok());
  EXPECT_EQ((*parsed)->render(Json::object(), {}).value(), "NoneNoneFalse");
}

}  // namespace
}  // namespace kvasir::tokenizer
