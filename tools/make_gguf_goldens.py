#!/usr/bin/env python3
"""Writes tests/data/gguf with the gguf package, which is independent of Kvasir's own reader and writer.

blocks/TYPE.blocks.bin, TYPE.f32.bin: random blocks of each type and the floats they stand for.
blocks/weights.f32.bin, TYPE.rounded.bin: floats, and the blocks that the reference rounds them to.
llama-mixed.gguf, .json: a random Llama model whose tensors have all the types, with goldens by transformers in
  float32 of the weights as expanded by the gguf package; cases as those of make_model_goldens.py.
tokenizers/NAME.gguf, .jsonl: tokenizers without a model, with goldens by `tokenizers` as those of
  make_tokenizer_goldens.py.
Seeds are fixed: the same versions of the packages write the same files.
"""

import json
from pathlib import Path

import gguf
import numpy as np
import tokenizers
import torch
from gguf import GGMLQuantizationType as Type
from tokenizers import decoders, models, normalizers, pre_tokenizers, processors, trainers
from transformers import LlamaConfig, LlamaForCausalLM

from gguf_tokenizer import MARK, add_tokenizer

ROOT = Path(__file__).resolve().parent.parent
OUT = ROOT / "tests" / "data" / "gguf"
SMALL = [Type.Q4_0, Type.Q4_1, Type.Q5_0, Type.Q5_1, Type.Q8_0, Type.IQ4_NL]
LARGE = [Type.Q2_K, Type.Q3_K, Type.Q4_K, Type.Q5_K, Type.Q6_K]
# Where a block has its f16 numbers.
HALVES = {Type.Q4_0: [0], Type.Q4_1: [0, 2], Type.Q5_0: [0], Type.Q5_1: [0, 2], Type.Q8_0: [0], Type.IQ4_NL: [0],
          Type.Q2_K: [80, 82], Type.Q3_K: [108], Type.Q4_K: [0, 2], Type.Q5_K: [0, 2], Type.Q6_K: [208]}


def random_blocks(random, kind, rows, columns, scale):
    """Blocks of random bits, with f16 numbers of about `scale`."""
    weights, size = gguf.GGML_QUANT_SIZES[kind]
    blocks = random.integers(0, 256, (rows * columns // weights, size), dtype=np.uint8)
    for at in HALVES[kind]:
        numbers = (scale * random.uniform(0.5, 1, len(blocks))).astype(np.float16)
        blocks[:, at:at + 2] = numbers.view(np.uint8).reshape(-1, 2)
    return blocks.reshape(rows, -1)


def write_blocks(random):
    folder = OUT / "blocks"
    folder.mkdir(parents=True, exist_ok=True)
    for kind in SMALL + LARGE:
        blocks = random_blocks(random, kind, 1, 2 * gguf.GGML_QUANT_SIZES[kind][0], 0.01)
        (folder / f"{kind.name}.blocks.bin").write_bytes(blocks.tobytes())
        (folder / f"{kind.name}.f32.bin").write_bytes(gguf.dequantize(blocks, kind).astype("<f4").tobytes())
    for kind in (Type.F16, Type.BF16):
        floats = random.normal(size=16).astype(np.float32)
        blocks = gguf.quantize(floats, kind)
        (folder / f"{kind.name}.blocks.bin").write_bytes(blocks.tobytes())
        (folder / f"{kind.name}.f32.bin").write_bytes(gguf.dequantize(blocks, kind).astype("<f4").tobytes())
    weights = random.normal(size=(1, 8 * 32)).astype(np.float32)
    weights[0, :32] = 0
    (folder / "weights.f32.bin").write_bytes(weights.tobytes())
    for kind in (Type.Q8_0, Type.Q4_0):
        (folder / f"{kind.name}.rounded.bin").write_bytes(gguf.quantize(weights, kind).tobytes())


def unpermuted(weights, heads):
    """The rows as transformers has them: llama.cpp's converter makes neighbours of each head's halves."""
    rows = weights.shape[0]
    return weights.reshape(heads, rows // heads // 2, 2, -1).swapaxes(1, 2).reshape(weights.shape)


def write_model(random):
    config = dict(vocab_size=96, hidden_size=32, intermediate_size=256, num_hidden_layers=5, num_attention_heads=4,
                  num_key_value_heads=2, max_position_embeddings=128, rms_norm_eps=1e-5, rope_theta=500000.0,
                  rope_scaling=dict(rope_type="llama3", factor=8.0, low_freq_factor=1.0, high_freq_factor=4.0,
                                    original_max_position_embeddings=8192),
                  bos_token_id=1, eos_token_id=2)
    # The scales of random bits are chosen for weights of about 0.1.
    writer = gguf.GGUFWriter(OUT / "llama-mixed.gguf", "llama")
    writer.add_block_count(config["num_hidden_layers"])
    writer.add_context_length(config["max_position_embeddings"])
    writer.add_embedding_length(config["hidden_size"])
    writer.add_feed_forward_length(config["intermediate_size"])
    writer.add_head_count(config["num_attention_heads"])
    writer.add_head_count_kv(config["num_key_value_heads"])
    writer.add_layer_norm_rms_eps(config["rms_norm_eps"])
    writer.add_rope_freq_base(config["rope_theta"])
    writer.add_rope_dimension_count(8)
    writer.add_bos_token_id(1)
    writer.add_eos_token_id(2)
    state = {}

    def add(name, reference, shape, kind, scale, heads=0):
        if kind in HALVES:
            data = random_blocks(random, kind, *shape, scale)
            floats = gguf.dequantize(data, kind)
        else:
            data = gguf.quantize((scale * random.normal(size=shape)).astype(np.float32), kind)
            floats = gguf.dequantize(data, kind).reshape(shape)
        # A 16-bit type is its numpy type, apart from bf16, which numpy does not have.
        writer.add_tensor(name, data, raw_dtype=kind if kind in HALVES or kind == Type.BF16 else None)
        state[reference] = torch.from_numpy(np.array(unpermuted(floats, heads) if heads else floats))

    hidden, inner, heads, kv_heads = 32, 256, 4, 2
    add("token_embd.weight", "model.embed_tokens.weight", (96, hidden), Type.Q8_0, 0.01)
    add("output.weight", "lm_head.weight", (96, hidden), Type.F16, 0.2)
    add("output_norm.weight", "model.norm.weight", (hidden,), Type.F32, 1)
    for i in range(5):
        ours, theirs = f"blk.{i}.", f"model.layers.{i}."
        small = SMALL[i]
        add(ours + "attn_norm.weight", theirs + "input_layernorm.weight", (hidden,), Type.F32, 1)
        add(ours + "ffn_norm.weight", theirs + "post_attention_layernorm.weight", (hidden,), Type.F32, 1)
        add(ours + "attn_q.weight", theirs + "self_attn.q_proj.weight", (hidden, hidden), small, 0.02, heads)
        add(ours + "attn_k.weight", theirs + "self_attn.k_proj.weight", (16, hidden),
            [Type.F32, Type.F16, Type.BF16, Type.Q4_0, Type.IQ4_NL][i], 0.02 if i > 2 else 0.2, kv_heads)
        add(ours + "attn_v.weight", theirs + "self_attn.v_proj.weight", (16, hidden), Type.Q4_1, 0.01)
        add(ours + "attn_output.weight", theirs + "self_attn.o_proj.weight", (hidden, hidden), Type.BF16, 0.1)
        add(ours + "ffn_gate.weight", theirs + "mlp.gate_proj.weight", (inner, hidden), Type.IQ4_NL, 0.001)
        add(ours + "ffn_up.weight", theirs + "mlp.up_proj.weight", (inner, hidden), Type.Q4_0, 0.02)
        add(ours + "ffn_down.weight", theirs + "mlp.down_proj.weight", (hidden, inner), LARGE[i],
            [0.005, 0.0005, 0.0003, 0.0002, 0.00005][i])
    turns = 8192 / (2 * np.pi) * (500000.0 ** -(np.arange(0, 8, 2) / 8))
    kept = np.clip((turns - 1) / 3, 0, 1)
    writer.add_tensor("rope_freqs.weight", (1 / ((1 - kept) / 8 + kept)).astype(np.float32))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()

    model = LlamaForCausalLM(LlamaConfig(**config)).float().eval()
    model.load_state_dict(state, strict=True)
    cases = []
    with torch.no_grad():
        for length in (1, 7, 40):
            prompt = [1] + random.integers(3, 96, length - 1).tolist()
            tokens, greedy, margins, last = list(prompt), [], [], None
            for _ in range(8):
                logits = model(torch.tensor([tokens])).logits[0, -1]
                last = logits if last is None else last
                top = torch.topk(logits, 2)
                greedy.append(int(top.indices[0]))
                margins.append(float(top.values[0] - top.values[1]))
                tokens.append(greedy[-1])
            cases.append(dict(prompt=prompt, last_logits=[round(float(x), 6) for x in last], greedy=greedy,
                              greedy_margin=[round(x, 6) for x in margins]))
    (OUT / "llama-mixed.json").write_text(json.dumps(dict(cases=cases)) + "\n")


def write_tokenizer(path, tokenizer, kind, pre=None, template=None):
    """A GGUF file of a tokenizer and nothing else."""
    writer = gguf.GGUFWriter(path, "llama")
    add_tokenizer(writer, tokenizer, kind, pre)
    if template is not None:
        writer.add_chat_template(template)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.close()


def train(model, trainer, **parts):
    tokenizer = tokenizers.Tokenizer(model)
    for name, part in parts.items():
        setattr(tokenizer, name, part)
    texts = [(ROOT / name).read_text() for name in ("README.md", "docs/architecture.md")]
    tokenizer.train_from_iterator(texts, trainer)
    return tokenizer


TEXTS = ["", " ", "Hello, world", "  two  spaces ", "It's 12345 and I'LL go", "na\u00efve caf\u00e9 \u4e2d\u6587 \U0001f600",
         "tabs\tand\nlines\r\n\n end", "a<s>b</s>", "x<|turn|> y", "e\u0301 \u200b\u00a0.", "cache the prefix of a prompt",
         "\u2581mark \u2581\u2581", "UPPER lower MiXeD", "((a+b))*c == 3.14e-10;", "\u0000\u0001"]


def write_tokenizers():
    folder = OUT / "tokenizers"
    folder.mkdir(parents=True, exist_ok=True)
    frame = lambda tokenizer, text: processors.TemplateProcessing(
        single=text, special_tokens=[(word, tokenizer.token_to_id(word)) for word in text.split() if word != "$A"])
    special = ["<unk>", "<s>", "</s>", "<|turn|>"]
    made = {}

    spm = train(models.BPE(unk_token="<unk>", fuse_unk=True, byte_fallback=True),
                trainers.BpeTrainer(vocab_size=700, special_tokens=special + [f"<0x{i:02X}>" for i in range(256)],
                                    show_progress=False),
                normalizer=normalizers.Sequence([normalizers.Prepend(MARK), normalizers.Replace(" ", MARK)]),
                pre_tokenizer=pre_tokenizers.Split(MARK, "merged_with_next"))
    spm.pre_tokenizer = None
    content = json.loads(spm.to_str())
    content["added_tokens"] = content["added_tokens"][:4]
    spm = tokenizers.Tokenizer.from_str(json.dumps(content))
    spm.decoder = decoders.Sequence([decoders.Replace(MARK, " "), decoders.ByteFallback(), decoders.Fuse(),
                                     decoders.Strip(" ", 1, 0)])
    spm.post_processor = frame(spm, "<s> $A")
    made["spm"] = (spm, "llama", None)

    for name, pre, normalizer, split in [
            ("bpe-gpt2", "gpt-2", None, pre_tokenizers.ByteLevel(add_prefix_space=False)),
            ("bpe-qwen2", "qwen2", normalizers.NFC(), pre_tokenizers.Sequence([
                pre_tokenizers.Split(tokenizers.Regex(
                    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|"
                    r"\s+(?!\S)|\s+"), "isolated"),
                pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)]))]:
        parts = dict(pre_tokenizer=split, decoder=decoders.ByteLevel())
        if normalizer is not None:
            parts["normalizer"] = normalizer
        bpe = train(models.BPE(), trainers.BpeTrainer(
            vocab_size=500, special_tokens=special[1:], initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
            show_progress=False), **parts)
        if name == "bpe-gpt2":
            bpe.post_processor = frame(bpe, "<s> $A </s>")
        made[name] = (bpe, "gpt2", pre)

    bert = train(models.WordPiece(unk_token="[UNK]"),
                 trainers.WordPieceTrainer(vocab_size=500, special_tokens=["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"],
                                           show_progress=False),
                 normalizer=normalizers.BertNormalizer(), pre_tokenizer=pre_tokenizers.BertPreTokenizer(),
                 decoder=decoders.WordPiece())
    bert.post_processor = frame(bert, "[CLS] $A [SEP]")
    made["word-piece"] = (bert, "bert", None)

    metaspace = dict(replacement=MARK, prepend_scheme="always")
    t5 = train(models.Unigram(),
               trainers.UnigramTrainer(vocab_size=400, special_tokens=["<pad>", "</s>", "<unk>"], unk_token="<unk>",
                                       show_progress=False),
               pre_tokenizer=pre_tokenizers.Sequence([pre_tokenizers.WhitespaceSplit(),
                                                      pre_tokenizers.Metaspace(**metaspace)]),
               decoder=decoders.Metaspace(**metaspace))
    t5.post_processor = frame(t5, "$A </s>")
    made["unigram"] = (t5, "t5", None)

    for name, (tokenizer, kind, pre) in made.items():
        template = "{% for m in messages %}{{ m.content }}{{ eos_token }}{% endfor %}" if name == "bpe-gpt2" else None
        write_tokenizer(folder / f"{name}.gguf", json.loads(tokenizer.to_str()), kind, pre, template)
        with open(folder / f"{name}.jsonl", "w") as file:
            for text in TEXTS:
                ids, plain = tokenizer.encode(text).ids, tokenizer.encode(text, add_special_tokens=False).ids
                decode = lambda ids, skip: tokenizer.decode(ids, skip_special_tokens=skip)
                file.write(json.dumps(dict(text=text, ids=ids, ids_nospecial=plain, decoded=decode(plain, False),
                                           decoded_full=decode(ids, False), decoded_skip=decode(ids, True))) + "\n")


def main():
    random = np.random.default_rng(6)
    OUT.mkdir(parents=True, exist_ok=True)
    write_blocks(random)
    write_model(random)
    write_tokenizers()


if __name__ == "__main__":
    main()
