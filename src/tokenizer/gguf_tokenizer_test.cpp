// Tokenizers of GGUF files, against the tokenizer.json that they were made from (tools/make_gguf_goldens.py).

#include "format/gguf_tokenizer.h"

#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>

#include "format/gguf_harness.h"
#include "format/gguf_pre_tokenizer.h"
#include "format/model_files.h"
#include "tests/shared_data.h"
#include "tokenizer/chat_template_files.h"
#include "tokenizer/tokenizer.h"

namespace kvasir::tokenizer {
namespace {

using nlohmann::json;
using Ids = std::vector<TokenId>;

Result<std::unique_ptr<Tokenizer>> load(format::ModelFiles& files) {
  KVASIR_ASSIGN_OR_RETURN(const auto bytes, files.read("tokenizer.json"));
  return Tokenizer::from_json("tokenizer.json", {reinterpret_cast<const char*>(bytes.data()), bytes.size()});
}

TEST(GgufTokenizer, GivesTheTokensOfTheOriginal) {
  int num_files = 0;
  for (const auto& entry :
       std::filesystem::directory_iterator(kvasir::testing::test_data_dir() / "gguf/tokenizers")) {
    if (entry.path().extension() != ".gguf") continue;
    SCOPED_TRACE(entry.path().string());
    auto files = format::ModelFiles::open(entry.path().string());
    ASSERT_TRUE(files.ok()) << files.status().message();
    const auto tokenizer = load(*files);
    ASSERT_TRUE(tokenizer.ok()) << tokenizer.status().message();
    std::filesystem::path goldens = entry.path();
    std::ifstream lines(goldens.replace_extension(".jsonl"));
    int num_lines = 0;
    for (std::string line; std::getline(lines, line); ++num_lines) {
      SCOPED_TRACE(line);
      const json golden = json::parse(line);
      const auto ids = (*tokenizer)->encode(golden.at("text").get<std::string>());
      ASSERT_TRUE(ids.ok());
      EXPECT_EQ(*ids, golden.at("ids").get<Ids>());
      const auto decode = [&](const char* key, bool skips) {
        return (*tokenizer)->decode(golden.at(key).get<Ids>(), {.skip_special_tokens = skips});
      };
      EXPECT_EQ(decode("ids_nospecial", false), golden.at("decoded").get<std::string>());
      EXPECT_EQ(decode("ids", false), golden.at("decoded_full").get<std::string>());
      EXPECT_EQ(decode("ids", true), golden.at("decoded_skip").get<std::string>());
    }
    EXPECT_GT(num_lines, 10);
    ++num_files;
  }
  EXPECT_EQ(num_files, 5);
}

TEST(GgufTokenizer, HasTheTemplateAndItsTokens) {
  const auto file = kvasir::testing::test_data_dir() / "gguf/tokenizers/bpe-gpt2.gguf";
  auto files = format::ModelFiles::open(file.string());
  ASSERT_TRUE(files.ok()) << files.status().message();
  const auto templates = load_chat_templates(*files);
  ASSERT_TRUE(templates.ok()) << templates.status().message();
  ASSERT_TRUE(templates->chat);
  EXPECT_EQ(templates->bos_token, "<s>");
  EXPECT_EQ(templates->eos_token, "</s>");
  EXPECT_NE(templates->chat->source().find("eos_token"), std::string::npos);
}

// The metadata of a GGUF file; the bytes stay with it.
struct Metadata {
  explicit Metadata(const format::GgufBuilder& file) : bytes(file.build()) {
    auto parsed = format::parse_gguf("f.gguf", std::as_bytes(std::span(bytes)));
    EXPECT_TRUE(parsed.ok()) << parsed.status().message();
    metadata = std::move(parsed->metadata);
  }
  std::string bytes;
  format::GgufMetadata metadata;
};

TEST(GgufTokenizer, KnowsPreTokenizersByName) {
  for (const char* name :
       {"default",        "gpt-2",       "phi-2",     "roberta-bpe",      "mpt",       "olmo",   "starcoder",
        "refact",         "smollm",      "command-r", "falcon",           "llama-bpe", "llama3", "llama-v3",
        "dbrx",           "smaug-bpe",   "qwen2",     "deepseek-r1-qwen", "tekken",    "gpt-4o", "llama4",
        "deepseek-coder", "deepseek-v3", "falcon3",   "pixtral",          "seed-coder"}) {
    SCOPED_TRACE(name);
    format::GgufBuilder file;
    file.string("tokenizer.ggml.model", "gpt2").string("tokenizer.ggml.pre", name);
    file.strings("tokenizer.ggml.tokens", {"a", "b", "ab", "1", "\u0120"})
        .strings("tokenizer.ggml.merges", {"a b"});
    file.boolean("tokenizer.ggml.add_bos_token", false);
    const Metadata metadata(file);
    const auto text = format::gguf_tokenizer(metadata.metadata);
    ASSERT_TRUE(text.ok()) << text.status().message();
    const auto tokenizer = Tokenizer::from_json("f.gguf", *text);
    ASSERT_TRUE(tokenizer.ok()) << tokenizer.status().message();
    EXPECT_EQ(*(*tokenizer)->encode("ab 1"), (Ids{2, 4, 3}));
  }
  EXPECT_EQ(format::find_pre_tokenizer("superbpe"), nullptr);
}

TEST(GgufTokenizer, NamedTemplatesAreThose) {
  format::GgufBuilder file;
  file.string("tokenizer.chat_template", "{{ 1 }}").string("tokenizer.chat_template.tool_use", "{{ 2 }}");
  file.strings("tokenizer.chat_templates", {"tool_use"});
  const Metadata metadata(file);
  const auto config = format::gguf_tokenizer_config(metadata.metadata);
  ASSERT_TRUE(config.ok()) << config.status().message();
  const json expected = {{{"name", "default"}, {"template", "{{ 1 }}"}},
                         {{"name", "tool_use"}, {"template", "{{ 2 }}"}}};
  EXPECT_EQ(config->at("chat_template"), expected);
}

TEST(GgufTokenizer, UsesTheOriginalWhereTheFileHasIt) {
  format::GgufBuilder file;
  file.string("tokenizer.huggingface.json", "{\"model\":{}}").string("tokenizer.ggml.model", "nonsense");
  EXPECT_EQ(*format::gguf_tokenizer(Metadata(file).metadata), "{\"model\":{}}");
}

TEST(GgufTokenizer, RefusesBrokenOnesInOneLine) {
  using File = format::GgufBuilder;
  const auto base = [](const char* model) {
    return File().string("tokenizer.ggml.model", model).strings("tokenizer.ggml.tokens", {"<unk>", "a", "b"});
  };
  const std::pair<File, const char*> cases[] = {
      {File(), "key 'tokenizer.ggml.model': expected a text, but it is missing"},
      {base("rwkv"), "supported are llama, gpt2, gemma4, bert and t5, got 'rwkv'"},
      {File().string("tokenizer.ggml.model", "llama"), "key 'tokenizer.ggml.tokens': expected an array"},
      {base("llama"), "key 'tokenizer.ggml.scores': expected a score for each token"},
      {base("llama").array<float>("tokenizer.ggml.scores", format::GgufType::kFloat32, {1, 2}),
       "has 2 elements, expected one for each of 3 tokens"},
      {base("llama").array<float>("tokenizer.ggml.scores", format::GgufType::kFloat32, {1, NAN, 2}),
       "element 1: expected a finite number"},
      {base("llama").array<std::int32_t>("tokenizer.ggml.token_type", format::GgufType::kInt32, {1}),
       "'tokenizer.ggml.token_type': has 1 elements"},
      {base("gpt2"), "key 'tokenizer.ggml.merges': expected an array"},
      {base("gpt2").string("tokenizer.ggml.pre", "superbpe"), "the pre-tokenizer 'superbpe' is not known"},
      {base("gpt2").strings("tokenizer.ggml.merges", {"a \xff"}), "element 0: expected UTF-8"},
      {File().string("tokenizer.ggml.model", "gpt2").strings("tokenizer.ggml.tokens", {"a", "\xc3"}),
       "token 1: expected UTF-8"},
      {File().string("tokenizer.ggml.model", "gpt2").strings("tokenizer.ggml.tokens", {"a", "b", "a"}),
       "tokens 0 and 2 are both 'a'"},
      {base("bert"), "key 'tokenizer.ggml.unknown_token_id': expected a token"},
      {base("bert").number("tokenizer.ggml.unknown_token_id", 3u), "expected an integer from 0 to 2, got 3"},
      {base("t5"), "key 'tokenizer.ggml.scores'"},
      {base("gpt2").strings("tokenizer.ggml.merges", {}).number("tokenizer.ggml.bos_token_id", 9u),
       "key 'tokenizer.ggml.bos_token_id': expected an integer from 0 to 2, got 9"},
  };
  for (const auto& [file, expected] : cases) {
    const auto text = format::gguf_tokenizer(Metadata(file).metadata);
    ASSERT_FALSE(text.ok()) << expected;
    EXPECT_NE(text.status().message().find(expected), std::string::npos) << text.status().message();
    EXPECT_TRUE(text.status().message().starts_with("f.gguf: ")) << text.status().message();
  }
}

// Deriving merges from tokens that are all one long run would take hours.
TEST(GgufTokenizer, RefusesTokensThatAreTooLong) {
  std::vector<std::string> tokens;
  std::vector<float> scores(40);
  for (int i = 0; i < 40; ++i) tokens.emplace_back(100'000 + i, 'a');
  format::GgufBuilder file;
  file.string("tokenizer.ggml.model", "llama").strings("tokenizer.ggml.tokens", tokens);
  file.array<float>("tokenizer.ggml.scores", format::GgufType::kFloat32, scores);
  const auto text = format::gguf_tokenizer(Metadata(file).metadata);
  ASSERT_FALSE(text.ok());
  EXPECT_NE(text.status().message().find("too long"), std::string::npos);
}

}  // namespace
}  // namespace kvasir::tokenizer
