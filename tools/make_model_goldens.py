#!/usr/bin/env python3
"""Writes tests/data/models: random-weight Llama models of odd shapes, each with goldens by transformers.

Each folder is a Hugging Face model folder plus goldens.json:
  cases: [{prompt: [ids], last_logits: [vocab_size], greedy: [32 ids], greedy_margin: [top-1 minus top-2 at each step]}]
computed in float32 with the weights as they are stored, without a KV cache. Seeds are fixed: the same versions of
torch and transformers write the same files.
"""

import json
import shutil
from pathlib import Path

import torch
from safetensors.torch import save_file
from transformers import LlamaConfig, LlamaForCausalLM

OUT = Path(__file__).resolve().parent.parent / "tests" / "data" / "models"

BASE = dict(vocab_size=131, hidden_size=48, intermediate_size=100, num_hidden_layers=2, num_attention_heads=4,
            num_key_value_heads=2, max_position_embeddings=256, rms_norm_eps=1e-5, bos_token_id=1, eos_token_id=2)
LLAMA3 = dict(rope_type="llama3", factor=8.0, low_freq_factor=1.0, high_freq_factor=4.0,
              original_max_position_embeddings=64)

# name: (dtype, number of files, config)
MODELS = {
    "llama-gqa": (torch.float32, 1, BASE),
    "llama-f16-tied": (torch.float16, 1, BASE | dict(tie_word_embeddings=True, intermediate_size=77)),
    "llama-bf16-sharded": (torch.bfloat16, 3, BASE | dict(num_key_value_heads=4)),
    "llama-rope-linear": (torch.float32, 1, BASE | dict(rope_scaling=dict(rope_type="linear", factor=4.0))),
    "llama-rope-llama3": (torch.float32, 1, BASE | dict(rope_scaling=LLAMA3, rope_theta=500000.0, head_dim=16)),
    "llama-biases": (torch.float32, 1, BASE | dict(attention_bias=True, mlp_bias=True, num_key_value_heads=1)),
    "llama-wide-heads": (torch.float32, 1, BASE | dict(head_dim=22, num_attention_heads=6, num_key_value_heads=3)),
}
PROMPT_LENGTHS = (1, 2, 15, 16, 17, 70)
NUM_GREEDY = 32


def make_model(config, dtype, seed):
    torch.manual_seed(seed)
    model = LlamaForCausalLM(LlamaConfig(**config, attn_implementation="eager"))
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            # Larger than training's initialisation, so that attention and margins are far from uniform.
            scale = 0.12 if parameter.dim() == 2 else 0.2
            parameter.normal_(0, scale)
            if "norm" in name:
                parameter.add_(1)
            parameter.copy_(parameter.to(dtype))  # rounded as it is stored; the reference goes on in float32
    return model.eval()


def save(model, dtype, folder, num_files):
    tensors = {name: tensor.to(dtype).contiguous() for name, tensor in model.state_dict().items()}
    if model.config.tie_word_embeddings:
        tensors.pop("lm_head.weight")
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
def make_case(model, prompt):
    ids, margins, last = list(prompt), [], None
    for _ in range(NUM_GREEDY):
        logits = model(torch.tensor([ids]), use_cache=False).logits[0, -1]
        last = logits if last is None else last
        top = torch.topk(logits, 2)
        margins.append(round(float(top.values[0] - top.values[1]), 6))
        ids.append(int(top.indices[0]))
    return {"prompt": prompt, "last_logits": [float(f"{x:.9g}") for x in last.tolist()], "greedy": ids[len(prompt):],
            "greedy_margin": margins}


def main():
    shutil.rmtree(OUT, ignore_errors=True)
    for seed, (name, (dtype, num_files, config)) in enumerate(MODELS.items()):
        folder = OUT / name
        folder.mkdir(parents=True)
        model = make_model(config, dtype, seed)
        model.config.dtype = dtype
        (folder / "config.json").write_text(model.config.to_json_string())
        (folder / "generation_config.json").write_text(json.dumps({"eos_token_id": [2, 3]}))
        save(model, dtype, folder, num_files)
        generator = torch.Generator().manual_seed(seed)
        prompts = [torch.randint(config["vocab_size"], (n,), generator=generator).tolist() for n in PROMPT_LENGTHS]
        goldens = {"cases": [make_case(model, prompt) for prompt in prompts]}
        (folder / "goldens.json").write_text(json.dumps(goldens))


if __name__ == "__main__":
    main()
