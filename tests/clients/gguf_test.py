"""GGUF files, against the gguf package: what it writes, Kvasir reads, and the other way round."""

import gzip
import json
import pathlib
import subprocess
import sys
import tempfile
import unittest

import gguf
import numpy as np
from safetensors.numpy import load_file

from client_test_case import SHARED_DATA
from kvasir_server import Server

ROOT = pathlib.Path(__file__).resolve().parents[2]
sys.path.append(str(ROOT / "tools"))
from gguf_tokenizer import add_tokenizer  # noqa: E402

TYPES = {"q8_0": gguf.GGMLQuantizationType.Q8_0, "q4_0": gguf.GGMLQuantizationType.Q4_0,
         "q4_k": gguf.GGMLQuantizationType.Q4_K}
# The families of ../shared/data/tokenizers: the kind of tokenizer, and the name of its pre-tokenizer.
FAMILIES = {"bert-base-uncased": ("bert", None), "falcon": ("gpt2", "falcon"), "gemma4": ("gemma4", None),
            "gpt-neox-20b": ("gpt2", "olmo"), "gpt2": ("gpt2", "gpt-2"), "llama2": ("llama", None),
            "llama3": ("gpt2", "llama-bpe"), "minimind": ("gpt2", "gpt-2"), "mistral-7b": ("llama", None),
            "phi3-mini": ("llama", None), "qwen2": ("gpt2", "qwen2"), "smollm": ("gpt2", "smollm"),
            "stories260K": ("llama", None), "t5-small": ("t5", None)}

# Folders of tests/data/models, and what they become.
ARCHITECTURES = {"falcon-two-norms": gguf.MODEL_ARCH.FALCON, "gemma": gguf.MODEL_ARCH.GEMMA,
                 "gpt-neox": gguf.MODEL_ARCH.GPTNEOX, "gpt2": gguf.MODEL_ARCH.GPT2,
                 "granite": gguf.MODEL_ARCH.GRANITE, "llama-rope-yarn": gguf.MODEL_ARCH.LLAMA,
                 "mixtral": gguf.MODEL_ARCH.LLAMA, "olmo2": gguf.MODEL_ARCH.OLMO2,
                 "phi3-longrope-long": gguf.MODEL_ARCH.PHI3, "qwen3": gguf.MODEL_ARCH.QWEN3,
                 "starcoder2": gguf.MODEL_ARCH.STARCODER2}


def run(*arguments, lines=None):
    done = subprocess.run([Server.binary, *map(str, arguments)], capture_output=True, timeout=300,
                          input=None if lines is None else "".join(json.dumps(line) + "\n" for line in lines).encode())
    if done.returncode != 0:
        raise AssertionError(done.stderr.decode())
    return [json.loads(line) for line in done.stdout.decode().splitlines()]


def read(path):
    reader = gguf.GGUFReader(path)
    return ({name: field.contents() for name, field in reader.fields.items() if not name.startswith("GGUF.")},
            {tensor.name: tensor for tensor in reader.tensors})


class GgufFiles(unittest.TestCase):
    def setUp(self):
        self.folder = pathlib.Path(self.enterContext(tempfile.TemporaryDirectory()))

    def test_a_converted_model_reads_back_equal(self):
        tensors = {}
        with open(ROOT / "models/tiny/model.safetensors", "rb") as file:
            header = json.loads(file.read(int.from_bytes(file.read(8), "little")))
            data = file.read()
        for name, entry in header.items():
            if name != "__metadata__":
                begin, end = entry["data_offsets"]
                tensors[name] = (entry["dtype"], entry["shape"], data[begin:end])
        run("convert", ROOT / "models/tiny", self.folder / "tiny.gguf")
        fields, written = read(self.folder / "tiny.gguf")
        config = json.loads((ROOT / "models/tiny/config.json").read_text())
        self.assertEqual(fields["general.architecture"], "llama")
        self.assertEqual(fields["llama.block_count"], config["num_hidden_layers"])
        self.assertEqual(fields["llama.embedding_length"], config["hidden_size"])
        self.assertAlmostEqual(fields["llama.attention.layer_norm_rms_epsilon"], config["rms_norm_eps"], 12)
        tokenizer = json.loads((ROOT / "models/tiny/tokenizer.json").read_text())
        self.assertEqual(len(fields["tokenizer.ggml.tokens"]), config["vocab_size"])
        for text, i in tokenizer["model"]["vocab"].items():
            self.assertEqual(fields["tokenizer.ggml.tokens"][i], text)
        embedding = written["token_embd.weight"]
        dtype, shape, raw = tensors["model.embed_tokens.weight"]
        self.assertEqual([int(size) for size in embedding.shape], shape[::-1])
        self.assertEqual(embedding.data.tobytes(), raw)
        # Queries: the rows of each head's halves alternate.
        dtype, shape, raw = tensors["model.layers.0.self_attn.q_proj.weight"]
        heads = config["num_attention_heads"]
        rows = np.frombuffer(raw, np.uint8).reshape(heads, 2, shape[0] // heads // 2, -1).swapaxes(1, 2)
        self.assertEqual(written["blk.0.attn_q.weight"].data.tobytes(), rows.tobytes())

    def test_converted_models_have_the_names_of_their_architecture(self):
        keys = {value for section in vars(gguf.Keys).values() if isinstance(section, type)
                for value in vars(section).values() if isinstance(value, str)}
        for name, architecture in ARCHITECTURES.items():
            with self.subTest(name):
                run("convert", ROOT / "tests/data/models" / name, self.folder / f"{name}.gguf")
                fields, tensors = read(self.folder / f"{name}.gguf")
                self.assertEqual(fields["general.architecture"], gguf.MODEL_ARCH_NAMES[architecture])
                for key in fields:
                    self.assertIn(key.replace(gguf.MODEL_ARCH_NAMES[architecture] + ".", "{arch}."), keys)
                known = {gguf.TENSOR_NAMES[kind].format(bid=layer) for kind in gguf.MODEL_TENSORS[architecture]
                         for layer in range(fields[f"{gguf.MODEL_ARCH_NAMES[architecture]}.block_count"])}
                self.assertEqual({tensor.rpartition(".")[0] for tensor in tensors} - known, set())

    def test_converted_tensors_are_laid_out_as_llama_cpp_has_them(self):
        def convert(name):
            run("convert", ROOT / "tests/data/models" / name, self.folder / f"{name}.gguf")
            return (read(self.folder / f"{name}.gguf")[1],
                    load_file(ROOT / "tests/data/models" / name / "model.safetensors"))

        written, folder = convert("gpt2")
        np.testing.assert_array_equal(written["blk.1.ffn_up.weight"].data, folder["transformer.h.1.mlp.c_fc.weight"].T)
        written, folder = convert("mixtral")
        experts = [folder[f"model.layers.1.block_sparse_moe.experts.{i}.w2.weight"] for i in range(5)]
        np.testing.assert_array_equal(written["blk.1.ffn_down_exps.weight"].data, np.stack(experts))
        written, folder = convert("gpt-neox")
        groups = folder["gpt_neox.layers.1.attention.query_key_value.weight"].reshape(3, 3, 16, 48)
        np.testing.assert_array_equal(written["blk.1.attn_qkv.weight"].data, groups.swapaxes(0, 1).reshape(144, 48))
        written, folder = convert("falcon-two-norms")
        groups = folder["transformer.h.1.self_attention.query_key_value.weight"].reshape(2, 5, 8, 48)
        parts = [groups[:, :3].reshape(48, 48), groups[:, 3].reshape(16, 48), groups[:, 4].reshape(16, 48)]
        np.testing.assert_array_equal(written["blk.1.attn_qkv.weight"].data, np.concatenate(parts))

    def test_quantized_weights_are_those_of_the_package(self):
        source = ROOT / "tests/data/gguf/llama-mixed.gguf"
        _, original = read(source)
        for name, kind in TYPES.items():
            with self.subTest(name):
                run("quantize", source, self.folder / f"{name}.gguf", "--type", name)
                fields, written = read(self.folder / f"{name}.gguf")
                self.assertEqual(fields["llama.block_count"], 5)
                self.assertEqual(set(written), set(original))
                num_equal = 0
                for tensor_name, tensor in written.items():
                    before = original[tensor_name]
                    floats = gguf.dequantize(before.data, before.tensor_type).astype(np.float32)
                    after = gguf.dequantize(tensor.data, tensor.tensor_type)
                    self.assertEqual(tensor.shape.tolist(), before.shape.tolist())
                    if tensor.tensor_type == kind and kind != gguf.GGMLQuantizationType.Q4_K:
                        expected = before.data if before.tensor_type == kind else gguf.quantize(floats, kind)
                        self.assertEqual(tensor.data.tobytes(), expected.tobytes(), tensor_name)
                        num_equal += 1
                    elif tensor.tensor_type == kind:
                        error = np.sqrt(np.mean((after - floats) ** 2) / np.mean(floats ** 2))
                        self.assertLess(error, 0.1, tensor_name)
                        num_equal += 1
                self.assertGreaterEqual(num_equal, 5)

    def test_a_written_file_gives_the_logits_of_its_source(self):
        run("convert", ROOT / "tests/data/gguf/llama-mixed.gguf", self.folder / "same.gguf")
        lines = [{"tokens": [1, 5, 9, 33]}]
        for path in (ROOT / "models/tiny", ROOT / "tests/data/gguf/llama-mixed.gguf"):
            with self.subTest(path.name):
                run("convert", path, self.folder / "copy.gguf", "--force")
                flags = ("--dtype", "f32", "--threads", "1")
                self.assertEqual(run("logits", "--model", self.folder / "copy.gguf", *flags, lines=lines),
                                 run("logits", "--model", path, *flags, lines=lines))


class Tokenizers(unittest.TestCase):
    """The tokenizers of real models, written by the gguf package as llama.cpp's converter would."""

    def test_they_give_the_goldens(self):
        if not (SHARED_DATA / "tokenizers").exists():
            self.skipTest("no shared data")
        for family, (kind, pre) in FAMILIES.items():
            with self.subTest(family), tempfile.TemporaryDirectory() as folder:
                tokenizer = self.read_json(SHARED_DATA / f"tokenizers/{family}/tokenizer.json")
                path = pathlib.Path(folder) / "t.gguf"
                writer = gguf.GGUFWriter(path, "phi3" if family == "phi3-mini" else "llama")
                add_tokenizer(writer, tokenizer, kind, pre)
                writer.write_header_to_file()
                writer.write_kv_data_to_file()
                writer.close()
                with open(SHARED_DATA / f"tokenizer_goldens/{family}.jsonl") as lines:
                    goldens = [json.loads(line) for line in lines]
                ids = run("tokenize", "--model", path, lines=[{"text": golden["text"]} for golden in goldens])
                wrong = [golden["text"][:80] for golden, got in zip(goldens, ids) if got["ids"] != golden["ids"]]
                self.assertEqual(wrong, [])

    @staticmethod
    def read_json(path):
        if path.exists():
            return json.loads(path.read_bytes())
        return json.loads(gzip.decompress(path.with_name(path.name + ".gz").read_bytes()))
