"""One cache, two programs: what Kvasir downloads huggingface_hub finds, and the other way round, file for file."""

import fcntl
import os
import pathlib
import subprocess
import sys
import tempfile
import time
import unittest

import fake_hub
from kvasir_server import PATIENCE_SECONDS, Server

ROOT = pathlib.Path(__file__).resolve().parent.parent.parent
FILES = fake_hub.folder_files(ROOT / "models/tiny") | {"pytorch_model.bin": b"pickled"}
NAME = "org/tiny-model"
PATTERNS = ["config.json", "generation_config.json", "tokenizer.json", "tokenizer_config.json", "model.safetensors"]
# In a process of its own: the variables are read once.
DOWNLOAD = f"import huggingface_hub; print(huggingface_hub.snapshot_download('{NAME}', allow_patterns={PATTERNS}))"
LOAD = ("import sys, huggingface_hub; from huggingface_hub import try_to_load_from_cache as find, _CACHED_NO_EXIST; "
        f"print([open(huggingface_hub.hf_hub_download('{NAME}', name), 'rb').read() == open(sys.argv[1] + '/' + name, 'rb')"
        f".read() for name in {PATTERNS}], find('{NAME}', 'chat_template.jinja') is _CACHED_NO_EXIST)")


class HubClient(unittest.TestCase):
    def setUp(self):
        self.hub = self.enterContext(fake_hub.FakeHub())
        self.repo = self.hub.add(NAME, FILES)
        folder = self.enterContext(tempfile.TemporaryDirectory())
        self.homes = [pathlib.Path(folder) / name for name in ("kvasir", "python")]

    def environment(self, home):
        return fake_hub.clean_environment() | {"HF_HOME": str(home), "HF_ENDPOINT": self.hub.url, "HF_HUB_DISABLE_XET": "1"}

    def run_in(self, home, *command, **more):
        done = subprocess.run(list(map(str, command)), capture_output=True, text=True, timeout=PATIENCE_SECONDS,
                              env=self.environment(home) | more)
        self.assertEqual(done.returncode, 0, done.stderr)
        return done.stdout.strip()

    def kvasir(self, home, *arguments, **more):
        return self.run_in(home, Server.binary, *arguments, **more)

    def python(self, home, code, *arguments, **more):
        return self.run_in(home, sys.executable, "-c", code, *arguments, **more)

    @staticmethod
    def tree(home):
        """Blobs, refs and snapshots: files with their bytes, links with what they lead to."""
        folder = home / "hub/models--org--tiny-model"
        return {str(path.relative_to(folder)): os.readlink(path) if path.is_symlink() else path.read_bytes()
                for part in ("blobs", "refs", "snapshots") for path in (folder / part).rglob("*") if not path.is_dir()}

    def test_both_leave_the_same_files(self):
        paths = [self.kvasir(self.homes[0], "pull", NAME), self.python(self.homes[1], DOWNLOAD)]
        self.assertEqual(*[str(pathlib.Path(path).relative_to(home)) for path, home in zip(paths, self.homes, strict=True)])
        trees = [self.tree(home) for home in self.homes]
        self.assertEqual(len(trees[0]), 2 * len(PATTERNS) + 1)
        self.assertEqual(*trees)

    def test_what_kvasir_downloads_python_finds(self):
        folder = self.kvasir(self.homes[0], "pull", NAME)
        self.assertEqual(self.python(self.homes[0], DOWNLOAD, HF_HUB_OFFLINE="1"), folder)
        found = self.python(self.homes[0], LOAD, ROOT / "models/tiny", HF_HUB_OFFLINE="1")
        self.assertEqual(found, f"{[True] * len(PATTERNS)} True")

    def test_what_python_downloads_kvasir_finds(self):
        prompt = ("generate", "--prompt", "Once upon a time", "--max-new-tokens", "5", "--threads", "1")
        self.python(self.homes[1], DOWNLOAD)
        self.hub.requests.clear()
        expected = self.kvasir(self.homes[1], *prompt)
        self.assertEqual(self.kvasir(self.homes[1], *prompt, "--model", NAME, HF_HUB_OFFLINE="1"), expected)
        self.assertEqual(self.hub.requests, [])
        self.assertIn(NAME, self.kvasir(self.homes[1], "models"))
        # Whether there is a chat_template.jinja is asked for once, and nothing is downloaded again.
        for _ in range(2):
            self.assertEqual(self.kvasir(self.homes[1], *prompt, "--model", NAME), expected)
        self.assertEqual(len(self.hub.requests), 1)
        self.kvasir(self.homes[1], "rm", NAME)
        self.assertEqual(list((self.homes[1] / "hub").glob("models--*")), [])

    def test_each_waits_for_the_lock_of_the_other(self):
        """The lock of a blob, taken as either would: the other downloads once it is free."""
        weights = self.repo.etag("model.safetensors")
        for home, command in ((self.homes[0], [Server.binary, "pull", NAME]), (self.homes[1], [sys.executable, "-c", DOWNLOAD])):
            lock = home / f"hub/.locks/models--org--tiny-model/{weights}.lock"
            lock.parent.mkdir(parents=True)
            with lock.open("w") as file:
                fcntl.flock(file, fcntl.LOCK_EX)
                self.hub.requests.clear()
                process = subprocess.Popen(command, env=self.environment(home), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
                others = [self.repo.etag(name) for name in PATTERNS if name != "model.safetensors"]
                end = time.monotonic() + PATIENCE_SECONDS
                while not all((home / "hub/models--org--tiny-model/blobs" / etag).exists() for etag in others):
                    self.assertIsNone(process.poll())
                    self.assertLess(time.monotonic(), end)
                    time.sleep(0.05)
                self.assertEqual(self.hub.paths(is_storage=True), [])
            self.assertEqual(process.wait(PATIENCE_SECONDS), 0)
            self.assertEqual(len(self.hub.paths(is_storage=True)), 1)


if __name__ == "__main__":
    unittest.main()
