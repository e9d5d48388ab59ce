#!/usr/bin/env python3
"""Writes tests/data/models: random-weight models of odd shapes, each with goldens by transformers.

Each folder is a Hugging Face model folder plus goldens.json:
  cases: [{prompt: [ids], last_logits: [vocab_size], greedy: [ids], greedy_margin: [top-1 minus top-2 at each step],
           and of the longest prompt position_logits: [[the logits of column_ids at each position]]}]
  column_ids: [ids]
  limited: {max_model_len, cases}, of models that take texts of up to max_model_len tokens in another way
computed in float32 with the weights as they are stored, without a KV cache. Seeds are fixed: the same versions of
torch and transformers write the same files. Names on the command line restrict it to those models.
"""

import json
import shutil
import sys
from pathlib import Path

import torch
import transformers
from safetensors.torch import save_file

OUT = Path(__file__).resolve().parent.parent / "tests" / "data" / "models"

F32, F16, BF16 = torch.float32, torch.float16, torch.bfloat16
BASE = dict(vocab_size=131, hidden_size=48, intermediate_size=100, num_hidden_layers=2, num_attention_heads=4,
            num_key_value_heads=2, max_position_embeddings=256, rms_norm_eps=1e-5, bos_token_id=1, eos_token_id=2)
LLAMA3 = dict(rope_type="llama3", factor=8.0, low_freq_factor=1.0, high_freq_factor=4.0,
              original_max_position_embeddings=64)
TINY = BASE | dict(vocab_size=101, hidden_size=32, intermediate_size=44)
GPT2 = dict(vocab_size=101, n_embd=36, n_layer=2, n_head=3, n_positions=256, bos_token_id=1, eos_token_id=2)
NEOX = dict(vocab_size=101, hidden_size=48, intermediate_size=76, num_hidden_layers=2, num_attention_heads=3,
            max_position_embeddings=256, rotary_pct=0.25, bos_token_id=1, eos_token_id=2)
FALCON = dict(vocab_size=101, hidden_size=48, ffn_hidden_size=84, num_hidden_layers=2, num_attention_heads=6,
              max_position_embeddings=256, bos_token_id=1, eos_token_id=2)
YARN = dict(rope_type="yarn", factor=4.0, original_max_position_embeddings=64)


def longrope(pairs):
    return dict(type="longrope", short_factor=[1 + 0.05 * i for i in range(pairs)],
                long_factor=[1.5 + 0.7 * i for i in range(pairs)])


# name: (class, dtype, number of files, config)
MODELS = {
    "llama-gqa": ("Llama", F32, 1, BASE),
    "llama-f16-tied": ("Llama", F16, 1, BASE | dict(tie_word_embeddings=True, intermediate_size=77)),
    "llama-bf16-sharded": ("Llama", BF16, 3, BASE | dict(num_key_value_heads=4)),
    "llama-rope-linear": ("Llama", F32, 1, BASE | dict(rope_scaling=dict(rope_type="linear", factor=4.0))),
    "llama-rope-llama3": ("Llama", F32, 1, BASE | dict(rope_scaling=LLAMA3, rope_theta=500000.0, head_dim=16)),
    "llama-biases": ("Llama", F32, 1, BASE | dict(attention_bias=True, mlp_bias=True, num_key_value_heads=1)),
    "llama-wide-heads": ("Llama", F32, 1, BASE | dict(head_dim=22, num_attention_heads=6, num_key_value_heads=3)),
    "mistral-window": ("Mistral", F32, 1, TINY | dict(sliding_window=21, head_dim=12)),
    "qwen2": ("Qwen2", F32, 1, TINY),
    "qwen2-windows": ("Qwen2", BF16, 1, TINY | dict(num_hidden_layers=3, use_sliding_window=True, sliding_window=20,
                                                    max_window_layers=1)),
    "qwen3": ("Qwen3", BF16, 1, TINY | dict(head_dim=80, num_attention_heads=2, num_key_value_heads=1)),
    "gemma": ("Gemma", BF16, 1, TINY | dict(head_dim=96, num_attention_heads=2, num_key_value_heads=1)),
    "gemma2": ("Gemma2", F32, 1, TINY | dict(num_hidden_layers=3, head_dim=10, sliding_window=24,
                                             query_pre_attn_scalar=20, attn_logit_softcapping=3.0,
                                             final_logit_softcapping=4.0)),
    "gemma3": ("Gemma3", F32, 1, TINY | dict(num_hidden_layers=3, head_dim=14, sliding_window=70,
                                             sliding_window_pattern=3, query_pre_attn_scalar=9,
                                             rope_scaling=dict(rope_type="linear", factor=8.0))),
    "phi3": ("Phi3", F32, 1, TINY | dict(sliding_window=40, pad_token_id=0)),
    "smollm3": ("SmolLM3", BF16, 1, TINY | dict(num_hidden_layers=3, no_rope_layer_interval=2, pad_token_id=0)),
    "olmo2": ("Olmo2", F32, 1, TINY | dict(pad_token_id=0)),
    "granite": ("Granite", F32, 1, TINY | dict(embedding_multiplier=12.0, residual_multiplier=0.22,
                                               attention_multiplier=0.3, logits_scaling=8.0)),
    "gpt2": ("GPT2", F32, 1, GPT2),
    "gpt-neox": ("GPTNeoX", F32, 1, NEOX),
    "gpt-neox-sequential": ("GPTNeoX", BF16, 1, NEOX | dict(use_parallel_residual=False, attention_bias=False,
                                                            hidden_act="gelu_fast", rotary_pct=0.5)),
    "falcon-multi-query": ("Falcon", F32, 1, FALCON),
    "falcon-two-norms": ("Falcon", F32, 1, FALCON | dict(new_decoder_architecture=True, num_kv_heads=2)),
    "falcon-one-norm": ("Falcon", BF16, 1, FALCON | dict(new_decoder_architecture=True, num_kv_heads=3,
                                                         num_ln_in_parallel_attn=1, bias=True)),
    "falcon-sequential": ("Falcon", BF16, 1, FALCON | dict(multi_query=False, parallel_attn=False, bias=True)),
    "starcoder2": ("Starcoder2", F32, 1, {key: value for key, value in TINY.items() if key != "rms_norm_eps"}
                   | dict(sliding_window=90)),
    "mixtral": ("Mixtral", F32, 1, TINY | dict(num_local_experts=5, num_experts_per_tok=2, intermediate_size=36)),
    "qwen3-moe": ("Qwen3Moe", F32, 1, TINY | dict(num_hidden_layers=3, head_dim=12, num_experts=6,
                                                  num_experts_per_tok=3, moe_intermediate_size=20,
                                                  mlp_only_layers=[1])),
    "qwen3-moe-normalized": ("Qwen3Moe", BF16, 1, TINY | dict(num_hidden_layers=2, num_experts=9, head_dim=12,
                                                              num_experts_per_tok=4, moe_intermediate_size=24,
                                                              norm_topk_prob=True, decoder_sparse_step=2)),
    "llama-rope-yarn": ("Llama", F32, 1, TINY | dict(rope_scaling=YARN)),
    "llama-rope-dynamic": ("Llama", BF16, 1, TINY | dict(rope_scaling=dict(rope_type="dynamic", factor=4.0))),
    "phi3-longrope-short": ("Phi3", BF16, 1, TINY | dict(original_max_position_embeddings=256, pad_token_id=0,
                                                         rope_scaling=longrope(4))),
    # Prompts beyond the original context: there transformers uses the long factors as well.
    "phi3-longrope-long": ("Phi3", BF16, 1, TINY | dict(original_max_position_embeddings=16, pad_token_id=0,
                                                        partial_rotary_factor=0.75, rope_scaling=longrope(3))),
}
# The first seven are as they were made at first; the others have fewer and longer prompts.
NUM_FIRST = 7
FIRST_LENGTHS, LENGTHS = (1, 2, 15, 16, 17, 70), (17, 66, 150)
FIRST_GREEDY, GREEDY = 32, 20
NUM_COLUMNS = 6
# Up to that length, prompt and reply, transformers uses longrope's short factors.
LIMITED = {"phi3-longrope-long": 16}


def make_model(family, config, dtype, seed):
    torch.manual_seed(seed)
    config_class = "Gemma3TextConfig" if family == "Gemma3" else f"{family}Config"
    model_class = "GPT2LMHeadModel" if family == "GPT2" else f"{family}ForCausalLM"
    model = getattr(transformers, model_class)(
        getattr(transformers, config_class)(**config, attn_implementation="eager"))
    norms = {id(module.weight) for module in model.modules() if "Norm" in type(module).__name__}
    is_relative = family.startswith("Gemma")  # their norms have weights relative to 1
    with torch.no_grad():
        for parameter in model.parameters():
            # Larger than training's initialisation, so that attention and margins are far from uniform.
            scale = 0.12 if parameter.dim() == 2 else 0.2
            parameter.normal_(0, scale)
            if id(parameter) in norms and not is_relative:
                parameter.add_(1)
            parameter.copy_(parameter.to(dtype))  # rounded as it is stored; the reference goes on in float32
    return model.eval()


def save(model, dtype, folder, num_files):
    tensors = {name: tensor.to(dtype).contiguous() for name, tensor in model.state_dict().items()}
    if model.config.tie_word_embeddings:
        tensors.pop("lm_head.weight")  # the embedding
    names = sorted(tensors)
    if num_files == 1:
        save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
    else:
        weight_map = {}
        for i in range(num_files):
            file = f"model-{i + 1:05}-of-{num_files:05}.safetensors"
            shard = {name: tensors[name] for name in names[i::num_files]}
            save_file(shard, folder / file, metadata={"format": "pt"})
            weight_map |= dict.fromkeys(shard, file)
        index = {"metadata": {"total_size": sum(t.nbytes for t in tensors.values())}, "weight_map": weight_map}
        (folder / "model.safetensors.index.json").write_text(json.dumps(index, indent=1))


@torch.no_grad()
def make_case(model, prompt, num_greedy, columns):
    ids, margins, last, positions = list(prompt), [], None, None
    for _ in range(num_greedy):
        logits = model(torch.tensor([ids]), use_cache=False).logits[0]
        if last is None:
            last, positions = logits[-1], logits[:, columns]
        top = torch.topk(logits[-1], 2)
        margins.append(round(float(top.values[0] - top.values[1]), 6))
        ids.append(int(top.indices[0]))
    case = {"prompt": prompt, "last_logits": [float(f"{x:.9g}") for x in last.tolist()], "greedy": ids[len(prompt):],
            "greedy_margin": margins}
    if columns:
        case["position_logits"] = [[float(f"{x:.7g}") for x in row] for row in positions.tolist()]
    return case


def make_folder(number, name, family, dtype, num_files, config):
    folder = OUT / name
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    model = make_model(family, config, dtype, number)
    model.config.dtype = dtype
    if number >= NUM_FIRST:
        model.config.architectures = [type(model).__name__]
    (folder / "config.json").write_text(model.config.to_json_string())
    (folder / "generation_config.json").write_text(json.dumps({"eos_token_id": [2, 3]}))
    save(model, dtype, folder, num_files)
    generator = torch.Generator().manual_seed(number)
    is_first = number < NUM_FIRST
    lengths, num_greedy = (FIRST_LENGTHS, FIRST_GREEDY) if is_first else (LENGTHS, GREEDY)
    prompts = [torch.randint(config["vocab_size"], (n,), generator=generator).tolist() for n in lengths]
    columns = [] if is_first else torch.randint(config["vocab_size"], (NUM_COLUMNS,), generator=generator).tolist()
    cases = [make_case(model, prompt, num_greedy, columns if prompt is prompts[-1] else []) for prompt in prompts]
    goldens = {"cases": cases} if is_first else {"column_ids": columns, "cases": cases}
    if max_model_len := LIMITED.get(name):
        prompt = torch.randint(config["vocab_size"], (max_model_len // 2,), generator=generator).tolist()
        goldens["limited"] = {"max_model_len": max_model_len,
                              "cases": [make_case(model, prompt, max_model_len - len(prompt), [])]}
    (folder / "goldens.json").write_text(json.dumps(goldens))


def main():
    for number, (name, model) in enumerate(MODELS.items()):
        if len(sys.argv) == 1 or name in sys.argv[1:]:
            make_folder(number, name, *model)


if __name__ == "__main__":
    main()
