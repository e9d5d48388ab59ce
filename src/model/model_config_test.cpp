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
      {"mixtral", "num_experts_per_tok", 6, kCorrupt},
      {"mixtral", "num_local_experts", 0, kCorrupt},
      {"mixtral", "num_experts", 4, kUnsupported},  // num_local_experts is another
      {"qwen3-moe", "mlp_only_layers", {"1"}, kCorrupt},
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

// Configs as they are on the hub, with the keys that only these models have.
TEST(ConfigsOfTheHub, AreTaken) {
  const json configs = json::parse(R"json({
    "starcoder2-3b": {"activation_function": "gelu", "architectures": ["Starcoder2ForCausalLM"],
      "attention_dropout": 0.1, "attention_softmax_in_fp32": true, "bos_token_id": 0, "embedding_dropout": 0.1,
      "eos_token_id": 0, "hidden_act": "gelu_pytorch_tanh", "hidden_size": 3072, "initializer_range": 0.018042,
      "intermediate_size": 12288, "layer_norm_epsilon": 1e-05, "max_position_embeddings": 16384,
      "mlp_type": "default", "model_type": "starcoder2", "norm_epsilon": 1e-05, "norm_type": "layer_norm",
      "num_attention_heads": 24, "num_hidden_layers": 30, "num_key_value_heads": 2, "residual_dropout": 0.1,
      "rms_norm_eps": 1e-06, "rope_theta": 999999.4420358813, "scale_attention_softmax_in_fp32": true,
      "scale_attn_weights": true, "sliding_window": 4096, "torch_dtype": "bfloat16", "use_bias": true,
      "use_cache": true, "vocab_size": 49152},
    "SmolLM2-135M-Instruct": {"architectures": ["LlamaForCausalLM"], "attention_bias": false,
      "bos_token_id": 1, "eos_token_id": 2, "hidden_act": "silu", "hidden_size": 576,
      "initializer_range": 0.041666666666666664, "intermediate_size": 1536, "is_llama_config": true,
      "max_position_embeddings": 8192, "mlp_bias": false, "model_type": "llama", "num_attention_heads": 9,
      "num_hidden_layers": 30, "num_key_value_heads": 3, "pad_token_id": 2, "pretraining_tp": 1,
      "rms_norm_eps": 1e-05, "rope_interleaved": false, "rope_scaling": null, "rope_theta": 100000,
      "tie_word_embeddings": true, "torch_dtype": "bfloat16",
      "transformers.js_config": {"dtype": "q4", "kv_cache_dtype": {"q4f16": "float16", "fp16": "float16"}},
      "transformers_version": "4.42.3", "use_cache": true, "vocab_size": 49152},
    "Qwen3-Coder-30B-A3B-Instruct": {"architectures": ["Qwen3MoeForCausalLM"], "attention_bias": false,
      "attention_dropout": 0.0, "decoder_sparse_step": 1, "eos_token_id": 151645, "head_dim": 128,
      "hidden_act": "silu", "hidden_size": 2048, "initializer_range": 0.02, "intermediate_size": 5472,
      "max_position_embeddings": 262144, "max_window_layers": 28, "mlp_only_layers": [],
      "model_type": "qwen3_moe", "moe_intermediate_size": 768, "norm_topk_prob": true,
      "num_attention_heads": 32, "num_experts": 128, "num_experts_per_tok": 8, "num_hidden_layers": 48,
      "num_key_value_heads": 4, "output_router_logits": false, "qkv_bias": false, "rms_norm_eps": 1e-06,
      "rope_scaling": null, "rope_theta": 10000000, "router_aux_loss_coef": 0.0,
      "shared_expert_intermediate_size": 0, "sliding_window": null, "tie_word_embeddings": false,
      "use_qk_norm": true, "use_sliding_window": false, "vocab_size": 151936},
    "gemma-2-2b-it": {"architectures": ["Gemma2ForCausalLM"], "attention_bias": false,
      "attn_logit_softcapping": 50.0, "bos_token_id": 2, "cache_implementation": "hybrid",
      "eos_token_id": [1, 107], "final_logit_softcapping": 30.0, "head_dim": 256,
      "hidden_act": "gelu_pytorch_tanh", "hidden_activation": "gelu_pytorch_tanh", "hidden_size": 2304,
      "intermediate_size": 9216, "max_position_embeddings": 8192, "model_type": "gemma2",
      "num_attention_heads": 8, "num_hidden_layers": 26, "num_key_value_heads": 4, "pad_token_id": 0,
      "query_pre_attn_scalar": 256, "rms_norm_eps": 1e-06, "rope_theta": 10000.0, "sliding_window": 4096,
      "sliding_window_size": 4096, "vocab_size": 256000},
    "DialoGPT-medium": {"_num_labels": 1, "activation_function": "gelu_new", "architectures": ["GPT2LMHeadModel"],
      "attn_pdrop": 0.1, "bos_token_id": 50256, "embd_pdrop": 0.1, "eos_token_id": 50256,
      "finetuning_task": null, "gradient_checkpointing": false, "id2label": {"0": "LABEL_0"},
      "initializer_range": 0.02, "is_decoder": false, "label2id": {"LABEL_0": 0}, "layer_norm_epsilon": 1e-05,
      "model_type": "gpt2", "n_ctx": 1024, "n_embd": 1024, "n_head": 16, "n_layer": 24, "n_positions": 1024,
      "n_special": 0, "num_labels": 1, "output_attentions": false, "output_hidden_states": false,
      "output_past": true, "predict_special_tokens": true, "resid_pdrop": 0.1, "summary_activation": null,
      "summary_first_dropout": 0.1, "summary_proj_to_labels": true, "summary_type": "cls_index",
      "summary_use_proj": true, "torchscript": false, "use_bfloat16": false, "vocab_size": 50257},
    "DeepSeek-R1-0528-Qwen3-8B": {"architectures": ["Qwen3ForCausalLM"], "attention_bias": false,
      "attention_dropout": 0.0, "bos_token_id": 151643, "eos_token_id": 151645, "head_dim": 128,
      "hidden_act": "silu", "hidden_size": 4096, "intermediate_size": 12288, "max_position_embeddings": 131072,
      "max_window_layers": 36, "model_type": "qwen3", "num_attention_heads": 32, "num_hidden_layers": 36,
      "num_key_value_heads": 8, "rms_norm_eps": 1e-06, "rope_theta": 1000000,
      "rope_scaling": {"attn_factor": 0.8782488562869419, "factor": 4.0,
                       "original_max_position_embeddings": 32768, "rope_type": "yarn"},
      "sliding_window": null, "tie_word_embeddings": false, "use_sliding_window": false, "vocab_size": 151936},
    "Yarn-Llama-2-7b-64k": {"_flash_attn_2_enabled": true, "architectures": ["LlamaForCausalLM"],
      "bos_token_id": 1, "eos_token_id": 2, "hidden_act": "silu", "hidden_size": 4096,
      "intermediate_size": 11008, "max_position_embeddings": 65536, "model_type": "llama",
      "num_attention_heads": 32, "num_hidden_layers": 32, "num_key_value_heads": 32, "rms_norm_eps": 1e-05,
      "rope_scaling": {"factor": 16.0, "finetuned": true, "original_max_position_embeddings": 4096,
                       "type": "yarn"},
      "use_flash_attention": true, "vocab_size": 32000},
    "llama-7b": {"architectures": ["LlamaForCausalLM"], "bad_words_ids": [[0]], "bos_token_id": 1,
      "custom_pipelines": {"text-generation": {"impl": "pipeline.Pipeline"}}, "eos_token_id": 2,
      "forced_eos_token_id": 2, "hidden_act": "silu", "hidden_size": 4096, "initializer_range": 0.02,
      "intermediate_size": 11008, "max_new_tokens": 512, "max_position_embeddings": 2048,
      "max_sequence_length": 2048, "model_max_length": 2048, "model_type": "llama",
      "neftune_noise_alpha": 5.0, "num_attention_heads": 32, "num_hidden_layers": 32, "num_steps": 1000,
      "pad_token_id": 0, "rms_norm_eps": 1e-06, "tie_word_embeddings": false,
      "tokenizer_padding_side": "right", "torch_dtype": "float16", "use_cache": true,
      "use_return_dict": true, "vocab_size": 32000},
    "falcon-11B": {"activation": "gelu", "alibi": false, "apply_residual_connection_post_layernorm": false,
      "architectures": ["FalconForCausalLM"], "attention_dropout": 0.0, "bias": false, "bos_token_id": 11,
      "eos_token_id": 11, "ff_factor": 4, "ffn_hidden_size": 16384, "hidden_dropout": 0.0,
      "hidden_size": 4096, "initializer_range": 0.02, "layer_norm_epsilon": 1e-05,
      "max_position_embeddings": 8192, "model_type": "falcon", "multi_query": true,
      "new_decoder_architecture": true, "num_attention_heads": 32, "num_hidden_layers": 60,
      "num_kv_heads": 8, "num_ln_in_parallel_attn": 1, "parallel_attn": true, "rope_scaling": null,
      "rope_theta": 500042.0, "tie_word_embeddings": false, "vocab_size": 65024}
  })json");
  std::map<std::string, ModelConfig> read;
  for (const auto& [name, config] : configs.items()) {
    const auto result = config_of(config);
    ASSERT_TRUE(result.ok()) << name << ": " << result.status().message();
    read[name] = *result;
  }
  EXPECT_EQ(read["starcoder2-3b"].norm, NormKind::kLayer);
  EXPECT_FLOAT_EQ(read["starcoder2-3b"].norm_eps, 1e-5f);
  // The factor by which llama.cpp would multiply is not for transformers, which computes 1 + 0.1 ln 4.
  EXPECT_FLOAT_EQ(read["DeepSeek-R1-0528-Qwen3-8B"].rope.magnitude, 1.1386294f);
  EXPECT_EQ(read["DeepSeek-R1-0528-Qwen3-8B"].max_position_embeddings, 131072);
  EXPECT_EQ(read["Yarn-Llama-2-7b-64k"].max_position_embeddings, 65536);
  EXPECT_EQ(read["gemma-2-2b-it"].layers[0].window, 4096);
  EXPECT_EQ(read["falcon-11B"].intermediate_size, 16384);
}

// Such a key has one value that is ours, and the message says it.
TEST_F(BrokenModel, NamesTheValueThatItHas) {
  struct Wrong {
    const char* model;
    const char* key;
    json value;
    const char* supported;
  };
  const Wrong wrongs[] = {
      {"starcoder2", "norm_type", "rms_norm", "layer_norm, got \"rms_norm\""},
      {"starcoder2", "mlp_type", "gated", "default, got \"gated\""},
      {"starcoder2", "norm_type", true, "layer_norm, got true"},
      {"llama-gqa", "rope_interleaved", true, "false, got true"},
      {"llama-gqa", "is_llama_config", false, "true, got false"},
      {"qwen3-moe", "qkv_bias", true, "false, got true"},
      {"qwen3-moe", "use_qk_norm", false, "true, got false"},
      {"qwen3-moe", "shared_expert_intermediate_size", 64, "0, got 64"},
  };
  for (const Wrong& wrong : wrongs) {
    read(wrong.model);
    set_config(wrong.key, wrong.value);
    EXPECT_EQ(load_status().message(),
              fmt::format("m/config.json: {}: supported is {}", wrong.key, wrong.supported));
  }
  read("gemma2");
  const int window = json::parse(files_["config.json"])["sliding_window"];
  set_config("sliding_window_size", window + 1);
  EXPECT_EQ(load_status().message(),
            fmt::format("m/config.json: sliding_window_size: supported is {}, got {}", window, window + 1));
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
