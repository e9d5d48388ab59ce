// Models from GGUF files: the tensors under their Hugging Face names, and the logits of the reference.

#include <gtest/gtest.h>

#include <cmath>
#include <filesystem>
#include <fstream>
#include <map>
#include <nlohmann/json.hpp>

#include "format/gguf.h"
#include "format/gguf_config.h"
#include "format/gguf_harness.h"
#include "format/gguf_names.h"
#include "format/safetensors.h"
#include "model/model_families.h"
#include "model/model_harness.h"
#include "model/tensor_rows.h"
#include "model/weights.h"
#include "tests/shared_data.h"

namespace kvasir::model {
namespace {

using nlohmann::json;

// Each case's last logits within `tolerance`, and its greedy tokens up to the first close call.
void expect_cases(const std::filesystem::path& file, const json& cases, WeightDtype dtype, double tolerance,
                  double least_margin) {
  SCOPED_TRACE(file.string());
  const Loaded loaded = load(file, dtype);
  ASSERT_TRUE(loaded.model);
  ASSERT_GT(cases.size(), 0u);
  for (const json& golden : cases) {
    auto tokens = golden.at("prompt").get<std::vector<TokenId>>();
    const std::size_t num_prompt = tokens.size();
    const auto greedy = golden.at("greedy").get<std::vector<TokenId>>();
    const auto margins = golden.at("greedy_margin").get<std::vector<double>>();
    const auto expected = golden.at("last_logits").get<std::vector<float>>();
    tokens.insert(tokens.end(), greedy.begin(), greedy.end());
    Blocks blocks(*loaded.model, static_cast<int>(tokens.size()), backend::KvDtype::kF32);
    std::vector<float> logits = run(*loaded.model, blocks, tokens, 0, static_cast<int>(num_prompt));
    ASSERT_EQ(logits.size(), expected.size());
    for (std::size_t i = 0; i < logits.size(); ++i) ASSERT_NEAR(logits[i], expected[i], tolerance) << i;
    for (std::size_t i = 0; i < greedy.size() && margins[i] > least_margin; ++i) {
      const auto best = std::max_element(logits.begin(), logits.end()) - logits.begin();
      ASSERT_EQ(best, greedy[i]) << "token " << i;
      const int at = static_cast<int>(num_prompt + i);
      logits = run(*loaded.model, blocks, tokens, at, at + 1);
    }
  }
}

// All tensor types in one model. In f32 they are what the gguf package expands them to; in their own types
// only activations are rounded, and of the types without a product the weights to 8 bits.
TEST(GgufModel, GivesTheLogitsOfTheReference) {
  const auto folder = kvasir::testing::test_data_dir() / "gguf";
  const json goldens = json::parse(std::ifstream(folder / "llama-mixed.json"));
  expect_cases(folder / "llama-mixed.gguf", goldens.at("cases"), WeightDtype::kF32, 2e-4, 1e-3);
  expect_cases(folder / "llama-mixed.gguf", goldens.at("cases"), WeightDtype::kAuto, 0.5, 1e9);
}

TEST(GgufModel, GivesTheLogitsOfATrainedModel) {
  KVASIR_REQUIRE_SHARED_DATA("gguf");
  const auto folder = kvasir::testing::shared_data_dir() / "gguf";
  const json goldens = json::parse(std::ifstream(folder / "stories260K-goldens.json"));
  for (const char* type : {"f32", "f16", "q8_0"}) {
    const auto file = folder / fmt::format("stories260K-{}.gguf", type);
    expect_cases(file, goldens.at("files").at(type), WeightDtype::kF32, 1e-4, 1e-3);
  }
}

// What a file has in blocks that there is a product with, is held bit for bit.
TEST(GgufModel, BlocksAreNotRoundedAgain) {
  auto files =
      format::ModelFiles::open((kvasir::testing::test_data_dir() / "gguf/llama-mixed.gguf").string());
  ASSERT_TRUE(files.ok()) << files.status().message();
  const auto config = read_model_config(*files);
  ASSERT_TRUE(config.ok()) << config.status().message();
  const auto tensors = format::read_tensors(*files);
  ASSERT_TRUE(tensors.ok()) << tensors.status().message();
  ThreadPool pool(2);
  std::vector<std::string> warnings;
  LoadOptions options;
  options.on_warning = [&](const std::string& warning) { warnings.push_back(warning); };
  const auto weights = read_weights(*files, *tensors, *config, options, "", pool);
  ASSERT_TRUE(weights.ok()) << weights.status().message();
  int num_exact = 0;
  const auto compare = [&](const std::string& name, const backend::Matrix& matrix) {
    const format::TensorInfo& info = tensors->at(name);
    const auto stored = *stored_type(info);
    std::vector<float> all(std::size_t(matrix.rows) * matrix.columns), row(matrix.columns);
    backend::expand(stored, info.data.data(), all.size() / backend::block_size(stored).weights, all.data());
    for (int i = 0; i < matrix.rows; ++i) {
      const int from = info.row_order.empty() ? i : info.row_order[i];
      backend::read_row(matrix, i, row.data());
      for (int k = 0; k < matrix.columns; ++k) {
        const float expected = all[std::size_t(from) * matrix.columns + k];
        if (backend::held_as(stored)) {
          ASSERT_EQ(row[k], expected) << name << " " << i << " " << k;
        } else {
          ASSERT_NEAR(row[k], expected, 0.02) << name;
        }
      }
    }
    num_exact += backend::held_as(stored).has_value();
  };
  compare("model.embed_tokens.weight", weights->embedding);
  for (int i = 0; i < config->num_layers; ++i) {
    const Layer& layer = weights->layers[i];
    const std::string prefix = fmt::format("model.layers.{}.", i);
    compare(prefix + "self_attn.q_proj.weight", layer.q.w);
    compare(prefix + "self_attn.k_proj.weight", layer.k.w);
    compare(prefix + "mlp.up_proj.weight", layer.mlp.up.w);
    compare(prefix + "mlp.down_proj.weight", layer.mlp.down.w);
  }
  // The embedding; q: Q4_0 and Q8_0; k: F32, F16, BF16 and Q4_0; up: Q4_0; down: Q4_K, Q5_K and Q6_K.
  EXPECT_EQ(num_exact, 1 + 2 + 4 + 5 + 3);
  EXPECT_EQ(warnings.size(), 6u);  // Q4_1, Q5_0, Q5_1, IQ4_NL, Q2_K, Q3_K
  for (const std::string& warning : warnings) EXPECT_NE(warning.find("are held as q8_0"), std::string::npos);
}

// A file with the least metadata of an architecture, and an embedding.
json config_of(format::GgufBuilder file, const char* architecture) {
  const std::string prefix = std::string(architecture) + ".";
  file.string("general.architecture", architecture);
  file.number(prefix + "block_count", 4u).number(prefix + "context_length", 4096u);
  file.number(prefix + "embedding_length", 64u).number(prefix + "feed_forward_length", 128u);
  file.number(prefix + "attention.head_count", 4u).number(prefix + "attention.head_count_kv", 2u);
  file.tensor("token_embd.weight", {64, 100}, 0, 0);
  const std::string bytes = file.build(64 * 100 * 4 + 32);
  const auto gguf = format::parse_gguf("f.gguf", std::as_bytes(std::span(bytes)));
  EXPECT_TRUE(gguf.ok()) << gguf.status().message();
  const auto config = format::gguf_config(*gguf);
  return config.ok() ? *config : json(config.status().message());
}

TEST(GgufConfig, IsWhatTheModelWasConvertedFrom) {
  format::GgufBuilder llama;
  llama.number("llama.attention.layer_norm_rms_epsilon", 1e-5f).number("llama.rope.freq_base", 500000.0f);
  llama.strings("tokenizer.ggml.tokens", {"a", "b", "<|eot_id|>"}).number("tokenizer.ggml.eos_token_id", 1u);
  const json config = config_of(llama, "llama");
  const json expected = {{"architectures", {"LlamaForCausalLM"}},
                         {"model_type", "llama"},
                         {"vocab_size", 100},
                         {"hidden_size", 64},
                         {"num_hidden_layers", 4},
                         {"max_position_embeddings", 4096},
                         {"intermediate_size", 128},
                         {"num_attention_heads", 4},
                         {"num_key_value_heads", 2},
                         {"head_dim", 16},
                         {"tie_word_embeddings", true},
                         {"rope_theta", 500000.0},
                         {"rms_norm_eps", 1e-5},
                         {"eos_token_id", {1, 2}}};
  EXPECT_EQ(config, expected) << config.dump();
}

TEST(GgufConfig, HasWhatIsSpecialInAFamily) {
  format::GgufBuilder moe;
  moe.number("llama.expert_count", 8u).number("llama.expert_used_count", 2u);
  json config = config_of(moe, "llama");
  EXPECT_EQ(config["architectures"][0], "MixtralForCausalLM");
  EXPECT_EQ(config["num_local_experts"], 8);
  EXPECT_EQ(config["num_experts_per_tok"], 2);

  format::GgufBuilder gemma;
  gemma.number("gemma2.attn_logit_softcapping", 50.0f).number("gemma2.final_logit_softcapping", 30.0f);
  gemma.number("gemma2.attention.sliding_window", 1024u).number("gemma2.attention.key_length", 32u);
  gemma.number("gemma2.attention.value_length", 32u);
  format::GgufBuilder pattern = gemma;
  config = config_of(gemma, "gemma2");
  EXPECT_EQ(config["attn_logit_softcapping"], 50.0);
  EXPECT_EQ(config["final_logit_softcapping"], 30.0);
  EXPECT_EQ(config["query_pre_attn_scalar"], 32);
  EXPECT_EQ(config["layer_types"][0], "sliding_attention");
  EXPECT_EQ(config["layer_types"][1], "full_attention");
  pattern.array<std::uint8_t>("gemma2.attention.sliding_window_pattern", format::GgufType::kBool,
                              {0, 1, 1, 0});
  EXPECT_EQ(config_of(pattern, "gemma2")["layer_types"],
            json({"full_attention", "sliding_attention", "sliding_attention", "full_attention"}));

  format::GgufBuilder yarn;
  yarn.string("qwen2.rope.scaling.type", "yarn").number("qwen2.rope.scaling.factor", 4.0f);
  yarn.number("qwen2.rope.scaling.original_context_length", 32768u);
  config = config_of(yarn, "qwen2");
  const json scaling = {{"rope_type", "yarn"}, {"factor", 4.0}, {"original_max_position_embeddings", 32768}};
  EXPECT_EQ(config["rope_scaling"], scaling);

  format::GgufBuilder gpt2;
  gpt2.number("gpt2.attention.layer_norm_epsilon", 1e-5f);
  config = config_of(gpt2, "gpt2");
  EXPECT_EQ(config["n_embd"], 64);
  EXPECT_EQ(config["is_transposed"], false);
  EXPECT_FALSE(config.contains("hidden_size"));
  EXPECT_EQ(config_of({}, "smollm3")["no_rope_layers"], json({1, 1, 1, 0}));
  format::GgufBuilder partial;
  partial.number("gptneox.rope.dimension_count", 4u).number("gptneox.attention.layer_norm_epsilon", 1e-5f);
  EXPECT_EQ(config_of(partial, "gptneox")["rotary_pct"], 0.25);
}

// What files of this architecture with these keys say of the rotation.
json scaling_of(const std::map<std::string, float>& numbers, const char* type = nullptr) {
  format::GgufBuilder file;
  for (const auto& [name, value] : numbers) file.number("llama.rope." + name, value);
  if (type != nullptr) file.string("llama.rope.scaling.type", type);
  const json config = config_of(file, "llama");
  return config.is_object() ? config.value("rope_scaling", json()) : config;
}

TEST(GgufConfig, ScalesRotationsAsLlamaCppDoes) {
  const json linear = {{"rope_type", "linear"}, {"factor", 4.0}};
  EXPECT_EQ(scaling_of({{"scaling.factor", 4}}, "linear"), linear);
  EXPECT_EQ(scaling_of({{"scaling.factor", 4}}), linear);
  EXPECT_EQ(scaling_of({{"scale_linear", 4}}), linear);
  EXPECT_EQ(scaling_of({{"scaling.factor", 4}}, "none"), json());
  EXPECT_EQ(scaling_of({{"scale_linear", 1}, {"scaling.attn_factor", 1}}), json());
  EXPECT_EQ(scaling_of({{"scaling.attn_factor", 2}}),
            "f.gguf: key 'llama.rope.scaling.attn_factor': supported is 1 without yarn and longrope, got 2");
  // Without its original context it is that of the file. yarn_attn_factor is not used.
  json yarn = {{"rope_type", "yarn"}, {"factor", 4.0}, {"original_max_position_embeddings", 4096}};
  EXPECT_EQ(scaling_of({{"scaling.factor", 4}, {"scaling.yarn_attn_factor", 0.5f}}, "yarn"), yarn);
  json stronger = scaling_of({{"scaling.factor", 4}, {"scaling.attn_factor", 0.5f}}, "yarn");
  EXPECT_NEAR(stronger["attention_factor"].get<double>(), 0.5 * (1 + 0.1 * std::log(4)), 1e-9);
  stronger.erase("attention_factor");
  EXPECT_EQ(stronger, yarn);
}

// Llama 3's factors, as early files have them.
TEST(GgufConfig, TakesFactorsBesideAKeyThatSaysNothing) {
  format::GgufBuilder file;
  file.number("llama.rope.scaling.attn_factor", 1.0f).number("llama.rope.dimension_count", 16u);
  file.tensor("rope_freqs.weight", {8}, 0, 64 * 100 * 4);
  EXPECT_EQ(config_of(file, "llama")["rope_scaling"]["rope_type"], "longrope");
  format::GgufBuilder both = file;
  both.string("llama.rope.scaling.type", "yarn").number("llama.rope.scaling.factor", 2.0f);
  EXPECT_EQ(config_of(both, "llama"),
            "f.gguf: rope.scaling.type 'yarn' is not known, or not that of the file's factors");
}

TEST(GgufConfig, HasWhatEarlyFilesLeaveOut) {
  const json gemma = config_of({}, "gemma2");
  EXPECT_EQ(gemma["attn_logit_softcapping"], 50.0);
  EXPECT_EQ(gemma["final_logit_softcapping"], 30.0);
  EXPECT_EQ(gemma["sliding_window"], 4096);
  const json gemma3 = config_of({}, "gemma3");
  EXPECT_EQ(gemma3["attn_logit_softcapping"], nullptr);
  EXPECT_EQ(gemma3["final_logit_softcapping"], nullptr);
}

TEST(GgufConfig, KnowsTheKeysOfPopularFiles) {
  format::GgufBuilder starcoder;
  starcoder.number("starcoder2.attention.layer_norm_epsilon", 1e-5f);
  starcoder.number("starcoder2.attention.layer_norm_rms_epsilon", 1e-5f);
  EXPECT_EQ(config_of(starcoder, "starcoder2")["norm_epsilon"], 1e-5);

  for (const unsigned size : {0u, 64u}) {
    format::GgufBuilder coder;
    coder.number("qwen3moe.expert_count", 4u).number("qwen3moe.expert_used_count", 2u);
    coder.number("qwen3moe.expert_feed_forward_length", 32u);
    coder.number("qwen3moe.expert_shared_feed_forward_length", size);
    const json config = config_of(coder, "qwen3moe");
    ModelConfig read;
    const Status status = read_family("m", config, read);
    EXPECT_EQ(status.message(),
              size == 0 ? "" : "m: shared_expert_intermediate_size: supported is 0, got 64");
  }

  for (const unsigned pooling : {1u, 3u}) {
    format::GgufBuilder embedding;
    embedding.number("qwen3.pooling_type", pooling);
    const json config = config_of(embedding, "qwen3");
    if (pooling == 1) {
      EXPECT_TRUE(config.is_object()) << config;
    } else {
      EXPECT_EQ(config, "f.gguf: key 'qwen3.pooling_type': supported is 1, the mean of all tokens, got 3");
    }
  }
}

// Texts of ends count where the file says that they are control (3) or user-defined (4); those of turns
// always.
TEST(GgufConfig, FindsTheTokensThatEndATextByTheirNames) {
  format::GgufBuilder file;
  file.strings("tokenizer.ggml.tokens", {"a", "<EOT>", "<|endoftext|>", "<|im_end|>", "</s>", "_<EOT>", "b"});
  file.number("tokenizer.ggml.eos_token_id", 6u).number("tokenizer.ggml.eot_token_id", 0u);
  format::GgufBuilder typed = file;
  typed.array<std::int32_t>("tokenizer.ggml.token_type", format::GgufType::kInt32, {1, 1, 3, 1, 1, 4, 3});
  EXPECT_EQ(config_of(file, "llama")["eos_token_id"], json({6, 0, 3}));
  EXPECT_EQ(config_of(typed, "llama")["eos_token_id"], json({6, 0, 2, 3, 5}));
}

TEST(GgufConfig, RefusesWhatItDoesNotKnow) {
  format::GgufBuilder unknown;
  unknown.number("llama.attention.clamp_kqv", 1.0f);
  EXPECT_EQ(config_of(unknown, "llama"), "f.gguf: key 'llama.attention.clamp_kqv': this option is not known");
  const json message = config_of({}, "mamba");
  EXPECT_NE(message.get<std::string>().find("supported are llama, mistral"), std::string::npos) << message;
  format::GgufBuilder dynamic;
  dynamic.string("llama.rope.scaling.type", "dynamic");
  EXPECT_NE(config_of(dynamic, "llama").dump().find("rope.scaling.type 'dynamic' is not known"),
            std::string::npos);
  format::GgufBuilder heads;
  heads.array<std::uint32_t>("llama.attention.head_count_kv2", format::GgufType::kUint32, {1, 2});
  EXPECT_NE(config_of(heads, "llama").dump().find("head_count_kv2"), std::string::npos);
}

TEST(GgufTensors, HaveTheirOriginalNamesAndOrder) {
  format::GgufBuilder file;
  file.string("general.architecture", "llama").number("llama.attention.head_count", 2u);
  file.number("llama.attention.head_count_kv", 1u);
  file.tensor("blk.3.attn_q.weight", {8, 8}, 0, 0).tensor("blk.3.attn_k.bias", {4}, 0, 256);
  file.tensor("blk.0.ffn_up_exps.weight", {4, 2, 3}, 0, 288).tensor("rope_freqs.weight", {2}, 0, 384);
  const std::string bytes = file.build(416);
  const auto gguf = format::parse_gguf("f.gguf", std::as_bytes(std::span(bytes)));
  ASSERT_TRUE(gguf.ok()) << gguf.status().message();
  const auto tensors = format::gguf_tensors(*gguf);
  ASSERT_TRUE(tensors.ok()) << tensors.status().message();
  EXPECT_EQ(tensors->size(), 5u);
  const std::vector<std::int32_t> order = {0, 2, 1, 3, 4, 6, 5, 7};
  EXPECT_EQ(tensors->at("model.layers.3.self_attn.q_proj.weight").row_order, order);
  EXPECT_EQ(tensors->at("model.layers.3.self_attn.k_proj.bias").row_order,
            (std::vector<std::int32_t>{0, 2, 1, 3}));
  const format::TensorInfo& expert = tensors->at("model.layers.0.block_sparse_moe.experts.1.w3.weight");
  EXPECT_EQ(expert.shape, (std::vector<std::int64_t>{2, 4}));
  EXPECT_EQ(expert.data.data(), gguf->tensors.at("blk.0.ffn_up_exps.weight").data.data() + 32);

  // Early files have a tensor for each expert.
  format::GgufBuilder early;
  early.string("general.architecture", "llama").number("llama.attention.head_count", 2u);
  std::uint64_t offset = 0;
  for (const char* name : {"ffn_gate.0", "ffn_up.0", "ffn_down.0", "ffn_gate.11"}) {
    early.tensor(fmt::format("blk.2.{}.weight", name), {8, 4}, 0, offset);
    offset += 8 * 4 * 4;
  }
  const std::string split = early.build(offset);
  const auto experts = format::gguf_tensors(*format::parse_gguf("f.gguf", std::as_bytes(std::span(split))));
  ASSERT_TRUE(experts.ok()) << experts.status().message();
  EXPECT_EQ(experts->size(), 4u);
  for (const char* name : {"0.w1", "0.w3", "0.w2", "11.w1"}) {
    EXPECT_TRUE(experts->contains(fmt::format("model.layers.2.block_sparse_moe.experts.{}.weight", name)))
        << name;
  }
  for (const char* name : {"ffn_gate.4096", "ffn_gate.-1", "ffn_gate.1x", "attn_q.0"}) {
    format::GgufBuilder wrong;
    wrong.string("general.architecture", "llama").number("llama.attention.head_count", 2u);
    wrong.tensor(fmt::format("blk.2.{}.weight", name), {8}, 0, 0);
    const std::string file_bytes = wrong.build(32);
    EXPECT_FALSE(
        format::gguf_tensors(*format::parse_gguf("f.gguf", std::as_bytes(std::span(file_bytes)))).ok())
        << name;
  }
  for (const char* again : {"ffn_gate.01", "ffn_gate_exps"}) {
    format::GgufBuilder twice;
    twice.string("general.architecture", "llama").number("llama.attention.head_count", 2u);
    twice.tensor("blk.2.ffn_gate.1.weight", {8, 4}, 0, 0);
    twice.tensor(fmt::format("blk.2.{}.weight", again), {8, 2, 2}, 0, 128);
    const std::string file_bytes = twice.build(256);
    const auto tensors_of =
        format::gguf_tensors(*format::parse_gguf("f.gguf", std::as_bytes(std::span(file_bytes))));
    EXPECT_NE(tensors_of.status().message().find("another tensor is the same matrix"), std::string::npos)
        << again;
  }

  format::GgufBuilder unknown;
  unknown.string("general.architecture", "qwen2").tensor("blk.0.ssm_a.weight", {8}, 0, 0);
  const std::string other = unknown.build(32);
  const auto refused = format::gguf_tensors(*format::parse_gguf("f.gguf", std::as_bytes(std::span(other))));
  EXPECT_EQ(refused.status().message(),
            "f.gguf: tensor 'blk.0.ssm_a.weight' is not known in models of architecture 'qwen2'");
}

}  // namespace
}  // namespace kvasir::model
