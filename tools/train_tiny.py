#!/usr/bin/env python3
"""Trains the embedded chat model and writes everything that is checked in about it.

    train_tiny.py data                      print sample documents
    train_tiny.py train --minutes 90        train (again with --resume: go on from the last checkpoint)
    train_tiny.py export                    write models/tiny from the checkpoint, with the last 200 evaluations' answers
    train_tiny.py eval                      accuracy of models/tiny on 200 held-out cases
    train_tiny.py cases                     write tests/data/tiny/cases.jsonl
    train_tiny.py goldens                   write tests/data/tiny/goldens.json with transformers

The model is a Llama (RMSNorm, RoPE, grouped queries, SwiGLU, tied embeddings) trained from scratch on the documents of
tiny_text.py. A curriculum lengthens the contexts each time the model answers the present ones; the learning rate stays flat
and falls only in the last fifth of a run, so a run may stop and go on at any time.
"""

import argparse
import json
import math
import random
import sys
import time
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
import torch.nn.functional as F
from safetensors.torch import load_file, save_file
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers
from torch import nn

import tiny_text as text

ROOT = Path(__file__).resolve().parent.parent
MODEL_DIR = ROOT / "models" / "tiny"
TEST_DIR = ROOT / "tests" / "data" / "tiny"
WORK_DIR = ROOT / "build" / "tiny"

VOCAB_SIZE = 1024
CONTEXT_LENGTH = 2048
# Largest fact sheet, in tokens, of each curriculum level.
LEVELS = (50, 80, 120, 180, 270, 400, 600, 850)
# A level ends when this share of the answers' value tokens was right, on average over the last steps.
LEVEL_ACCURACY = 0.85
LONG_CONTEXT = 1600
# Loss weight of each token, by the role of its piece. Facts and questions are mostly unpredictable names.
ROLE_WEIGHTS = {"context": 0.03, "answer": 1.0, "story": 0.3}
CHECKPOINT_SECONDS = 180
EVAL_SEED, CASES_SEED = 1_000_003, 2_000_003
EVAL_TOKENS = (300, 780)


@dataclass(frozen=True)
class Config:
    """Shape of the model."""

    hidden: int = 192
    layers: int = 4
    heads: int = 6
    kv_heads: int = 3
    head_dim: int = 32
    feed_forward: int = 512
    rope_theta: float = 10000.0
    norm_eps: float = 1e-5


# ---------------------------------------------------------------------------------------------------------- the model


def rope_tables(config, length):
    """cos and sin of shape (length, head_dim), in the half-split layout of the Hugging Face Llama."""
    inverse = config.rope_theta ** (-torch.arange(0, config.head_dim, 2).float() / config.head_dim)
    angles = torch.outer(torch.arange(length).float(), inverse).repeat(1, 2)
    return angles.cos(), angles.sin()


def rotate(x, cos, sin):
    """RoPE on x of shape (batch, heads, length, head_dim)."""
    half = x.shape[-1] // 2
    return x * cos + torch.cat((-x[..., half:], x[..., :half]), -1) * sin


class Attention(nn.Module):
    """Causal attention with grouped queries."""

    def __init__(self, config):
        super().__init__()
        self.config = config
        self.q_proj = nn.Linear(config.hidden, config.heads * config.head_dim, bias=False)
        self.k_proj = nn.Linear(config.hidden, config.kv_heads * config.head_dim, bias=False)
        self.v_proj = nn.Linear(config.hidden, config.kv_heads * config.head_dim, bias=False)
        self.o_proj = nn.Linear(config.heads * config.head_dim, config.hidden, bias=False)

    def forward(self, x, cos, sin, cache):
        """x (batch, length, hidden). cache is None, or a list whose keys and values so far are read and extended."""
        batch, length, _ = x.shape

        def split(projected):
            return projected.view(batch, length, -1, self.config.head_dim).transpose(1, 2)

        q = rotate(split(self.q_proj(x)), cos, sin)
        k = rotate(split(self.k_proj(x)), cos, sin)
        v = split(self.v_proj(x))
        if cache is not None:
            if cache:
                k, v = torch.cat((cache[0], k), 2), torch.cat((cache[1], v), 2)
            cache[:] = [k, v]
        groups = self.config.heads // self.config.kv_heads
        k, v = k.repeat_interleave(groups, 1), v.repeat_interleave(groups, 1)
        # With a cache, either the whole prompt comes in one call or one token that sees everything.
        out = F.scaled_dot_product_attention(q, k, v, is_causal=length > 1)
        return self.o_proj(out.transpose(1, 2).reshape(batch, length, -1))


class FeedForward(nn.Module):
    """SwiGLU."""

    def __init__(self, config):
        super().__init__()
        self.gate_proj = nn.Linear(config.hidden, config.feed_forward, bias=False)
        self.up_proj = nn.Linear(config.hidden, config.feed_forward, bias=False)
        self.down_proj = nn.Linear(config.feed_forward, config.hidden, bias=False)

    def forward(self, x):
        return self.down_proj(F.silu(self.gate_proj(x)) * self.up_proj(x))


class Layer(nn.Module):
    """One pre-norm transformer layer."""

    def __init__(self, config):
        super().__init__()
        self.input_layernorm = nn.RMSNorm(config.hidden, config.norm_eps)
        self.self_attn = Attention(config)
        self.post_attention_layernorm = nn.RMSNorm(config.hidden, config.norm_eps)
        self.mlp = FeedForward(config)

    def forward(self, x, cos, sin, cache):
        x = x + self.self_attn(self.input_layernorm(x), cos, sin, cache)
        return x + self.mlp(self.post_attention_layernorm(x))


class Llama(nn.Module):
    """The model. Parameter names are those of a Hugging Face Llama without the "model." prefix."""

    def __init__(self, config, vocab_size):
        super().__init__()
        self.embed_tokens = nn.Embedding(vocab_size, config.hidden)
        self.layers = nn.ModuleList(Layer(config) for _ in range(config.layers))
        self.norm = nn.RMSNorm(config.hidden, config.norm_eps)
        cos, sin = rope_tables(config, CONTEXT_LENGTH)
        self.register_buffer("cos", cos, persistent=False)
        self.register_buffer("sin", sin, persistent=False)
        for name, weight in self.named_parameters():
            if weight.dim() == 2:
                last = name.endswith(("o_proj.weight", "down_proj.weight"))
                nn.init.normal_(weight, std=0.02 if name == "embed_tokens.weight" else weight.shape[1] ** -0.5)
                if last:
                    weight.data /= math.sqrt(2 * config.layers)

    def hidden_states(self, ids, cache=None):
        """Final normed states (batch, length, hidden) of ids (batch, length). cache: one list per layer, or None."""
        start = cache[0][0].shape[2] if cache and cache[0] else 0
        cos, sin = self.cos[start:start + ids.shape[1]], self.sin[start:start + ids.shape[1]]
        x = self.embed_tokens(ids)
        for index, layer in enumerate(self.layers):
            x = layer(x, cos, sin, cache[index] if cache is not None else None)
        return self.norm(x)

    def logits(self, states):
        return F.linear(states, self.embed_tokens.weight)


@torch.inference_mode()
def generate(model, prompt, stop_id, max_new_tokens=40):
    """Greedy continuation of the prompt ids, without the stop token."""
    cache = [[] for _ in model.layers]
    ids, out = torch.tensor([prompt]), []
    while len(out) < max_new_tokens:
        token = int(model.logits(model.hidden_states(ids, cache)[0, -1]).argmax())
        if token == stop_id:
            break
        out.append(token)
        ids = torch.tensor([[token]])
    return out


# ---------------------------------------------------------------------------------------------------------- the data


def train_tokenizer(seed):
    """A byte-level BPE over the grammars' text; digits stand alone so that numbers are copied digit by digit."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.Digits(individual_digits=True), pre_tokenizers.ByteLevel(add_prefix_space=False)])
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(vocab_size=VOCAB_SIZE, special_tokens=text.SPECIAL_TOKENS, show_progress=False,
                                  initial_alphabet=pre_tokenizers.ByteLevel.alphabet())
    tokenizer.train_from_iterator(text.sample_corpus(seed, 6000), trainer)
    bos = tokenizer.token_to_id(text.BOS)
    tokenizer.post_processor = processors.TemplateProcessing(
        single=f"{text.BOS} $A", pair=f"{text.BOS} $A $B", special_tokens=[(text.BOS, bos)])
    return tokenizer


class Documents:
    """Draws training documents and turns them into padded batches."""

    def __init__(self, tokenizer, rng):
        self.tokenizer = tokenizer
        self.rng = rng

    def count_tokens(self, sentence):
        return len(self.tokenizer.encode(" " + sentence, add_special_tokens=False).ids)

    def fact_size(self, level):
        """Length of the next fact sheet: mostly near the level's largest, at the last level also far beyond it."""
        if level == len(LEVELS) - 1 and self.rng.random() < 0.05:
            return self.rng.randint(LEVELS[-1], LONG_CONTEXT)
        low = LEVELS[0] // 2 if self.rng.random() < 0.3 else LEVELS[max(level - 1, 0)] // 2
        return self.rng.randint(low, LEVELS[level])

    def encode(self, pieces):
        """ids, loss weights and value flags of a document; all lists of its length."""
        ids, weights, is_value = [], [], []
        encodings = self.tokenizer.encode_batch([piece.text for piece in pieces], add_special_tokens=False)
        for piece, encoding in zip(pieces, encodings):
            start = piece.text.find(piece.value) if piece.value else len(piece.text)
            stop = start + len(piece.value)
            ids += encoding.ids
            weights += [ROLE_WEIGHTS[piece.role]] * len(encoding.ids)
            is_value += [low < stop and high > start for low, high in encoding.offsets]
        return ids[:CONTEXT_LENGTH], weights[:CONTEXT_LENGTH], is_value[:CONTEXT_LENGTH]

    def batch(self, level, num_tokens):
        """Documents of alike length, about num_tokens in all: ids, weights, value flags, each (rows, length)."""
        size = self.fact_size(level)
        rows, longest = [], 0
        while (len(rows) + 1) * longest <= num_tokens:
            if self.rng.random() < 0.08:
                pieces = text.free_document(self.rng)
            else:
                pieces = text.fact_document(self.rng, size, 4 + size // 45, self.count_tokens)
            rows.append(self.encode(pieces))
            longest = max(longest, len(rows[-1][0]))
        ids = torch.full((len(rows), longest), self.tokenizer.token_to_id(text.PAD))
        weights, is_value = torch.zeros(len(rows), longest), torch.zeros(len(rows), longest, dtype=torch.bool)
        for row, (row_ids, row_weights, row_values) in enumerate(rows):
            ids[row, :len(row_ids)] = torch.tensor(row_ids)
            weights[row, :len(row_ids)] = torch.tensor(row_weights)
            is_value[row, :len(row_ids)] = torch.tensor(row_values)
        return ids, weights, is_value


# ------------------------------------------------------------------------------------------------------ the training


@dataclass
class Progress:
    """What a checkpoint says about the run beside tensors."""

    seed: int
    level: int = 0
    steps: int = 0
    tokens: int = 0
    minutes: float = 0.0


class Trainer:
    """Owns model, optimizers and progress; knows how to checkpoint them."""

    def __init__(self, seed, work_dir):
        self.path = work_dir / "checkpoint.pt"
        self.tokenizer_path = work_dir / "tokenizer.json"
        self.progress = Progress(seed)
        torch.manual_seed(seed)
        work_dir.mkdir(parents=True, exist_ok=True)
        if not self.tokenizer_path.exists():
            train_tokenizer(seed).save(str(self.tokenizer_path))
        self.tokenizer = Tokenizer.from_file(str(self.tokenizer_path))
        self.model = Llama(Config(), self.tokenizer.get_vocab_size())
        matrices = [p for n, p in self.model.named_parameters() if p.dim() == 2 and n != "embed_tokens.weight"]
        others = [p for n, p in self.model.named_parameters() if p.dim() != 2 or n == "embed_tokens.weight"]
        self.optimizers = [
            torch.optim.Muon(matrices, lr=2e-3, weight_decay=0.05, momentum=0.95, adjust_lr_fn="match_rms_adamw"),
            torch.optim.AdamW(others, lr=2e-3, betas=(0.9, 0.98), weight_decay=0.0),
        ]
        self.peak_rates = [group["lr"] for optimizer in self.optimizers for group in optimizer.param_groups]

    def load(self):
        """Goes on from the checkpoint. Errors: none there."""
        state = torch.load(self.path, weights_only=True)
        self.progress = Progress(**state["progress"])
        self.model.load_state_dict(state["model"])
        for optimizer, saved in zip(self.optimizers, state["optimizers"]):
            optimizer.load_state_dict(saved)

    def load_exported(self):
        """Goes on from models/tiny, with fresh optimizers and the longest contexts."""
        self.tokenizer = load_tokenizer(MODEL_DIR)
        self.tokenizer.save(str(self.tokenizer_path))
        self.model.load_state_dict(load_model(MODEL_DIR).state_dict())
        self.progress = Progress(**json.loads((MODEL_DIR / "training.json").read_text()))

    def save(self):
        partial = self.path.with_suffix(".partial")
        torch.save({"progress": asdict(self.progress), "model": self.model.state_dict(),
                    "optimizers": [optimizer.state_dict() for optimizer in self.optimizers]}, partial)
        partial.replace(self.path)

    def set_rate(self, factor):
        groups = [group for optimizer in self.optimizers for group in optimizer.param_groups]
        for group, peak in zip(groups, self.peak_rates):
            group["lr"] = peak * factor

    def step(self, batch):
        """One optimizer step. Returns the loss per weighted token and the share of right value tokens."""
        ids, weights, is_value = batch
        wanted = weights[:, 1:] > 0
        targets, weight = ids[:, 1:][wanted], weights[:, 1:][wanted]
        with torch.autocast("cpu", torch.bfloat16):
            logits = self.model.logits(self.model.hidden_states(ids[:, :-1])[wanted])
        logits = logits.float()
        loss = (F.cross_entropy(logits, targets, reduction="none") * weight).sum() / weight.sum()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(self.model.parameters(), 1.0)
        for optimizer in self.optimizers:
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)
        values = is_value[:, 1:][wanted]
        right = (logits.argmax(-1) == targets)[values].float()
        return loss.item(), right.mean().item() if len(right) else float("nan")

    def run(self, minutes, batch_tokens):
        """Trains for the given minutes; checkpoints on the way and at the end."""
        progress = self.progress
        begin = last_save = time.monotonic()
        offset = progress.minutes
        # The stream of documents of a resumed run differs from the one that the earlier run has seen.
        documents = Documents(self.tokenizer, random.Random(progress.seed * 1_000_000 + progress.steps))
        accuracy, first_step = 0.0, progress.steps
        while (elapsed := (time.monotonic() - begin) / 60) < minutes:
            warm_up = min(1.0, (progress.steps - first_step + 1) / 100)
            self.set_rate(warm_up * min(1.0, (1 - elapsed / minutes) / 0.2 + 0.01))
            batch = documents.batch(progress.level, batch_tokens)
            loss, right = self.step(batch)
            progress.steps += 1
            progress.tokens += batch[0].numel()
            progress.minutes = offset + elapsed
            if not math.isnan(right):
                accuracy += (right - accuracy) * 0.03
            if progress.steps % 50 == 0:
                print(f"step {progress.steps} minutes {progress.minutes:.1f} level {progress.level} loss {loss:.3f} "
                      f"value accuracy {accuracy:.3f} tokens {progress.tokens / 1e6:.2f}M", flush=True)
            if accuracy > LEVEL_ACCURACY and progress.level < len(LEVELS) - 1:
                progress.level += 1
                accuracy = 0.0
            if time.monotonic() - last_save > CHECKPOINT_SECONDS:
                self.save()
                last_save = time.monotonic()
        self.save()


# ------------------------------------------------------------------------------------------------- files of the model


def load_tokenizer(folder):
    return Tokenizer.from_file(str(folder / "tokenizer.json"))


def load_model(folder):
    """The exported model in f32."""
    shape = json.loads((folder / "config.json").read_text())
    model = Llama(Config(), shape["vocab_size"])
    tensors = load_file(folder / "model.safetensors")
    model.load_state_dict({name.removeprefix("model."): tensor.float() for name, tensor in tensors.items()})
    return model.eval()


def write_json(path, value):
    path.write_text(json.dumps(value, indent=2) + "\n")


def export(trainer):
    """Writes models/tiny from the trainer's weights."""
    MODEL_DIR.mkdir(parents=True, exist_ok=True)
    config, tokenizer = Config(), trainer.tokenizer
    special = {name: tokenizer.token_to_id(name) for name in text.SPECIAL_TOKENS}
    save_file({f"model.{name}": tensor.to(torch.bfloat16).contiguous() for name, tensor in trainer.model.state_dict().items()},
              MODEL_DIR / "model.safetensors", metadata={"format": "pt"})
    tokenizer.save(str(MODEL_DIR / "tokenizer.json"))
    ids = {"bos_token_id": special[text.BOS], "eos_token_id": special[text.END], "pad_token_id": special[text.PAD]}
    write_json(MODEL_DIR / "config.json", {
        "architectures": ["LlamaForCausalLM"], "model_type": "llama", "torch_dtype": "bfloat16",
        "vocab_size": tokenizer.get_vocab_size(), "hidden_size": config.hidden, "intermediate_size": config.feed_forward,
        "num_hidden_layers": config.layers, "num_attention_heads": config.heads, "num_key_value_heads": config.kv_heads,
        "head_dim": config.head_dim, "hidden_act": "silu", "max_position_embeddings": CONTEXT_LENGTH,
        "rms_norm_eps": config.norm_eps, "rope_theta": config.rope_theta, "rope_scaling": None, "attention_bias": False,
        "mlp_bias": False, "tie_word_embeddings": True, **ids})
    write_json(MODEL_DIR / "generation_config.json", ids)
    write_json(MODEL_DIR / "tokenizer_config.json", {
        "tokenizer_class": "PreTrainedTokenizerFast", "model_max_length": CONTEXT_LENGTH, "bos_token": text.BOS,
        "eos_token": text.END, "pad_token": text.PAD, "clean_up_tokenization_spaces": False,
        "chat_template": text.CHAT_TEMPLATE})
    write_json(MODEL_DIR / "training.json", asdict(trainer.progress))


# --------------------------------------------------------------------------------------------------------- evaluation


def held_out_cases(tokenizer, seed, count):
    """`count` cases with names that training never shows, contexts of EVAL_TOKENS tokens."""
    rng = random.Random(seed)
    documents = Documents(tokenizer, rng)
    return [text.held_out_case(rng, *EVAL_TOKENS, documents.count_tokens) for _ in range(count)]


def says(sentence, value):
    """True when the value occurs in the sentence as whole words."""
    words = f" {sentence} ".replace(".", " ")
    return f" {value} " in words


def evaluate(model, tokenizer, cases):
    """(case, generated text) for each case, decoded greedily."""
    stop = tokenizer.token_to_id(text.END)
    for case in cases:
        prompt = tokenizer.encode(text.render(case.messages), add_special_tokens=False).ids
        yield case, tokenizer.decode(generate(model, prompt, stop))


def print_evaluation(model, tokenizer, count, verbose):
    """Prints the share of right values and of exactly expected sentences."""
    right = exact = 0
    for case, answer in evaluate(model, tokenizer, held_out_cases(tokenizer, EVAL_SEED, count)):
        good = says(answer, case.value)
        right += good
        exact += answer == case.sentence
        if verbose or not good:
            print(f"{'right' if good else 'WRONG'}: {case.question} -> {answer!r}, expected {case.sentence!r}")
    print(f"{count} held-out cases: value right {right / count:.1%}, whole sentence as expected {exact / count:.1%}")


def write_cases(tokenizer):
    """tests/data/tiny/cases.jsonl: 50 held-out cases, apart from those of `eval`."""
    TEST_DIR.mkdir(parents=True, exist_ok=True)
    with open(TEST_DIR / "cases.jsonl", "w", encoding="utf-8") as out:
        for case in held_out_cases(tokenizer, CASES_SEED, 50):
            messages = [{"role": role, "content": content} for role, content in case.messages]
            line = {"messages": messages, "prompt": text.render(case.messages), "question": case.question,
                    "answer": case.value, "sentence": case.sentence}
            out.write(json.dumps(line) + "\n")


def write_goldens(num_tokens=32):
    """tests/data/tiny/goldens.json: transformers in f32 on the exported files, greedy, no KV cache."""
    import transformers

    model = transformers.LlamaForCausalLM.from_pretrained(MODEL_DIR, dtype=torch.float32, attn_implementation="eager")
    tokenizer = transformers.PreTrainedTokenizerFast.from_pretrained(MODEL_DIR)
    stop = model.generation_config.eos_token_id
    chats = [
        [{"role": "user", "content": "Hello!"}],
        [{"role": "user", "content": "Tell me a story about a brave fox named Milo."}],
        [{"role": "system", "content": "Alice lives in Marlin. Bob is a baker. Bob has a pet cat. The old lamp costs 45 coins."},
         {"role": "user", "content": "Where does Alice live?"}],
        *([{"role": role, "content": content} for role, content in case.messages]
          for case in held_out_cases(load_tokenizer(MODEL_DIR), CASES_SEED, 2)),
    ]
    cases = []
    for messages in chats:
        prompt = tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=True)
        ids = tokenizer.encode(prompt, add_special_tokens=False)
        greedy, margins, first = [], [], None
        with torch.inference_mode():
            while len(greedy) < num_tokens and (not greedy or greedy[-1] != stop):
                logits = model(torch.tensor([ids + greedy]), use_cache=False).logits[0, -1]
                first = logits if first is None else first
                top = logits.topk(2).values
                greedy.append(int(logits.argmax()))
                margins.append(round(float(top[0] - top[1]), 6))
        cases.append({"messages": messages, "text": prompt, "prompt": ids,
                      "last_logits": [round(value, 8) for value in first.tolist()], "greedy": greedy,
                      "greedy_margin": margins, "greedy_text": tokenizer.decode(greedy, skip_special_tokens=True),
                      "stopped": greedy[-1] == stop})
    TEST_DIR.mkdir(parents=True, exist_ok=True)
    reference = f"transformers {transformers.__version__} fp32 CPU eager, no KV cache; stops at id {stop}, which is included"
    (TEST_DIR / "goldens.json").write_text(json.dumps({"model": "tiny", "reference": reference, "cases": cases}) + "\n")


def print_samples(seed):
    rng = random.Random(seed)
    for size in (50, 120, 400):
        print("".join(piece.text for piece in text.fact_document(rng, size, 6, lambda sentence: len(sentence) // 3)), "\n")
    for _ in range(3):
        print("".join(piece.text for piece in text.free_document(rng)), "\n")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--work", type=Path, default=WORK_DIR, help="folder of the checkpoint")
    parser.add_argument("--seed", type=int, default=7)
    parser.add_argument("--threads", type=int, default=2)
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser("data", help="print sample documents")
    train = commands.add_parser("train", help="train")
    train.add_argument("--minutes", type=float, default=90)
    train.add_argument("--batch-tokens", type=int, default=4096)
    source = train.add_mutually_exclusive_group()
    source.add_argument("--resume", action="store_true", help="go on from the checkpoint")
    source.add_argument("--from-export", action="store_true", help="go on from models/tiny, with fresh optimizers")
    commands.add_parser("export", help="write models/tiny from the checkpoint")
    evaluation = commands.add_parser("eval", help="accuracy of models/tiny on held-out cases")
    evaluation.add_argument("--count", type=int, default=200)
    evaluation.add_argument("--verbose", action="store_true", help="print right answers too")
    commands.add_parser("cases", help="write tests/data/tiny/cases.jsonl")
    commands.add_parser("goldens", help="write tests/data/tiny/goldens.json with transformers")
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)

    if arguments.command == "data":
        print_samples(arguments.seed)
    elif arguments.command == "train":
        trainer = Trainer(arguments.seed, arguments.work)
        if arguments.resume:
            trainer.load()
        elif arguments.from_export:
            trainer.load_exported()
        trainer.run(arguments.minutes, arguments.batch_tokens)
    elif arguments.command == "export":
        trainer = Trainer(arguments.seed, arguments.work)
        trainer.load()
        export(trainer)
    elif arguments.command == "eval":
        print_evaluation(load_model(MODEL_DIR), load_tokenizer(MODEL_DIR), arguments.count, arguments.verbose)
    elif arguments.command == "cases":
        write_cases(load_tokenizer(MODEL_DIR))
    elif arguments.command == "goldens":
        write_goldens()
    return 0


if __name__ == "__main__":
    sys.exit(main())
