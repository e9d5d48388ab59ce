#include "tokenizer/chat_template_files.h"

#include <gtest/gtest.h>

#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "tests/shared_data.h"
#include "tokenizer/turn_rewrite.h"

namespace kvasir::tokenizer {
namespace {

using format::ModelFiles;

struct File {
  std::string name, text;
};

Result<ChatTemplates> load(const std::vector<File>& files) {
  std::vector<ModelFiles::MemoryFile> memory;
  for (const File& file : files) memory.push_back({file.name, std::as_bytes(std::span(file.text))});
  ModelFiles model = ModelFiles::from_memory("m", memory);
  return load_chat_templates(model);
}

std::string render(const ChatTemplate* chat_template) {
  return chat_template->render(nlohmann::ordered_json::object(), {}).value();
}

TEST(ChatTemplateFiles, AFileOfItsOwnCountsBeforeTheConfig) {
  const auto both = load({{"chat_template.jinja", "file"},
                          {"tokenizer_config.json", R"({"chat_template": "config", "bos_token": "<s>"})"}});
  ASSERT_TRUE(both.ok()) << both.status().message();
  EXPECT_EQ(render(both->chat.get()), "file");
  EXPECT_EQ(both->bos_token, "<s>");
  const auto config =
      load({{"tokenizer_config.json",
             R"({"chat_template": "config", "eos_token": {"content": "</s>"}, "bos_token": null})"}});
  ASSERT_TRUE(config.ok()) << config.status().message();
  EXPECT_EQ(render(config->chat.get()), "config");
  EXPECT_EQ(config->bos_token, "");
  EXPECT_EQ(config->eos_token, "</s>");
}

TEST(ChatTemplateFiles, NamedTemplatesAreForChatsAndForTools) {
  const auto named =
      load({{"tokenizer_config.json", R"({"chat_template": [{"name": "default", "template": "chat"},
      {"name": "tool_use", "template": "tools"}, {"name": "rag", "template": "{% broken"}]})"}});
  ASSERT_TRUE(named.ok()) << named.status().message();
  EXPECT_EQ(render(named->select(false)), "chat");
  EXPECT_EQ(render(named->select(true)), "tools");
  const auto single = load({{"tokenizer_config.json", R"({"chat_template": "chat"})"}});
  EXPECT_EQ(render(single->select(true)), "chat");
}

TEST(ChatTemplateFiles, AModelMayHaveNone) {
  EXPECT_EQ(load({})->chat, nullptr);
  EXPECT_EQ(load({{"tokenizer_config.json", "{}"}})->chat, nullptr);
}

TEST(ChatTemplateFiles, WhatIsWrongIsNamed) {
  const auto message = [](const std::string& config) {
    return load({{"tokenizer_config.json", config}}).status().message();
  };
  EXPECT_EQ(message(R"({"chat_template": 1})"),
            "m/tokenizer_config.json.chat_template: expected a string, got number");
  EXPECT_EQ(message(R"({"bos_token": 1})"),
            "m/tokenizer_config.json.bos_token: expected a string, got number");
  EXPECT_EQ(message(R"({"chat_template": [{"name": "default"}]})"),
            "m/tokenizer_config.json.chat_template[0].template: expected a string, got nothing");
  EXPECT_EQ(
      message(R"({"chat_template": "a\n{{ }}"})"),
      "m/tokenizer_config.json.chat_template, line 2: Expected an expression, got 'end of print statement'");
}

std::optional<std::string> rewrite_of(std::string_view source) {
  const auto parsed = ChatTemplate::parse("t", source);
  EXPECT_TRUE(parsed.ok()) << parsed.status().message();
  const auto found = find_turn_rewrite(**parsed, "<s>", "</s>");
  EXPECT_TRUE(found.ok()) << found.status().message();
  return *found;
}

TEST(TurnRewrite, SaysWhereATurnChanges) {
  EXPECT_EQ(rewrite_of("{% for m in messages %}<{{ m.role }}>{{ m.content }}{% endfor %}{{ '<assistant>' if "
                       "add_generation_prompt }}"),
            std::nullopt);
  EXPECT_EQ(rewrite_of("{{ messages|length }}{% for m in messages %}{{ m.content }};{% endfor %}"),
            "a plain conversation: turn 2 does not begin with turn 1 and its reply: at byte 0 it has "
            "\"3question 1;answer;q\" instead of \"1question 1;answer\"");
  // A system message that is put before the last question moves.
  EXPECT_NE(rewrite_of("{% for m in messages if m.role != 'system' %}{{ messages[0].content if loop.last "
                       "}}{{ m.content }}{% endfor %}"),
            std::nullopt);
}

TEST(TurnRewrite, ATemplateThatRefusesTheSimplestConversationIsAnError) {
  const auto parsed = ChatTemplate::parse("t", "{{ raise_exception('no') }}");
  EXPECT_EQ(find_turn_rewrite(**parsed, "", "").status().message(), "no");
}

TEST(TurnRewrite, KnowsModelsThatForgetTheirThoughts) {
  KVASIR_REQUIRE_SHARED_DATA("templates");
  const auto of_file = [](const std::string& name) {
    const auto folder = testing::shared_data_dir() / "templates";
    ModelFiles files = ModelFiles::open(folder.string()).value();
    const auto bytes = files.read(name + ".jinja").value();
    return rewrite_of({reinterpret_cast<const char*>(bytes.data()), bytes.size()});
  };
  EXPECT_EQ(of_file("meta-llama-Llama-3.1-8B-Instruct"), std::nullopt);
  EXPECT_EQ(of_file("cfg-llama3"), std::nullopt);
  EXPECT_EQ(of_file("Qwen-Qwen2.5-7B-Instruct"), std::nullopt);
  const std::optional<std::string> qwen3 = of_file("Qwen-Qwen3-0.6B");
  ASSERT_TRUE(qwen3);
  EXPECT_TRUE(qwen3->starts_with("a conversation with a reply that thinks: turn 2 ")) << *qwen3;
}

}  // namespace
}  // namespace kvasir::tokenizer
