#!/usr/bin/env python3
"""Tests of `kvasir perplexity`: its definition, the reference's numbers, and what each weight type may cost.

Usage: perplexity_test.py --kvasir BINARY [unittest arguments]
"""

import argparse
import concurrent.futures
import json
import math
import os
import pathlib
import pty
import re
import shutil
import subprocess
import sys
import tempfile
import unittest

DATA = pathlib.Path(__file__).resolve().parent / "data"
TEXTS = DATA / "perplexity"
SHARED = pathlib.Path(os.environ.get("KVASIR_SHARED_DATA", DATA.parent.parent.parent / "shared" / "data"))
STORIES = SHARED / "models" / "stories260K"
KVASIR = None
ENVIRONMENT = {k: v for k, v in os.environ.items() if not k.startswith("KVASIR_")}
# The patience that sanitizers and a busy machine need.
TIMEOUT_SECONDS = 300

# What a type of weights, or of keys and values, may change the perplexity of f32 by, either way, on either text.
BOUNDS = {
    ("f16", "f32"): 0.0005,
    ("bf16", "f32"): 0.005,
    ("q8_0", "f32"): 0.005,
    ("q4_0", "f32"): 0.08,
    ("f32", "f16"): 0.0005,
    ("f32", "q8"): 0.005,
}
# model_test holds f32 logits to within 1e-4 of the reference, so a log-softmax is within 2e-4, and so is the mean of them.
REFERENCE_TOLERANCE = 2e-4

REPORT = re.compile(r"perplexity ([\d.]+), standard error ([\d.]+), (\d+) tokens scored in windows of (\d+), dtype (\w+), kv-dtype (\w+)\n")


def run(command, *arguments, stdin=None):
    with tempfile.TemporaryDirectory() as empty:  # no .env of the checkout has a say
        return subprocess.run([KVASIR, command, *map(str, arguments)], input=stdin, capture_output=True, text=True,
                              timeout=TIMEOUT_SECONDS, env=ENVIRONMENT, cwd=empty)


def perplexity(file, *flags):
    """(perplexity, standard error, tokens scored, window, dtype, kv-dtype) as printed."""
    done = run("perplexity", "--file", file, *flags)
    found = REPORT.fullmatch(done.stdout)
    if done.returncode != 0 or done.stderr or not found:
        raise AssertionError(f"{done.args}: {done.returncode}, {done.stdout!r}, {done.stderr!r}")
    return float(found[1]), float(found[2]), int(found[3]), int(found[4]), found[5], found[6]


class Quality(unittest.TestCase):
    """The two texts of 20,000 tokens."""

    def check(self, name, *flags):
        text = TEXTS / f"{name}.txt"
        golden = json.loads((TEXTS / "goldens.json").read_text())[name]
        dtypes = [("f32", "f32"), *BOUNDS]
        with concurrent.futures.ThreadPoolExecutor(2) as pool:
            measured = dict(zip(dtypes, pool.map(
                lambda pair: perplexity(text, "--dtype", pair[0], "--kv-dtype", pair[1], *flags), dtypes)))
        exact, error, num_tokens, window, *_ = measured["f32", "f32"]
        self.assertEqual((num_tokens, window), (golden["num_tokens"], golden["context"]))
        self.assertGreaterEqual(num_tokens, 20_000)
        self.assertAlmostEqual(exact / golden["perplexity"], 1, delta=REFERENCE_TOLERANCE)
        self.assertTrue(0.001 < error / exact < 0.1, error)
        for dtype, bound in BOUNDS.items():
            with self.subTest(dtype=dtype):
                rounded = measured[dtype]
                self.assertEqual(rounded[2:], (num_tokens, window, *dtype))
                self.assertAlmostEqual(rounded[0] / exact, 1, delta=bound)
                print(f"{name} {' '.join(dtype)}: {rounded[0]:.5f}, {100 * (rounded[0] / exact - 1):+.3f}% of f32's {exact:.5f}")

    def test_embedded_model(self):
        self.check("tiny")

    def test_stories260k(self):
        if not STORIES.exists():
            self.skipTest(f"skipped: no {STORIES}")
        self.check("stories", "--model", STORIES)


class WordModel(unittest.TestCase):
    """A model of random weights and a tokenizer whose tokens are words: w0 is id 0, and so on."""

    NUM_WORDS = 131

    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.model = pathlib.Path(folder.name) / "model"
        self.text = pathlib.Path(folder.name) / "text"
        shutil.copytree(DATA / "models" / "llama-gqa", self.model)

    def write_tokenizer(self, template=None, num_words=NUM_WORDS):
        vocabulary = {f"w{i}": i for i in range(num_words)}
        tokenizer = {"version": "1.0", "normalizer": None, "pre_tokenizer": {"type": "Whitespace"}, "decoder": None,
                     "added_tokens": [], "post_processor": None,
                     "model": {"type": "WordLevel", "vocab": vocabulary, "unk_token": "w2"}}
        if template:
            names = [name for name in template.split() if name != "$A"]
            pieces = [{"Sequence": {"id": "A", "type_id": 0}} if name == "$A"
                      else {"SpecialToken": {"id": name, "type_id": 0}} for name in template.split()]
            tokenizer["post_processor"] = {
                "type": "TemplateProcessing", "single": pieces, "pair": [],
                "special_tokens": {name: {"id": name, "ids": [vocabulary[name]], "tokens": [name]} for name in names}}
        (self.model / "tokenizer.json").write_text(json.dumps(tokenizer))

    def write_text(self, ids):
        self.text.write_text(" ".join(f"w{i}" for i in ids))


class Definition(WordModel):
    def log_likelihoods(self, windows, num_given):
        """Of each window's tokens from num_given on, from the logits after each beginning of the window."""
        beginnings = [(window[:i], window[i]) for window in windows for i in range(num_given, len(window))]
        lines = "".join(json.dumps({"tokens": given}) + "\n" for given, _ in beginnings)
        done = run("logits", "--model", self.model, stdin=lines)
        self.assertEqual(done.returncode, 0, done.stderr)
        for line, (_, token) in zip(done.stdout.splitlines(), beginnings, strict=True):
            logits = json.loads(line)["logits"]
            yield logits[token] - math.log(sum(map(math.exp, logits)))

    def expect(self, windows, num_given, context):
        likelihoods = list(self.log_likelihoods(windows, num_given))
        mean = -sum(likelihoods) / len(likelihoods)
        variance = sum((-x - mean) ** 2 for x in likelihoods) / max(len(likelihoods) - 1, 1)
        error = math.exp(mean) * math.sqrt(variance / len(likelihoods))
        got = perplexity(self.text, "--model", self.model, "--context", context)
        self.assertEqual(got[2:], (len(likelihoods), context, "auto", "f32"))
        self.assertAlmostEqual(got[0], math.exp(mean), delta=1e-5 * math.exp(mean))
        self.assertAlmostEqual(got[1], error, delta=1e-5 + 1e-5 * error)

    def test_without_bos_a_window_is_scored_from_its_second_token(self):
        self.write_tokenizer()
        ids = [i * 37 % self.NUM_WORDS for i in range(23)]
        self.write_text(ids)
        self.expect([ids[:10], ids[10:20], ids[20:]], 1, 10)
        self.expect([ids[:11], ids[11:22]], 1, 11)  # a last window of one token has nothing to score
        self.expect([ids], 1, 23)

    def test_bos_begins_each_window_and_all_else_is_scored(self):
        ids = [i * 37 % self.NUM_WORDS for i in range(23)]
        self.write_text(ids)
        for template, prefix in (("w1 $A", [1]), ("w1 $A w2", [1]), ("w5 w0 $A w2", [5, 0])):
            self.write_tokenizer(template)
            step = 10 - len(prefix)
            self.expect([prefix + ids[i:i + step] for i in range(0, 23, step)], len(prefix), 10)

    def test_one_token_after_bos_is_enough(self):
        self.write_tokenizer("w1 $A")
        self.write_text([9])
        self.expect([[1, 9]], 1, 2)

    def test_a_long_window_is_computed_in_pieces(self):
        self.write_tokenizer()
        ids = [i * 41 % self.NUM_WORDS for i in range(160)]
        self.write_text(ids)
        self.expect([ids], 1, 200)


class Errors(WordModel):
    def expect_error(self, message, *flags):
        done = run("perplexity", "--model", self.model, "--file", self.text, *flags)
        self.assertEqual((done.returncode, done.stdout), (1, ""))
        self.assertEqual(done.stderr, f"kvasir: {message}\n")

    def test_files(self):
        self.write_tokenizer()
        self.expect_error(f"{self.text}: cannot be opened: No such file or directory")
        self.text.write_bytes(b"")
        self.expect_error(f"{self.text}: expected text, got an empty file")
        self.text.write_bytes(b"w1 w2 \xff w3")
        self.expect_error(f"{self.text}: the text to encode is not valid UTF-8")
        self.text.write_bytes(b" ")
        self.expect_error(f"{self.text}: expected at least 2 tokens, got 0")
        self.write_text([7])
        self.expect_error(f"{self.text}: expected at least 2 tokens, got 1")
        self.text.unlink()
        self.text.mkdir()
        self.expect_error(f"{self.text}: expected a regular file")

    def test_contexts(self):
        self.write_tokenizer("w5 w1 $A")
        self.write_text([1, 2, 3])
        for context in (1, 2, 257):
            self.expect_error(f"--context: expected 3 to 256 tokens, got {context}", "--context", context)

    def test_a_token_that_the_model_lacks(self):
        self.write_tokenizer(num_words=self.NUM_WORDS + 1)
        self.write_text([1, self.NUM_WORDS])
        self.expect_error("tokenizer.json: has token id 131, but the model's vocab_size is 131")


class Terminal(unittest.TestCase):
    def test_progress_is_shown_and_wiped_away(self):
        leader, follower = pty.openpty()
        text = tempfile.NamedTemporaryFile()
        self.addCleanup(text.close)
        text.write((TEXTS / "tiny.txt").read_bytes()[:6000])
        text.flush()
        command = [KVASIR, "perplexity", "--file", text.name]
        with os.fdopen(leader, "rb", buffering=0) as terminal, \
                subprocess.Popen(command, stdout=subprocess.PIPE, stderr=follower, env=ENVIRONMENT) as process:
            os.close(follower)
            shown = b""
            try:
                while piece := terminal.read(65536):
                    shown += piece
            except OSError:  # how Linux says that nobody has the other end any more
                pass
            output, _ = process.communicate(timeout=TIMEOUT_SECONDS)
        self.assertRegex(shown, rb"^\r\x1b\[Kperplexity: \d+%, \d+ s left\r")
        self.assertIn(b"perplexity: 100%, 0 s left", shown)
        self.assertTrue(shown.endswith(b"\r\x1b[K"))
        self.assertTrue(REPORT.fullmatch(output.decode()))


def main():
    global KVASIR
    parser = argparse.ArgumentParser()
    parser.add_argument("--kvasir", required=True)
    arguments, rest = parser.parse_known_args()
    KVASIR = os.path.abspath(arguments.kvasir)
    unittest.main(argv=[sys.argv[0], *rest], verbosity=2)


if __name__ == "__main__":
    main()
