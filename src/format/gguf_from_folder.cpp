#include "format/gguf_from_folder.h"

#include <algorithm>
#include <cmath>
#include <iterator>
#include <nlohmann/json.hpp>
#include <numbers>
#include <optional>
#include <unordered_map>

#include "base/json.h"
#include "format/gguf_names.h"
#include "format/gguf_pre_tokenizer.h"
#include "format/printable.h"
#include "format/safetensors.h"

namespace kvasir::format {
namespace {

using nlohmann::json;

constexpr std::uint32_t kQuantizationVersion = 2;

Status wrong(const std::string& where, std::string_view key, std::string_view expected, const json& got) {
  return error(StatusCode::kUnsupported, "{}: {}: expected {}, got {}", where, key, expected,
               got.dump(-1, ' ', true, json::error_handler_t::replace).substr(0, 80));
}

// config.json, its keys read with type and range.
class Config {
 public:
  static Result<Config> read(ModelFiles& files) {
    KVASIR_ASSIGN_OR_RETURN(json object, files.read_json("config.json"));
    return Config(files.path("config.json"), std::move(object));
  }

  const std::string& where() const { return where_; }
  json get(const char* key) const { return object_.value(key, json()); }
  bool has(const char* key) const { return !get(key).is_null(); }

  Result<std::uint32_t> count(const char* key, std::optional<std::uint32_t> fallback = std::nullopt) const {
    if (!has(key) && fallback) return *fallback;
    const json value = get(key);
    if (!value.is_number_unsigned() || value.get<std::uint64_t>() > INT32_MAX)
      return wrong(where_, key, "a count", value);
    return value.get<std::uint32_t>();
  }

  Result<float> number(const char* key, float fallback) const {
    if (!has(key)) return fallback;
    const json value = get(key);
    if (!value.is_number()) return wrong(where_, key, "a number", value);
    return value.get<float>();
  }

  // rope_scaling, or rope_parameters of newer files.
  json rope() const {
    const json rope = has("rope_parameters") ? get("rope_parameters") : get("rope_scaling");
    return rope.is_object() ? rope : json::object();
  }

  // By the class of the model or, in files that name none, by its type.
  Result<std::string> architecture() const {
    struct Known {
      const char *class_name, *model_type, *architecture;
    };
    constexpr Known kKnown[] = {{"LlamaForCausalLM", "llama", "llama"},
                                {"MistralForCausalLM", "mistral", "llama"},
                                {"Qwen2ForCausalLM", "qwen2", "qwen2"},
                                {"Qwen3ForCausalLM", "qwen3", "qwen3"}};
    const json classes = get("architectures");
    const bool has_class = classes.is_array() && !classes.empty();
    for (const Known& known : kKnown) {
      if (has_class ? classes[0] == known.class_name : get("model_type") == known.model_type) {
        return std::string(known.architecture);
      }
    }
    return wrong(where_, "architectures",
                 "LlamaForCausalLM, MistralForCausalLM, Qwen2ForCausalLM or Qwen3ForCausalLM",
                 has_class ? classes : get("model_type"));
  }

  Result<std::uint32_t> head_dim() const {
    KVASIR_ASSIGN_OR_RETURN(const std::uint32_t hidden, count("hidden_size"));
    KVASIR_ASSIGN_OR_RETURN(const std::uint32_t heads, count("num_attention_heads"));
    if (heads == 0)
      return wrong(where_, "num_attention_heads", "a count above 0", get("num_attention_heads"));
    return count("head_dim", hidden / heads);
  }

  Result<double> rope_theta() const {
    const json theta = has("rope_theta") ? get("rope_theta") : rope().value("rope_theta", json(10000.0));
    if (!theta.is_number()) return wrong(where_, "rope_theta", "a number", theta);
    return theta.get<double>();
  }

 private:
  Config(std::string where, json object) : where_(std::move(where)), object_(std::move(object)) {}

  std::string where_;
  json object_;
};

// The numbers of a rope_scaling. Errors: kUnsupported for one that is missing.
Result<std::vector<double>> rope_numbers(const Config& config, std::initializer_list<const char*> keys) {
  std::vector<double> numbers;
  const json rope = config.rope();
  for (const char* key : keys) {
    const json value = rope.value(key, json());
    if (!value.is_number() || !(value.get<double>() > 0))
      return wrong(config.where(), key, "a number above 0", value);
    numbers.push_back(value.get<double>());
  }
  return numbers;
}

// What llama.cpp's converter writes of Llama 3's scaling: the factor of each frequency, as a tensor.
Status add_llama3_factors(const Config& config, GgufWriter& writer) {
  KVASIR_ASSIGN_OR_RETURN(const auto numbers,
                          rope_numbers(config, {"factor", "low_freq_factor", "high_freq_factor",
                                                "original_max_position_embeddings"}));
  KVASIR_ASSIGN_OR_RETURN(const double theta, config.rope_theta());
  KVASIR_ASSIGN_OR_RETURN(const std::uint32_t head_dim, config.head_dim());
  const double factor = numbers[0], low = numbers[1], high = numbers[2], context = numbers[3];
  std::vector<float> factors;
  for (std::uint32_t i = 0; i < head_dim / 2; ++i) {
    const double frequency = std::pow(theta, -2.0 * i / head_dim);
    const double turns = context * frequency / (2 * std::numbers::pi);
    const double kept = std::clamp((turns - low) / (high - low), 0.0, 1.0);
    factors.push_back(static_cast<float>(1 / ((1 - kept) / factor + kept)));
  }
  const auto copy = [factors](std::int64_t, std::int64_t, std::byte* out) {
    std::copy_n(reinterpret_cast<const std::byte*>(factors.data()), factors.size() * sizeof(float), out);
  };
  writer.add_tensor("rope_freqs.weight", {static_cast<std::int64_t>(factors.size())}, "F32", copy);
  return Status();
}

Status add_rope(const Config& config, const std::string& prefix, GgufWriter& writer) {
  KVASIR_ASSIGN_OR_RETURN(const double theta, config.rope_theta());
  writer.add_number(prefix + "rope.freq_base", static_cast<float>(theta));
  const json rope = config.rope();
  constexpr std::string_view kWritten[] = {"rope_type",
                                           "type",
                                           "rope_theta",
                                           "factor",
                                           "low_freq_factor",
                                           "high_freq_factor",
                                           "original_max_position_embeddings"};
  for (const auto& [key, value] : rope.items()) {
    if (!value.is_null() && std::find(std::begin(kWritten), std::end(kWritten), key) == std::end(kWritten)) {
      return wrong(config.where(), key, "none in a model that becomes a GGUF file", value);
    }
  }
  const json kind = rope.contains("rope_type") ? rope["rope_type"] : rope.value("type", json("default"));
  if (kind == "default") return Status();
  if (kind == "llama3") return add_llama3_factors(config, writer);
  if (kind != "linear" && kind != "yarn") {
    return wrong(config.where(), "rope_type", "default, linear, llama3 or yarn", kind);
  }
  KVASIR_ASSIGN_OR_RETURN(const auto factor, rope_numbers(config, {"factor"}));
  writer.add_text(prefix + "rope.scaling.type", kind.get<std::string>());
  writer.add_number(prefix + "rope.scaling.factor", static_cast<float>(factor[0]));
  if (kind == "yarn") {
    KVASIR_ASSIGN_OR_RETURN(const auto context, rope_numbers(config, {"original_max_position_embeddings"}));
    writer.add_count(prefix + "rope.scaling.original_context_length", static_cast<std::uint32_t>(context[0]));
  }
  return Status();
}

Status add_config(const Config& config, GgufWriter& writer) {
  KVASIR_ASSIGN_OR_RETURN(const std::string architecture, config.architecture());
  const std::string prefix = architecture + ".";
  writer.add_text("general.architecture", architecture);
  writer.add_count("general.quantization_version", kQuantizationVersion);
  constexpr std::pair<const char*, const char*> kCounts[] = {{"num_hidden_layers", "block_count"},
                                                             {"max_position_embeddings", "context_length"},
                                                             {"hidden_size", "embedding_length"},
                                                             {"intermediate_size", "feed_forward_length"},
                                                             {"num_attention_heads", "attention.head_count"},
                                                             {"vocab_size", "vocab_size"}};
  for (const auto& [key, name] : kCounts) {
    KVASIR_ASSIGN_OR_RETURN(const std::uint32_t value, config.count(key));
    writer.add_count(prefix + name, value);
  }
  KVASIR_ASSIGN_OR_RETURN(const std::uint32_t heads, config.count("num_attention_heads"));
  KVASIR_ASSIGN_OR_RETURN(const std::uint32_t kv_heads, config.count("num_key_value_heads", heads));
  writer.add_count(prefix + "attention.head_count_kv", kv_heads);
  KVASIR_ASSIGN_OR_RETURN(const std::uint32_t head_dim, config.head_dim());
  for (const char* name : {"attention.key_length", "attention.value_length", "rope.dimension_count"}) {
    writer.add_count(prefix + name, head_dim);
  }
  KVASIR_ASSIGN_OR_RETURN(const float eps, config.number("rms_norm_eps", 1e-6f));
  writer.add_number(prefix + "attention.layer_norm_rms_epsilon", eps);
  if (config.has("sliding_window") && config.get("use_sliding_window") != false) {
    KVASIR_ASSIGN_OR_RETURN(const std::uint32_t window, config.count("sliding_window"));
    writer.add_count(prefix + "attention.sliding_window", window);
  }
  return add_rope(config, prefix, writer);
}

// A pre-tokenizer without what changes nothing.
json without_trifles(json node) {
  if (node.is_object()) {
    for (const char* key : {"trim_offsets", "invert"}) node.erase(key);
  }
  for (json& each : node) {
    if (each.is_structured()) each = without_trifles(each);
  }
  return node;
}

Result<std::string> pre_tokenizer_name(const std::string& where, const json& tokenizer) {
  const json wanted = without_trifles(tokenizer.value("pre_tokenizer", json()));
  const bool normalizes = !tokenizer.value("normalizer", json()).is_null();
  const bool ignores = tokenizer["model"].value("ignore_merges", false);
  for (const char* name : {"llama-bpe", "qwen2", "gpt-2", "olmo", "smollm", "falcon", "tekken", "gpt-4o",
                           "dbrx", "deepseek-r1-qwen", "deepseek-v3", "deepseek-coder", "command-r"}) {
    const GgufPreTokenizer& known = *find_pre_tokenizer(name);
    if (known.normalizes == normalizes && known.ignore_merges == ignores &&
        without_trifles(json::parse(known.json)) == wanted) {
      return std::string(name);
    }
  }
  return wrong(where, "pre_tokenizer", "one that GGUF has a name for", wanted);
}

struct Tokens {
  std::vector<std::string> texts;
  std::vector<std::int32_t> types;  // 1 normal, 2 unknown, 3 control, 4 user-defined, 5 unused, 6 byte
};

// The tokens by id, with the holes up to vocab_size filled.
Result<Tokens> read_tokens(const std::string& where, const json& tokenizer, std::uint32_t vocab_size) {
  Tokens tokens;
  tokens.types.assign(vocab_size, 5);
  for (std::uint32_t i = 0; i < vocab_size; ++i) tokens.texts.push_back(fmt::format("[PAD{}]", i));
  const json& model = tokenizer["model"];
  const bool has_bytes = model.value("byte_fallback", false);
  const auto set = [&](const std::string& text, const json& id, std::int32_t type) -> Status {
    if (!id.is_number_unsigned() || id.get<std::uint64_t>() >= vocab_size) {
      return wrong(where, "vocab", fmt::format("token ids below {}", vocab_size), id);
    }
    tokens.texts[id.get<std::size_t>()] = text;
    tokens.types[id.get<std::size_t>()] = type;
    return Status();
  };
  for (const auto& [text, id] : model["vocab"].items()) {
    const bool is_byte = has_bytes && text.size() == 6 && text.starts_with("<0x") && text.ends_with('>');
    KVASIR_RETURN_IF_ERROR(set(text, id, is_byte ? 6 : 1));
  }
  const json added = tokenizer.value("added_tokens", json::array());
  for (const json& token : added) {
    if (!token.is_object() || !token.value("content", json()).is_string())
      return wrong(where, "added_tokens", "tokens", token);
    const auto text = token["content"].get<std::string>();
    const std::int32_t type = text == model.value("unk_token", json()) ? 2
                              : token.value("special", false)          ? 3
                                                                       : 4;
    KVASIR_RETURN_IF_ERROR(set(text, token.value("id", json()), type));
  }
  return tokens;
}

// Both halves of each merge.
Result<std::vector<std::pair<std::string, std::string>>> read_merges(const std::string& where,
                                                                     const json& model) {
  std::vector<std::pair<std::string, std::string>> merges;
  for (const json& merge : model["merges"]) {
    if (merge.is_array() && merge.size() == 2 && merge[0].is_string() && merge[1].is_string()) {
      merges.emplace_back(merge[0], merge[1]);
      continue;
    }
    const std::string text = merge.is_string() ? merge.get<std::string>() : "";
    const std::size_t space = text.find(' ');
    if (space == text.npos) return wrong(where, "merges", "pairs of tokens", merge);
    merges.emplace_back(text.substr(0, space), text.substr(space + 1));
  }
  return merges;
}

Status add_tokenizer(ModelFiles& files, std::uint32_t vocab_size, GgufWriter& writer) {
  const std::string where = files.path("tokenizer.json");
  KVASIR_ASSIGN_OR_RETURN(const json tokenizer, files.read_json("tokenizer.json"));
  const json model = tokenizer.value("model", json());
  if (!model.is_object() || !model.value("vocab", json()).is_object() ||
      !model.value("merges", json()).is_array()) {
    return wrong(where, "model", "BPE with vocab and merges",
                 model.is_object() ? model.value("type", json()) : model);
  }
  KVASIR_ASSIGN_OR_RETURN(const Tokens tokens, read_tokens(where, tokenizer, vocab_size));
  KVASIR_ASSIGN_OR_RETURN(const auto merges, read_merges(where, model));
  const bool is_sentence_piece = model.value("byte_fallback", false);
  writer.add_text("tokenizer.ggml.model", is_sentence_piece ? "llama" : "gpt2");
  if (is_sentence_piece) {
    // SentencePiece's scores are not in tokenizer.json, but the order of the merges is by them.
    std::unordered_map<std::string, float> scores;
    for (std::size_t i = 0; i < merges.size(); ++i) {
      scores.emplace(merges[i].first + merges[i].second, -static_cast<float>(i));
    }
    std::vector<float> all;
    for (const std::string& text : tokens.texts) {
      const auto found = scores.find(text);
      all.push_back(found == scores.end() ? -static_cast<float>(merges.size()) : found->second);
    }
    writer.add_text("tokenizer.ggml.pre", "default");
    writer.add_numbers("tokenizer.ggml.scores", all);
    const bool adds_space =
        tokenizer.value("normalizer", json()).dump().find("\"Prepend\"") != std::string::npos;
    writer.add_boolean("tokenizer.ggml.add_space_prefix", adds_space);
  } else {
    KVASIR_ASSIGN_OR_RETURN(const std::string pre, pre_tokenizer_name(where, tokenizer));
    std::vector<std::string> pairs;
    for (const auto& [left, right] : merges) pairs.push_back(left + " " + right);
    writer.add_text("tokenizer.ggml.pre", pre);
    writer.add_texts("tokenizer.ggml.merges", pairs);
  }
  writer.add_texts("tokenizer.ggml.tokens", tokens.texts);
  writer.add_integers("tokenizer.ggml.token_type", tokens.types);
  KVASIR_ASSIGN_OR_RETURN(const auto bytes, files.read("tokenizer.json"));
  writer.add_text("tokenizer.huggingface.json", {reinterpret_cast<const char*>(bytes.data()), bytes.size()});
  return Status();
}

// Ids of special tokens and the chat template.
Status add_special_tokens(ModelFiles& files, const Config& config, GgufWriter& writer) {
  json generation = json::object();
  if (files.has("generation_config.json")) {
    KVASIR_ASSIGN_OR_RETURN(generation, files.read_json("generation_config.json"));
  }
  const auto add_id = [&](const char* key, const char* name) {
    json id = config.has(key) ? config.get(key) : generation.value(key, json());
    if (id.is_array() && !id.empty()) id = id[0];
    if (id.is_number_unsigned()) writer.add_count(name, id.get<std::uint32_t>());
  };
  add_id("bos_token_id", "tokenizer.ggml.bos_token_id");
  add_id("eos_token_id", "tokenizer.ggml.eos_token_id");
  add_id("pad_token_id", "tokenizer.ggml.padding_token_id");
  json source;
  if (files.has("tokenizer_config.json")) {
    KVASIR_ASSIGN_OR_RETURN(const json tokenizer, files.read_json("tokenizer_config.json"));
    source = tokenizer.value("chat_template", json());
    if (tokenizer.value("add_bos_token", json()).is_boolean()) {
      writer.add_boolean("tokenizer.ggml.add_bos_token", tokenizer["add_bos_token"].get<bool>());
    }
  }
  if (files.has("chat_template.jinja")) {
    KVASIR_ASSIGN_OR_RETURN(const auto bytes, files.read("chat_template.jinja"));
    source = std::string(reinterpret_cast<const char*>(bytes.data()), bytes.size());
  }
  if (source.is_string()) writer.add_text("tokenizer.chat_template", source.get<std::string>());
  return Status();
}

}  // namespace

Status add_folder_metadata(ModelFiles& files, GgufWriter& writer) {
  KVASIR_ASSIGN_OR_RETURN(const Config config, Config::read(files));
  KVASIR_RETURN_IF_ERROR(add_config(config, writer));
  KVASIR_ASSIGN_OR_RETURN(const std::uint32_t vocab_size, config.count("vocab_size"));
  if (vocab_size > 1 << 22) return wrong(config.where(), "vocab_size", "at most 2^22", vocab_size);
  if (files.has("tokenizer.json")) KVASIR_RETURN_IF_ERROR(add_tokenizer(files, vocab_size, writer));
  return add_special_tokens(files, config, writer);
}

Result<TensorMap> folder_tensors(ModelFiles& files) {
  KVASIR_ASSIGN_OR_RETURN(const Config config, Config::read(files));
  KVASIR_ASSIGN_OR_RETURN(const std::string architecture, config.architecture());
  KVASIR_ASSIGN_OR_RETURN(TensorMap named, read_tensors(files));
  KVASIR_ASSIGN_OR_RETURN(const std::uint32_t heads, config.count("num_attention_heads"));
  KVASIR_ASSIGN_OR_RETURN(const std::uint32_t kv_heads, config.count("num_key_value_heads", heads));
  TensorMap tensors;
  for (auto& [name, info] : named) {
    // A tied output is the embedding once more.
    if (name == "lm_head.weight" && config.get("tie_word_embeddings") == true) continue;
    KVASIR_ASSIGN_OR_RETURN(const std::string original, gguf_tensor_name(info.file, name));
    KVASIR_RETURN_IF_ERROR(interleave_heads(architecture, original, heads, kv_heads, info));
    tensors.emplace(original, std::move(info));
  }
  return tensors;
}

}  // namespace kvasir::format
