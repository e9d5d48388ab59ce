#include "format/gguf_names.h"

#include <algorithm>
#include <charconv>
#include <optional>
#include <utility>

#include "format/printable.h"

namespace kvasir::format {
namespace {

constexpr GgufFamily kFamilies[] = {
    {"llama", "LlamaForCausalLM", "llama", /*has_interleaved_heads=*/true},
    {"mistral", "MistralForCausalLM", "mistral", /*has_interleaved_heads=*/true},
    {"granite", "GraniteForCausalLM", "granite", /*has_interleaved_heads=*/true},
    {"smollm3", "SmolLM3ForCausalLM", "smollm3", /*has_interleaved_heads=*/true},
    {"qwen2", "Qwen2ForCausalLM", "qwen2"},
    {"qwen3", "Qwen3ForCausalLM", "qwen3"},
    {"qwen3moe", "Qwen3MoeForCausalLM", "qwen3_moe"},
    {"gemma", "GemmaForCausalLM", "gemma", false, /*has_shifted_norms=*/true},
    {"gemma2", "Gemma2ForCausalLM", "gemma2", false, /*has_shifted_norms=*/true},
    {"gemma3", "Gemma3ForCausalLM", "gemma3_text", false, /*has_shifted_norms=*/true},
    {"phi3", "Phi3ForCausalLM", "phi3"},
    {"olmo2", "Olmo2ForCausalLM", "olmo2"},
    {"starcoder2", "Starcoder2ForCausalLM", "starcoder2"},
    {"gpt2", "GPT2LMHeadModel", "gpt2"},
    {"gptneox", "GPTNeoXForCausalLM", "gpt_neox"},
    {"falcon", "FalconForCausalLM", "falcon"},
};

// Classes whose models have the architecture of another.
struct OtherClass {
  std::string_view class_name, architecture;
};
constexpr OtherClass kOtherClasses[] = {{"MistralForCausalLM", "llama"},
                                        {"MixtralForCausalLM", "llama"},
                                        {"Gemma3ForConditionalGeneration", "gemma3"}};

// Names without their ending (.weight, .bias) and, in layers, without blk.N. and what stands for it.
using Names = std::pair<std::string_view, std::string_view>;

constexpr Names kModelNames[] = {
    {"token_embd", "model.embed_tokens"}, {"output_norm", "model.norm"}, {"output", "lm_head"}};
constexpr Names kLayerNames[] = {
    {"attn_norm", "input_layernorm"},    {"attn_q", "self_attn.q_proj"},
    {"attn_k", "self_attn.k_proj"},      {"attn_v", "self_attn.v_proj"},
    {"attn_output", "self_attn.o_proj"}, {"attn_q_norm", "self_attn.q_norm"},
    {"attn_k_norm", "self_attn.k_norm"}, {"ffn_norm", "post_attention_layernorm"},
    {"ffn_gate", "mlp.gate_proj"},       {"ffn_up", "mlp.up_proj"},
    {"ffn_down", "mlp.down_proj"},
};
// What differs in families with norms after attention and MLP.
constexpr Names kSandwichNames[] = {{"post_attention_norm", "post_attention_layernorm"},
                                    {"ffn_norm", "pre_feedforward_layernorm"},
                                    {"post_ffw_norm", "post_feedforward_layernorm"}};
constexpr Names kPhi3Names[] = {{"attn_qkv", "self_attn.qkv_proj"}, {"ffn_up", "mlp.gate_up_proj"}};
constexpr Names kStarCoder2Names[] = {{"ffn_up", "mlp.c_fc"}, {"ffn_down", "mlp.c_proj"}};
constexpr Names kMixtralNames[] = {{"ffn_gate_inp", "block_sparse_moe.gate"},
                                   {"ffn_gate_exps", "block_sparse_moe.experts.*.w1"},
                                   {"ffn_down_exps", "block_sparse_moe.experts.*.w2"},
                                   {"ffn_up_exps", "block_sparse_moe.experts.*.w3"}};
constexpr Names kQwen3MoeNames[] = {{"ffn_gate_inp", "mlp.gate"},
                                    {"ffn_gate_exps", "mlp.experts.*.gate_proj"},
                                    {"ffn_down_exps", "mlp.experts.*.down_proj"},
                                    {"ffn_up_exps", "mlp.experts.*.up_proj"}};
constexpr Names kGpt2ModelNames[] = {{"token_embd", "transformer.wte"},
                                     {"position_embd", "transformer.wpe"},
                                     {"output_norm", "transformer.ln_f"},
                                     {"output", "lm_head"}};
constexpr Names kGpt2LayerNames[] = {{"attn_norm", "ln_1"},          {"attn_qkv", "attn.c_attn"},
                                     {"attn_output", "attn.c_proj"}, {"ffn_norm", "ln_2"},
                                     {"ffn_up", "mlp.c_fc"},         {"ffn_down", "mlp.c_proj"}};
constexpr Names kNeoxModelNames[] = {{"token_embd", "gpt_neox.embed_in"},
                                     {"output_norm", "gpt_neox.final_layer_norm"},
                                     {"output", "embed_out"}};
constexpr Names kNeoxLayerNames[] = {
    {"attn_norm", "input_layernorm"},   {"attn_qkv", "attention.query_key_value"},
    {"attn_output", "attention.dense"}, {"ffn_norm", "post_attention_layernorm"},
    {"ffn_up", "mlp.dense_h_to_4h"},    {"ffn_down", "mlp.dense_4h_to_h"}};
constexpr Names kFalconModelNames[] = {{"token_embd", "transformer.word_embeddings"},
                                       {"output_norm", "transformer.ln_f"},
                                       {"output", "lm_head"}};
constexpr Names kFalconLayerNames[] = {{"attn_norm", "input_layernorm"},
                                       {"attn_qkv", "self_attention.query_key_value"},
                                       {"attn_output", "self_attention.dense"},
                                       {"ffn_up", "mlp.dense_h_to_4h"},
                                       {"ffn_down", "mlp.dense_4h_to_h"}};
// With one norm for attention and one for the MLP, both of the layer's input.
constexpr Names kFalconTwoNormNames[] = {{"attn_norm", "ln_mlp"}, {"attn_norm_2", "ln_attn"}};

// The names of one family; the first table that has a name counts.
struct NameTables {
  std::span<const Names> model = kModelNames;
  std::span<const Names> special = {};  // of layers
  std::span<const Names> layer = kLayerNames;
  std::string_view layer_prefix = "model.layers.";
};

// has_two_norms: of a Falcon.
NameTables name_tables(const GgufFamily& family, bool has_two_norms) {
  const std::string_view architecture = family.architecture;
  if (architecture == "gemma2" || architecture == "gemma3" || architecture == "olmo2")
    return {.special = kSandwichNames};
  if (architecture == "phi3") return {.special = kPhi3Names};
  if (architecture == "starcoder2") return {.special = kStarCoder2Names};
  if (architecture == "llama") return {.special = kMixtralNames};
  if (architecture == "qwen3moe") return {.special = kQwen3MoeNames};
  if (architecture == "gpt2") {
    return {.model = kGpt2ModelNames, .layer = kGpt2LayerNames, .layer_prefix = "transformer.h."};
  }
  if (architecture == "gptneox") {
    return {.model = kNeoxModelNames, .layer = kNeoxLayerNames, .layer_prefix = "gpt_neox.layers."};
  }
  if (architecture == "falcon") {
    return {.model = kFalconModelNames,
            .special = has_two_norms ? std::span<const Names>(kFalconTwoNormNames) : std::span<const Names>(),
            .layer = kFalconLayerNames,
            .layer_prefix = "transformer.h."};
  }
  return {};
}

std::optional<std::string_view> look_up(std::span<const Names> table, std::string_view name) {
  for (const auto& [known, translation] : table) {
    if (name == known) return translation;
  }
  return std::nullopt;
}

constexpr std::string_view kLayerPrefix = "blk.";

// "PREFIX12.attn_q" as 12 and "attn_q".
std::optional<std::pair<int, std::string_view>> split_numbered(std::string_view name,
                                                               std::string_view prefix) {
  if (!name.starts_with(prefix)) return std::nullopt;
  int layer = 0;
  const char* begin = name.data() + prefix.size();
  const auto [end, failure] = std::from_chars(begin, name.data() + name.size(), layer);
  if (failure != std::errc() || layer < 0 || end == name.data() + name.size() || *end != '.')
    return std::nullopt;
  return std::pair(layer, name.substr(end + 1 - name.data()));
}

constexpr int kMaxExperts = 4096;

// The matrix of one expert, "ffn_gate.3": as early files have them, where later ones have "ffn_gate_exps".
std::optional<std::string> translate_expert(const NameTables& tables, std::string_view name) {
  const std::size_t dot = name.rfind('.');
  if (dot == name.npos) return std::nullopt;
  int expert = 0;
  const char* end = name.data() + name.size();
  const auto [rest, failure] = std::from_chars(name.data() + dot + 1, end, expert);
  const auto pattern = look_up(tables.special, fmt::format("{}_exps", name.substr(0, dot)));
  if (failure != std::errc() || rest != end || expert < 0 || expert >= kMaxExperts || !pattern)
    return std::nullopt;
  const std::size_t star = pattern->find('*');
  return fmt::format("{}{}{}", pattern->substr(0, star), expert, pattern->substr(star + 1));
}

// The Hugging Face name, where * is for the number of an expert.
std::optional<std::string> translate(const NameTables& tables, std::string_view name) {
  const std::size_t dot = name.rfind('.');
  if (dot == name.npos) return std::nullopt;
  const std::string_view ending = name.substr(dot);
  if (ending != ".weight" && ending != ".bias") return std::nullopt;
  const std::string_view stem = name.substr(0, dot);
  if (const auto layer = split_numbered(stem, kLayerPrefix)) {
    auto found = look_up(tables.special, layer->second);
    if (!found) found = look_up(tables.layer, layer->second);
    const auto original = found ? std::string(*found) : translate_expert(tables, layer->second);
    if (!original) return std::nullopt;
    return fmt::format("{}{}.{}{}", tables.layer_prefix, layer->first, *original, ending);
  }
  const auto found = look_up(tables.model, stem);
  if (!found) return std::nullopt;
  return fmt::format("{}{}", *found, ending);
}

// The other direction: the name in the table, and the number that stands for its *, or -1.
std::optional<std::pair<std::string_view, int>> look_up_original(std::span<const Names> table,
                                                                 std::string_view name) {
  for (const auto& [ours, theirs] : table) {
    const std::size_t star = theirs.find('*');
    if (star == theirs.npos) {
      if (name == theirs) return std::pair(ours, -1);
      continue;
    }
    const auto split = split_numbered(name, theirs.substr(0, star));
    if (split && split->second == theirs.substr(star + 2)) return std::pair(ours, split->first);
  }
  return std::nullopt;
}

// Row i of a head of `head_dim` rows that turns halves, as the row of one that turns neighbours.
std::vector<std::int32_t> halves_from_neighbours(std::int64_t num_rows, std::int64_t head_dim) {
  std::vector<std::int32_t> order(num_rows);
  for (std::int64_t row = 0; row < num_rows; ++row) {
    const std::int64_t in_head = row % head_dim, half = head_dim / 2;
    order[row] = static_cast<std::int32_t>(row - in_head + in_head % half * 2 + in_head / half);
  }
  return order;
}

// Queries, keys and values of each group of heads together, from all queries, all keys, all values.
std::vector<std::int32_t> grouped_from_sorted(std::int64_t num_groups, std::int64_t queries_per_group,
                                              std::int64_t head_dim) {
  std::vector<std::int32_t> order;
  const std::int64_t num_queries = num_groups * queries_per_group;
  const auto add_head = [&](std::int64_t head) {
    for (std::int64_t i = 0; i < head_dim; ++i)
      order.push_back(static_cast<std::int32_t>(head * head_dim + i));
  };
  for (std::int64_t group = 0; group < num_groups; ++group) {
    for (std::int64_t i = 0; i < queries_per_group; ++i) add_head(group * queries_per_group + i);
    add_head(num_queries + group);
    add_head(num_queries + num_groups + group);
  }
  return order;
}

// How the rows of a family's attention lie in the file.
class RowOrders {
 public:
  RowOrders(const GgufFamily& family, std::int64_t num_heads, std::int64_t num_kv_heads)
      : family_(family), num_heads_(num_heads), num_kv_heads_(num_kv_heads) {}

  static Result<RowOrders> read(const Gguf& gguf, const GgufFamily& family) {
    RowOrders orders(family, 0, 0);
    const std::string prefix = std::string(family.architecture) + ".attention.";
    if (!family.has_interleaved_heads && !orders.has_grouped_heads()) return orders;
    KVASIR_ASSIGN_OR_RETURN(orders.num_heads_, gguf.metadata.integer(prefix + "head_count", 1, 1 << 12));
    KVASIR_ASSIGN_OR_RETURN(
        orders.num_kv_heads_,
        gguf.metadata.integer(prefix + "head_count_kv", 1, orders.num_heads_, orders.num_heads_));
    return orders;
  }

  // Where the rows of the Hugging Face tensor are in the file.
  Status set(std::string_view stem, TensorInfo& info) const {
    const std::int64_t num_rows = info.shape[0];
    if (family_.has_interleaved_heads && (stem.ends_with(".attn_q") || stem.ends_with(".attn_k"))) {
      const std::int64_t num_heads = stem.ends_with(".attn_q") ? num_heads_ : num_kv_heads_;
      if (num_rows > kMaxRows || num_rows % (2 * num_heads) != 0) return wrong(stem, info, num_heads);
      info.row_order = halves_from_neighbours(num_rows, num_rows / num_heads);
    } else if (has_grouped_heads() && stem.ends_with(".attn_qkv")) {
      const std::int64_t num_heads = num_heads_ + 2 * num_kv_heads_;
      if (num_rows > kMaxRows || num_rows % num_heads != 0 || num_heads_ % num_kv_heads_ != 0) {
        return wrong(stem, info, num_heads);
      }
      info.row_order = grouped_from_sorted(num_kv_heads_, num_heads_ / num_kv_heads_, num_rows / num_heads);
    }
    return Status();
  }

 private:
  bool has_grouped_heads() const {
    return family_.architecture == "gptneox" || family_.architecture == "falcon";
  }

  static Status wrong(std::string_view stem, const TensorInfo& info, std::int64_t num_heads) {
    return error(StatusCode::kCorrupt, "{}: tensor '{}': expected {} heads of as many rows each, got {} rows",
                 info.file, printable(stem), num_heads, info.shape[0]);
  }

  static constexpr std::int64_t kMaxRows = 1 << 20;

  GgufFamily family_;
  std::int64_t num_heads_, num_kv_heads_;
};

constexpr std::size_t kMaxSplitTensors = 1 << 17;

// Each expert's part of a tensor of all experts; whether none of them was there before.
bool add_experts(std::string_view pattern, const TensorInfo& all, TensorMap& out) {
  const std::size_t star = pattern.find('*');
  const std::int64_t num_experts = all.shape[0];
  const std::size_t bytes = all.data.size() / num_experts;
  bool are_new = true;
  for (std::int64_t i = 0; i < num_experts; ++i) {
    TensorInfo one = all;
    one.shape.erase(one.shape.begin());
    one.data = all.data.subspan(i * bytes, bytes);
    std::string name = fmt::format("{}{}{}", pattern.substr(0, star), i, pattern.substr(star + 1));
    are_new &= out.emplace(std::move(name), std::move(one)).second;
  }
  return are_new;
}

}  // namespace

Result<GgufFamily> find_family(const GgufMetadata& metadata) {
  KVASIR_ASSIGN_OR_RETURN(const std::string_view architecture, metadata.text("general.architecture"));
  std::string known;
  for (const GgufFamily& family : kFamilies) {
    if (family.architecture == architecture) return family;
    known += fmt::format("{}{}", known.empty() ? "" : ", ", family.architecture);
  }
  return error(StatusCode::kUnsupported, "{}: key 'general.architecture': supported are {}; got '{}'",
               metadata.file(), known, printable(architecture));
}

Result<GgufFamily> family_of_class(const std::string& where, std::string_view class_name) {
  std::string_view architecture;
  for (const OtherClass& other : kOtherClasses) {
    if (other.class_name == class_name) architecture = other.architecture;
  }
  for (const GgufFamily& family : kFamilies) {
    if (architecture.empty() ? family.class_name == class_name : family.architecture == architecture) {
      return family;
    }
  }
  return error(StatusCode::kUnsupported, "{}: architectures: GGUF has no name for '{}'", where,
               printable(class_name));
}

Result<TensorMap> gguf_tensors(const Gguf& gguf) {
  constexpr std::string_view kOfTheConfig[] = {"rope_freqs.weight", "rope_factors_long.weight",
                                               "rope_factors_short.weight"};
  KVASIR_ASSIGN_OR_RETURN(const GgufFamily family, find_family(gguf.metadata));
  KVASIR_ASSIGN_OR_RETURN(const RowOrders orders, RowOrders::read(gguf, family));
  const NameTables tables = name_tables(family, gguf.tensors.contains("blk.0.attn_norm_2.weight"));
  TensorMap tensors;
  for (const auto& [name, info] : gguf.tensors) {
    if (std::find(std::begin(kOfTheConfig), std::end(kOfTheConfig), name) != std::end(kOfTheConfig)) continue;
    const auto translation = translate(tables, name);
    if (!translation) {
      return error(StatusCode::kUnsupported, "{}: tensor '{}' is not known in models of architecture '{}'",
                   info.file, printable(name), family.architecture);
    }
    bool is_new;
    if (translation->find('*') != translation->npos) {
      if (info.shape.size() != 3 || info.shape[0] > kMaxExperts || tensors.size() > kMaxSplitTensors) {
        return error(StatusCode::kCorrupt,
                     "{}: tensor '{}': expected the matrices of at most {} experts, got shape [{}]",
                     info.file, printable(name), kMaxExperts, fmt::join(info.shape, ","));
      }
      is_new = add_experts(*translation, info, tensors);
    } else {
      TensorInfo tensor = info;
      if (family.has_shifted_norms && name.ends_with("norm.weight")) tensor.offset = 1;
      KVASIR_RETURN_IF_ERROR(orders.set(name.substr(0, name.rfind('.')), tensor));
      is_new = tensors.emplace(*translation, std::move(tensor)).second;
    }
    if (!is_new) {
      return error(StatusCode::kCorrupt, "{}: tensor '{}': another tensor is the same matrix", info.file,
                   printable(name));
    }
  }
  return tensors;
}

Result<GgufTensorName> gguf_tensor_name(const GgufFamily& family, const std::string& file,
                                        std::string_view name) {
  const NameTables tables = name_tables(family, /*has_two_norms=*/true);
  const std::size_t dot = std::min(name.rfind('.'), name.size());
  const std::string_view stem = name.substr(0, dot), ending = name.substr(dot);
  if (ending == ".weight" || ending == ".bias") {
    if (const auto found = look_up_original(tables.model, stem)) {
      return GgufTensorName{fmt::format("{}{}", found->first, ending)};
    }
    const auto layer = split_numbered(stem, tables.layer_prefix);
    auto found = layer ? look_up_original(tables.special, layer->second) : std::nullopt;
    if (layer && !found) found = look_up_original(tables.layer, layer->second);
    if (found) {
      return GgufTensorName{fmt::format("{}{}.{}{}", kLayerPrefix, layer->first, found->first, ending),
                            layer->first, found->second};
    }
  }
  return error(StatusCode::kUnsupported,
               "{}: tensor '{}': GGUF has no name for it in models of architecture '{}'", file,
               printable(name), family.architecture);
}

Status lay_out_for_file(const GgufFamily& family, std::string_view gguf_name, std::int64_t num_heads,
                        std::int64_t num_kv_heads, TensorInfo& info) {
  const std::string_view stem = gguf_name.substr(0, gguf_name.rfind('.'));
  KVASIR_RETURN_IF_ERROR(RowOrders(family, num_heads, num_kv_heads).set(stem, info));
  std::vector<std::int32_t> order(info.row_order.size());
  for (std::size_t row = 0; row < order.size(); ++row) {
    order[info.row_order[row]] = static_cast<std::int32_t>(row);
  }
  info.row_order = std::move(order);
  if (family.has_shifted_norms && gguf_name.ends_with("norm.weight")) info.offset = -1;
  return Status();
}

}  // namespace kvasir::format
