// Models that are refused, and what the message says.

#include <gtest/gtest.h>

#include <cmath>
#include <cstdint>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <map>
#include <nlohmann/json.hpp>
#include <string>

#include "model/model_harness.h"
#include "tests/shared_data.h"

namespace kvasir::model {
namespace {

using nlohmann::json;

Result<ModelConfig> config_of(const json& config) {
  const std::string text = config.dump();
  const format::ModelFiles::MemoryFile view = {"config.json", std::as_bytes(std::span(text))};
  format::ModelFiles files = format::ModelFiles::from_memory("m", {&view, 1});
  return read_model_config(files);
}

// A model folder in memory, changed by the test.
class BrokenModel : public ::testing::Test {
 protected:
  BrokenModel() { read("llama-gqa"); }

  void read(const std::string& model) {
    const auto folder = kvasir::testing::test_data_dir() / "models" / model;
    for (const char* name : {"config.json", "model.safetensors"}) {
      std::ifstream file(folder / name, std::ios::binary);
      files_[name] = std::string(std::istreambuf_iterator<char>(file), {});
    }
  }

  void set_config(const char* key, const json& value) {
    json config = json::parse(files_["config.json"]);
    config[key] = value;
    files_["config.json"] = config.dump();
  }

  Status load_status() {
    std::vector<format::ModelFiles::MemoryFile> views;
    for (const auto& [name, text] : files_) views.push_back({name, std::as_bytes(std::span(text))});
    format::ModelFiles files = format::ModelFiles::from_memory("m", views);
    ThreadPool pool(1);
    return Model::load(files, {WeightDtype::kAuto}, pool).status();
  }

  std::map<std::string, std::string> files_;
};

TEST_F(BrokenModel, LoadsWhole) {
  EXPECT_TRUE(load_status().ok()) << load_status().message();
}

TEST_F(BrokenModel, NamesADtypeThatIsNotAFloat) {
  // I32 has the size of F32, so that the file itself stays sound.
  std::string& file = files_["model.safetensors"];
  const std::size_t tensor = file.find("model.layers.1.mlp.up_proj.weight");
  const std::size_t dtype = file.find("\"F32\"", tensor);
  ASSERT_NE(dtype, std::string::npos);
  file[dtype + 1] = 'I';
  EXPECT_EQ(
      load_status().message(),
      "m/model.safetensors: tensor 'model.layers.1.mlp.up_proj.weight': dtype I32; supported are F32, F16, "
      "BF16, Q8_0, Q4_0, Q4_1, Q5_0, Q5_1, Q2_K to Q6_K and IQ4_NL");
}

TEST_F(BrokenModel, IgnoresTensorsThatItDoesNotUse) {
  set_config("num_hidden_layers", 1);
  EXPECT_TRUE(load_status().ok()) << load_status().message();
}

TEST_F(BrokenModel, NamesTensorAndBothShapes) {
  set_config("intermediate_size", 101);
  EXPECT_EQ(load_status().message(),
            "m/model.safetensors: tensor 'model.layers.0.mlp.gate_proj.weight': shape [100,48], expected "
            "[101,48] by "
            "config.json");
}

TEST_F(BrokenModel, NamesAMissingTensor) {
  set_config("num_hidden_layers", 3);
  EXPECT_EQ(load_status().message(),
            "m: tensor 'model.layers.2.input_layernorm.weight' is missing; config.json calls for one of "
            "shape [48]");
}

struct Refusal {
  const char* model;
  const char* key;
  json value;
  StatusCode code;
};

constexpr StatusCode kCorrupt = StatusCode::kCorrupt, kUnsupported = StatusCode::kUnsupported;

TEST_F(BrokenModel, RefusesWhatItDoesNotKnow) {
  const Refusal refusals[] = {
      {"llama-gqa", "architectures", {"BertModel"}, kUnsupported},
      {"llama-gqa", "model_type", "bert", kUnsupported},
      {"llama-gqa", "hidden_act", "relu", kUnsupported},
      {"llama-gqa", "rope_scaling", {{"rope_type", "mrope"}, {"factor", 2}}, kUnsupported},
      {"llama-gqa", "rope_scaling", {{"rope_type", "linear"}, {"factor", 2}, {"alpha", 3}}, kUnsupported},
      {"llama-gqa", "rope_scaling", {{"rope_type", "linear"}}, kCorrupt},
      {"llama-gqa", "rope_scaling", {{"rope_type", "linear"}, {"factor", -1}}, kCorrupt},
      {"llama-gqa", "rope_scaling", {{"rope_type", "yarn"}}, kCorrupt},
      {"llama-rope-yarn", "rope_theta", 1, kCorrupt},
      {"llama-gqa", "rope_scaling", {{"rope_type", "yarn"}, {"factor", 2}, {"beta_fast", "x"}}, kCorrupt},
      {"llama-gqa", "rope_scaling", {{"rope_type", "longrope"}}, kCorrupt},
      {"llama-gqa", "rope_scaling", {{"rope_type", "longrope"}, {"short_factor", {1, 2}}}, kCorrupt},
      {"llama-gqa", "rope_scaling", {{"rope_type", 3}}, kCorrupt},
      {"llama-rope-llama3", "rope_scaling", {{"rope_type", "llama3"}, {"factor", 8}}, kCorrupt},
      {"llama-gqa", "rope_scaling", 3, kCorrupt},
      {"llama-gqa", "rope_parameters", {{"rope_type", "proportional"}}, kUnsupported},
      {"llama-gqa", "rope_parameters", {{"full_attention", {{"rope_type", "default"}}}}, kUnsupported},
      {"llama-gqa", "rope_parameters", {{"partial_rotary_factor", 0.5}}, kUnsupported},
      {"llama-gqa", "rope_parameters", {{"rope_theta", 500}}, kUnsupported},  // rope_theta is another
      {"llama-rope-linear", "rope_parameters", {{"rope_type", "linear"}, {"factor", 4}}, kUnsupported},
      {"phi3", "rope_parameters", {{"partial_rotary_factor", 0.4}}, kUnsupported},
      {"phi3-longrope-long", "original_max_position_embeddings", "long", kCorrupt},
      {"llama-gqa", "rope_theta", "big", kCorrupt},
      {"llama-gqa", "sliding_window", 10, kUnsupported},
      {"llama-gqa", "partial_rotary_factor", 0.5, kUnsupported},
      {"llama-gqa", "quantization_config", {{"bits", 4}}, kUnsupported},
      {"llama-gqa", "an_option_of_tomorrow", 1, kUnsupported},
      {"llama-gqa", "is_encoder_decoder", true, kUnsupported},
      {"llama-gqa", "vocab_size", nullptr, kCorrupt},
      {"llama-gqa", "vocab_size", -1, kCorrupt},
      {"llama-gqa", "vocab_size", 1e30, kCorrupt},
      {"llama-gqa", "vocab_size", 18446744073709551615u, kCorrupt},
      {"llama-gqa", "hidden_size", 0, kCorrupt},
      {"llama-gqa", "num_hidden_layers", 1000000, kCorrupt},
      {"llama-gqa", "num_attention_heads", 5, kCorrupt},
      {"llama-gqa", "num_key_value_heads", 3, kCorrupt},
      {"llama-gqa", "num_key_value_heads", 8, kCorrupt},
      {"llama-gqa", "head_dim", 7, kCorrupt},
      {"llama-gqa", "head_dim", 0, kCorrupt},
      {"llama-gqa", "rms_norm_eps", -1, kCorrupt},
      {"llama-gqa", "tie_word_embeddings", "yes", kCorrupt},
      {"llama-gqa", "eos_token_id", 131, kCorrupt},
      {"llama-gqa", "eos_token_id", {2, "x"}, kCorrupt},
      {"llama-gqa", "max_position_embeddings", 0, kCorrupt},
      {"mistral-window", "sliding_window", 0, kCorrupt},
      {"mistral-window", "attention_bias", true, kUnsupported},
      {"qwen2-windows",
       "layer_types",
       {"full_attention", "chunked_attention", "full_attention"},
       kUnsupported},
      {"qwen2-windows", "layer_types", {"full_attention"}, kCorrupt},
      {"qwen2-windows", "sliding_window", nullptr, kCorrupt},
      {"gemma2", "hidden_activation", "tanh", kUnsupported},
      {"gemma2", "use_bidirectional_attention", true, kUnsupported},
      {"gemma2", "attn_logit_softcapping", "strong", kCorrupt},
      {"gemma2", "query_pre_attn_scalar", 0, kCorrupt},
      {"gemma3", "use_bidirectional_attention", true, kUnsupported},
      {"gemma3", "rope_local_base_freq", 0, kCorrupt},
      {"phi3", "partial_rotary_factor", 0.4, kCorrupt},
      {"phi3", "lm_head_bias", true, kUnsupported},
      {"smollm3", "no_rope_layers", {1, 0}, kCorrupt},
      {"granite", "logits_scaling", 0, kCorrupt},
      {"gpt2", "scale_attn_by_inverse_layer_idx", true, kUnsupported},
      {"gpt2", "add_cross_attention", true, kUnsupported},
      {"gpt2", "n_head", 5, kCorrupt},
      {"gpt-neox", "rotary_pct", 2, kCorrupt},
      {"gpt-neox", "rotary_ndims", 3, kUnsupported},
      {"falcon-multi-query", "alibi", true, kUnsupported},
      {"falcon-multi-query", "num_ln_in_parallel_attn", 2, kUnsupported},
      {"falcon-two-norms", "parallel_attn", false, kUnsupported},
      {"falcon-two-norms", "num_kv_heads", 4, kCorrupt},
      {"starcoder2", "norm_type", "rms_norm", kUnsupported},
      {"mixtral", "num_experts_per_tok", 6, kCorrupt},
      {"mixtral", "num_local_experts", 0, kCorrupt},
      {"mixtral", "num_experts", 4, kUnsupported},  // num_local_experts is another
      {"qwen3-moe", "mlp_only_layers", {"1"}, kCorrupt},
      {"qwen3-moe", "shared_expert_intermediate_size", 64, kUnsupported},
  };
  for (const Refusal& refusal : refusals) {
    read(refusal.model);
    set_config(refusal.key, refusal.value);
    const Status status = load_status();
    EXPECT_EQ(status.code(), refusal.code)
        << refusal.model << " " << refusal.key << " " << refusal.value << ": " << status.message();
    EXPECT_EQ(status.message().find('\n'), std::string::npos);
    EXPECT_NE(status.message().find("config.json"), std::string::npos) << status.message();
  }
}

TEST_F(BrokenModel, NamesTheOptionThatItDoesNotKnow) {
  set_config("logit_bias_of_tomorrow", {{"strength", 2}});
  EXPECT_EQ(
      load_status().message(),
      "m/config.json: \"logit_bias_of_tomorrow\": an option that is not known for this model, with the value "
      "{\"strength\":2}");
}

TEST_F(BrokenModel, RefusesMoreContextThanTheModelHas) {
  for (const int wrong : {-1, 0, 257}) {
    ModelConfig config = *config_of(json::parse(files_["config.json"]));
    EXPECT_EQ(limit_context(config, wrong).message(),
              fmt::format("max-model-len: expected 1 to 256, the model's context, got {}", wrong));
    EXPECT_EQ(config.max_position_embeddings, 256);
  }
}

class Gemma3Rope : public ::testing::Test {
 protected:
  Gemma3Rope() {
    std::ifstream file(kvasir::testing::test_data_dir() / "models/gemma3/config.json");
    config_ = json::parse(file);
    for (const char* key : {"rope_theta", "rope_local_base_freq", "rope_scaling"}) config_.erase(key);
  }

  std::string refusal_of(const json& parameters) {
    config_["rope_parameters"] = parameters;
    return config_of(config_).status().message();
  }

  json config_;
};

TEST_F(Gemma3Rope, IsReadForEachLayerType) {
  config_["rope_parameters"] = {
      {"full_attention", {{"rope_type", "linear"}, {"factor", 4}, {"rope_theta", 160000}}},
      {"sliding_attention", {{"rope_type", "default"}, {"rope_theta", 100}}}};
  const ModelConfig config = *config_of(config_);
  ASSERT_EQ(config.rope.frequencies.size(), 7u);
  EXPECT_EQ(config.rope.frequencies[0], 0.25f);
  EXPECT_NEAR(config.rope.frequencies[1], std::pow(160000, -1.0 / 7) / 4, 1e-7);
  EXPECT_EQ(config.local_rope.frequencies[0], 1.0f);
  EXPECT_NEAR(config.local_rope.frequencies[1], std::pow(100, -1.0 / 7), 1e-7);
  // What is not there is as in configs without rope_parameters.
  config_["rope_parameters"] = {{"full_attention", nullptr}, {"sliding_attention", json::object()}};
  const ModelConfig plain = *config_of(config_);
  config_.erase("rope_parameters");
  EXPECT_TRUE(plain == *config_of(config_));
}

TEST_F(Gemma3Rope, IsRefusedByName) {
  const json plain = {{"rope_type", "default"}};
  const std::string start = "m/config.json: rope_parameters: ";
  const std::string by_type =
      start + "supported is an object for full_attention and one for sliding_attention, ";
  EXPECT_EQ(refusal_of(plain), by_type + "got {\"rope_type\":\"default\"}");
  EXPECT_TRUE(refusal_of({{"full_attention", plain}, {"chunked_attention", plain}}).starts_with(by_type));
  EXPECT_EQ(refusal_of({{"full_attention", 3}}), start + "full_attention: expected an object, got 3");
  EXPECT_EQ(refusal_of({{"sliding_attention", {{"rope_type", "proportional"}}}}),
            start +
                "sliding_attention: rope_type: supported is default, linear, dynamic, llama3, yarn or "
                "longrope, got \"proportional\"");
  EXPECT_EQ(refusal_of({{"sliding_attention", {{"partial_rotary_factor", 0.5}}}}),
            start + "sliding_attention: partial_rotary_factor: supported is 1, got 0.5");
  EXPECT_EQ(refusal_of({{"full_attention", {{"an_option_of_tomorrow", 1}}}}),
            start +
                "full_attention: \"an_option_of_tomorrow\": an option that is not known for this model, with "
                "the value 1");
  config_["rope_local_base_freq"] = 10000;
  EXPECT_EQ(refusal_of({{"sliding_attention", {{"rope_theta", 500}}}}),
            "m/config.json: rope_local_base_freq: supported is 500, got 10000");
}

// tools/make_config_goldens.py: configs that transformers 5 has read and saved again.
TEST(ConfigsOfTransformers5, SayTheSame) {
  const auto data = kvasir::testing::test_data_dir();
  const json goldens = json::parse(std::ifstream(data / "model_configs.json"));
  for (const auto& [name, golden] : goldens.items()) {
    SCOPED_TRACE(name);
    const bool is_of_folder = !golden.contains("old");
    const auto before = config_of(
        is_of_folder ? json::parse(std::ifstream(data / "models" / name / "config.json")) : golden["old"]);
    const auto after = config_of(golden["new"]);
    ASSERT_TRUE(before.ok()) << before.status().message();
    ASSERT_TRUE(after.ok()) << after.status().message();
    EXPECT_TRUE(*before == *after);
  }
  EXPECT_GE(goldens.size(), models_in(data / "models").size());
}

// A model for text and images is loaded for text.
TEST_F(BrokenModel, TakesTheTextPartOfAGemma3WithImages) {
  read("gemma3");
  const json text = json::parse(files_["config.json"]);
  files_["config.json"] = json({{"architectures", {"Gemma3ForConditionalGeneration"}},
                                {"model_type", "gemma3"},
                                {"eos_token_id", {1, 5}},
                                {"text_config", text},
                                {"vision_config", {{"hidden_size", 7}}},
                                {"mm_tokens_per_image", 256}})
                              .dump();
  std::string& file = files_["model.safetensors"];
  std::uint64_t header_bytes = 0;
  std::memcpy(&header_bytes, file.data(), sizeof header_bytes);
  const json header = json::parse(file.substr(8, header_bytes));
  json renamed;
  for (const auto& [name, tensor] : header.items()) {
    renamed[name.starts_with("model.") ? "language_model." + name : name] = tensor;
  }
  std::string text_header = renamed.dump();
  text_header.resize((text_header.size() + 7) / 8 * 8, ' ');
  const std::string data = file.substr(8 + header_bytes);
  header_bytes = text_header.size();
  file = std::string(reinterpret_cast<const char*>(&header_bytes), 8) + text_header + data;
  EXPECT_TRUE(load_status().ok()) << load_status().message();
}

}  // namespace
}  // namespace kvasir::model
