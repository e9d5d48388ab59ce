#pragma once

// What a family calls its tensors. Each has a weight, "NAME.weight", and perhaps a bias, "NAME.bias".

#include <array>

namespace kvasir::model {

// Where queries, keys and values are.
enum class QkvLayout {
  kSeparate,  // three tensors
  kJoined,    // one, with the rows of all queries, all keys, all values
  kByGroup,   // one, with the rows of each KV head's queries, its key and its value together
};

struct TensorNames {
  // What the names of the model (not of the output matrix) may begin with: that for which there is an
  // embedding. Likewise the output matrix. Empty names at the end are not tried.
  std::array<const char*, 4> roots = {"model.", ""};
  std::array<const char*, 2> output = {"lm_head"};
  const char* embedding = "embed_tokens";
  const char* positions = nullptr;  // null: no learned positions
  const char* norm = "norm";
  const char* layers = "layers";  // "layers.0." begins the names of the first layer's tensors, which are:

  const char* attention_norm = "input_layernorm";  // null: none
  const char* attention_post_norm = nullptr;       // of the block's output, null: none
  const char* mlp_norm = "post_attention_layernorm";
  const char* mlp_post_norm = nullptr;
  const char* q_norm = nullptr;
  const char* k_norm = nullptr;

  QkvLayout qkv_layout = QkvLayout::kSeparate;
  const char* q = "self_attn.q_proj";  // or the joined tensor
  const char* k = "self_attn.k_proj";
  const char* v = "self_attn.v_proj";
  const char* o = "self_attn.o_proj";

  const char* gate = "mlp.gate_proj";  // null: not gated
  const char* up = "mlp.up_proj";      // the same as `gate`: one tensor with the rows of gate, then up
  const char* down = "mlp.down_proj";

  const char* router = "mlp.gate";      // of a layer with experts
  const char* experts = "mlp.experts";  // "mlp.experts.0." begins the names of the first expert's tensors:
  const char* expert_gate = "gate_proj";
  const char* expert_up = "up_proj";
  const char* expert_down = "down_proj";

  // The matrices of the layers are stored with rows and columns exchanged.
  bool is_transposed = false;

  // The same names in the same places of the program: families are compared, not spellings.
  bool operator==(const TensorNames&) const = default;
};

}  // namespace kvasir::model
