#!/usr/bin/env python3
"""Writes tests/data/perplexity: two texts and what transformers says of their perplexity.

    make_perplexity_data.py texts       tiny.txt and stories.txt
    make_perplexity_data.py goldens     goldens.json
    options: --stories FOLDER           the model stories260K, which is not part of the product

tiny.txt is for the embedded model: documents of the grammar that it was trained on (tiny_text.py), from a seed that
training has not used.

stories.txt is for stories260K: stories that transformers samples from that model itself, temperature 1, one after each
<s>, as its training data lay. A text of our own grammar was the alternative. Sampled text is the better measure of a
weight type: it has the variety of what the model was trained on, where a grammar repeats itself and a context soon
predicts it; and on text drawn from the f32 model the mean log likelihood that rounded weights lose is, in expectation,
the KL divergence of their distribution from the f32 one. That is never negative, so rounding cannot look harmless by
luck, as it can on a text that the model finds odd anyway. What such a text does not say is how good the model is.

The perplexity is that of `kvasir perplexity`: disjoint windows of 512 tokens, each BOS and 511 tokens of the text, all
of which but BOS are scored; exp of the mean negative log likelihood. Logits are transformers' in f32, log-softmax and
sums are f64. Same versions of torch and transformers, same files.
"""

import argparse
import json
import math
import random
from pathlib import Path

import torch
import transformers
from tokenizers import Tokenizer

import tiny_text

ROOT = Path(__file__).resolve().parent.parent
OUT = ROOT / "tests" / "data" / "perplexity"
TINY = ROOT / "models" / "tiny"
NUM_TOKENS = 20_000
CONTEXT = 512
TINY_SEED, STORIES_SEED = 3_000_003, 4_000_003


def load_tokenizer(folder):
    return Tokenizer.from_file(str(folder / "tokenizer.json"))


def load_model(folder):
    return transformers.LlamaForCausalLM.from_pretrained(folder, dtype=torch.float32, attn_implementation="eager").eval()


def num_tokens(tokenizer, text):
    return len(tokenizer.encode(text, add_special_tokens=False).ids)


def write_tiny(tokenizer):
    """Documents as in training, those of facts short enough that a window holds facts and questions."""
    rng, documents, total = random.Random(TINY_SEED), [], 0
    while total < NUM_TOKENS:
        if rng.random() < 0.08:
            pieces = tiny_text.free_document(rng)
        else:
            size = rng.randint(25, 250)
            pieces = tiny_text.fact_document(rng, size, 4 + size // 45, lambda text: num_tokens(tokenizer, " " + text))
        documents.append("".join(piece.text for piece in pieces))
        total += num_tokens(tokenizer, documents[-1])
    (OUT / "tiny.txt").write_text("".join(documents), encoding="utf-8")


@torch.inference_mode()
def sample_stories(model, tokenizer, count):
    """`count` stories, each ended by the model itself or at the last sentence of the model's context."""
    bos = model.config.bos_token_id
    prompts = torch.full((count, 1), bos)
    length = model.config.max_position_embeddings
    rows = model.generate(prompts, attention_mask=torch.ones_like(prompts), do_sample=True, temperature=1.0, top_k=0,
                          top_p=1.0, max_length=length, eos_token_id=bos, pad_token_id=model.config.eos_token_id)
    for row in rows.tolist():
        row = row[1:]
        story = row[:row.index(bos)] if bos in row else row
        text = tokenizer.decode(story).strip()
        yield text if bos in row else text[:text.rindex(".") + 1]


def write_stories(model, tokenizer):
    torch.manual_seed(STORIES_SEED)
    text = ""
    while num_tokens(tokenizer, text) < NUM_TOKENS:
        for story in sample_stories(model, tokenizer, 16):
            if num_tokens(tokenizer, text) < NUM_TOKENS:
                text += "<s>" + story
    (OUT / "stories.txt").write_text(text, encoding="utf-8")


@torch.inference_mode()
def golden(model, tokenizer, name):
    ids = tokenizer.encode((OUT / name).read_text(encoding="utf-8"), add_special_tokens=False).ids
    step = CONTEXT - 1
    total, count = 0.0, 0
    for begin in range(0, len(ids), step):
        targets = torch.tensor(ids[begin:begin + step])
        window = torch.cat((torch.tensor([model.config.bos_token_id]), targets))
        logits = model(window[None], use_cache=False).logits[0, :-1].double()
        total -= torch.log_softmax(logits, -1).gather(1, targets[:, None]).sum().item()
        count += len(targets)
    return {"context": CONTEXT, "num_tokens": count, "perplexity": math.exp(total / count)}


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=["texts", "goldens"])
    parser.add_argument("--stories", type=Path, default=ROOT.parent / "shared" / "data" / "models" / "stories260K")
    arguments = parser.parse_args()
    OUT.mkdir(parents=True, exist_ok=True)
    if arguments.what == "texts":
        write_tiny(load_tokenizer(TINY))
        write_stories(load_model(arguments.stories), load_tokenizer(arguments.stories))
        return
    goldens = {name: golden(load_model(folder), load_tokenizer(folder), f"{name}.txt")
               for name, folder in (("tiny", TINY), ("stories", arguments.stories))}
    goldens["reference"] = f"transformers {transformers.__version__}, torch f32 eager, log-softmax in f64"
    (OUT / "goldens.json").write_text(json.dumps(goldens, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
