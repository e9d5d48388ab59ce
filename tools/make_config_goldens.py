#!/usr/bin/env python3
"""Writes tests/data/model_configs.json: configs of models as transformers 5 saves them.

It is {name: {"new": config}}, of the model in tests/data/models/name, or {name: {"old": config, "new": config}}: "new" is
what is saved after "old", in the form of transformers 4, has been read. Needs transformers 5, in an environment of its
own (tools/requirements.txt has the version that the other goldens were made with), and no torch.
"""

import json
import tempfile
from pathlib import Path

import transformers

DATA = Path(__file__).resolve().parent.parent / "tests" / "data"

SMALL = dict(vocab_size=101, hidden_size=32, intermediate_size=44, num_hidden_layers=3, num_attention_heads=4,
             num_key_value_heads=2, rms_norm_eps=1e-6)
OLD = {
    "qwen2-yarn": SMALL | dict(
        architectures=["Qwen2ForCausalLM"], model_type="qwen2", hidden_act="silu", max_position_embeddings=32768,
        rope_theta=1000000.0, sliding_window=32768, use_sliding_window=False, max_window_layers=3,
        tie_word_embeddings=True, torch_dtype="bfloat16",
        rope_scaling=dict(type="yarn", factor=4.0, original_max_position_embeddings=32768)),
    "qwen3-moe-published": SMALL | dict(
        architectures=["Qwen3MoeForCausalLM"], model_type="qwen3_moe", hidden_act="silu", head_dim=16,
        max_position_embeddings=40960, rope_theta=1000000.0, rope_scaling=None, sliding_window=None,
        use_sliding_window=False, max_window_layers=3, num_experts=8, num_experts_per_tok=2, decoder_sparse_step=1,
        mlp_only_layers=[], moe_intermediate_size=24, norm_topk_prob=True, tie_word_embeddings=False,
        torch_dtype="bfloat16"),
    "gemma3-images": dict(
        architectures=["Gemma3ForConditionalGeneration"], model_type="gemma3", boi_token_index=97, eoi_token_index=98,
        image_token_index=99, eos_token_id=[1, 6], initializer_range=0.02, mm_tokens_per_image=256,
        torch_dtype="bfloat16",
        text_config=dict(model_type="gemma3_text", bos_token_id=2, vocab_size=101, hidden_size=32, intermediate_size=44,
                         num_hidden_layers=7, num_attention_heads=4, head_dim=8, num_key_value_heads=2,
                         sliding_window=16, rope_scaling=dict(factor=8.0, rope_type="linear")),
        vision_config=dict(model_type="siglip_vision_model", hidden_size=16, image_size=32, intermediate_size=24,
                           num_attention_heads=2, num_hidden_layers=1, patch_size=16)),
}


def as_saved(config):
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "config.json"
        path.write_text(json.dumps(config))
        transformers.AutoConfig.from_pretrained(folder).save_pretrained(folder)
        return json.loads(path.read_text())


def main():
    assert transformers.__version__.startswith("5."), transformers.__version__
    goldens = {}
    for path in sorted((DATA / "models").glob("*/config.json")):
        goldens[path.parent.name] = {"new": as_saved(json.loads(path.read_text()))}
    goldens |= {name: {"old": config, "new": as_saved(config)} for name, config in OLD.items()}
    lines = [f"{json.dumps(name)}: {json.dumps(golden)}" for name, golden in goldens.items()]
    (DATA / "model_configs.json").write_text("{\n" + ",\n".join(lines) + "\n}\n")


if __name__ == "__main__":
    main()
