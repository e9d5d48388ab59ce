// Models that are refused, and what the message says.

#include <gtest/gtest.h>

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
      {"llama-gqa", "rope_scaling", {{"rope_type", "yarn"}, {"factor", 2}, {"rope_theta", 1}}, kCorrupt},
      {"llama-gqa", "rope_scaling", {{"rope_type", "yarn"}, {"factor", 2}, {"beta_fast", "x"}}, kCorrupt},
      {"llama-gqa", "rope_scaling", {{"rope_type", "longrope"}}, kCorrupt},
      {"llama-gqa", "rope_scaling", {{"rope_type", "longrope"}, {"short_factor", {1, 2}}}, kCorrupt},
      {"llama-gqa", "rope_scaling", {{"rope_type", 3}}, kCorrupt},
      {"llama-rope-llama3", "rope_scaling", {{"rope_type", "llama3"}, {"factor", 8}}, kCorrupt},
      {"llama-gqa", "rope_scaling", 3, kCorrupt},
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
