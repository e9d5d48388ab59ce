#!/usr/bin/env python3
"""End-to-end tests of models from the hub: real processes against tests/fake_hub.py.

Usage: hub_test.py --kvasir BINARY [unittest arguments]
"""

import hashlib
import json
import os
import pathlib
import signal
import subprocess
import sys
import tempfile
import threading
import time
import unittest

import fake_hub
from fake_hub import TOKEN, FakeHub
from kvasir_server import PATIENCE_SECONDS, Server

ROOT = pathlib.Path(__file__).resolve().parent.parent
TINY = fake_hub.folder_files(ROOT / "models/tiny")
SHARDED = fake_hub.folder_files(ROOT / "tests/data/models/llama-bf16-sharded")
NAME = "org/tiny-model"
KVASIR = None
PROMPT = ("generate", "--prompt", "Once upon a time", "--max-new-tokens", "5", "--threads", "1")


class HubTestCase(unittest.TestCase):
    """A hub with the embedded model as org/tiny-model, and an empty cache."""

    def setUp(self):
        self.hub = self.enterContext(FakeHub())
        self.home = pathlib.Path(self.enterContext(tempfile.TemporaryDirectory()))
        self.cache = self.home / "hub"
        self.repo = self.hub.add(NAME, TINY | {"pytorch_model.bin": b"never", "README.md": b"no", "extra.safetensors": b"no"})
        self.folder = self.cache / "models--org--tiny-model"
        self.snapshot = self.folder / "snapshots" / self.repo.commit
        self.weights = self.repo.etag("model.safetensors")

    def environment(self, **more):
        return fake_hub.clean_environment() | {"HF_HOME": str(self.home), "HF_ENDPOINT": self.hub.url, "HF_TOKEN": TOKEN} | more

    def start(self, *arguments, **more):
        return subprocess.Popen([KVASIR, *arguments], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
                                cwd=self.home, env=self.environment(**more))

    def finish(self, process):
        out, err = process.communicate(timeout=PATIENCE_SECONDS)
        for secret in (TOKEN, "secretOfTheUrl"):
            self.assertNotIn(secret, out + err)
        return process.returncode, out, err

    def run_kvasir(self, *arguments, **more):
        code, out, err = self.finish(self.start(*arguments, **more))
        self.assertEqual(code, 0, err)
        return out

    def expect_failure(self, *arguments, **more):
        """The one line that says why."""
        code, _, err = self.finish(self.start(*arguments, **more))
        self.assertEqual(code, 1, err)
        lines = [line for line in err.splitlines() if not line.startswith("downloading: ")]
        self.assertEqual(len(lines), 1, err)
        self.assertTrue(lines[0].startswith("kvasir: "), lines)
        return lines[0]

    def expect_whole(self, repo=None, names=("config.json", "model.safetensors", "tokenizer.json")):
        repo = repo or self.repo
        for name in names:
            path = self.cache / f"models--{repo.name.replace('/', '--')}" / "snapshots" / repo.commit / name
            self.assertEqual(path.read_bytes(), repo.files[name], name)
            self.assertEqual(os.readlink(path), f"../../blobs/{repo.etag(name)}")
        self.assertEqual(list(self.cache.glob("models--*/blobs/*.incomplete")), [])

    def storage_ranges(self):
        return [request.headers.get("Range") for request in self.hub.requests
                if request.is_storage and request.method == "GET"]


class Pull(HubTestCase):
    def test_what_is_needed_comes_and_runs_without_a_network(self):
        self.assertEqual(self.run_kvasir("pull", NAME).strip(), str(self.snapshot))
        self.expect_whole()
        self.assertEqual((self.folder / "refs/main").read_text(), self.repo.commit)
        self.assertEqual({path.name for path in self.snapshot.iterdir()},
                         {"config.json", "generation_config.json", "model.safetensors", "tokenizer.json", "tokenizer_config.json"})
        self.assertTrue((self.folder / ".no_exist" / self.repo.commit / "chat_template.jinja").exists())
        expected = self.run_kvasir(*PROMPT)
        num_requests = len(self.hub.requests)
        self.assertEqual(self.run_kvasir(*PROMPT, "--model", NAME, HF_HUB_OFFLINE="1"), expected)
        self.assertEqual(self.run_kvasir(*PROMPT, "--model", NAME), expected)
        self.assertEqual(len(self.hub.requests), num_requests)

    def test_the_token_goes_to_the_hub_alone(self):
        self.run_kvasir("pull", NAME)
        sent = {request.is_storage: request.headers.get("Authorization") for request in self.hub.requests}
        self.assertEqual(sent, {False: f"Bearer {TOKEN}", True: None})
        for request in self.hub.requests:
            self.assertEqual(request.headers.get("Authorization") is None, request.is_storage, request)

    def test_a_token_file_is_read(self):
        (self.home / "token").write_text(TOKEN + "\n")
        self.run_kvasir("pull", NAME, HF_TOKEN="")
        self.assertEqual(self.hub.requests[0].headers["Authorization"], f"Bearer {TOKEN}")

    def test_a_model_is_downloaded_where_it_is_asked_for(self):
        expected = self.run_kvasir(*PROMPT)
        self.assertEqual(self.run_kvasir(*PROMPT, "--model", NAME), expected)
        self.expect_whole()

    def test_pull_follows_the_branch_and_leaves_what_was_there(self):
        self.run_kvasir("pull", NAME)
        new = self.hub.add(NAME, TINY | {"generation_config.json": b"{}"})
        self.assertNotEqual(new.etag("generation_config.json"), self.repo.etag("generation_config.json"))
        new.commit = "c" * 40
        before = self.hub.paths(is_storage=True)
        self.run_kvasir("pull", NAME)
        self.expect_whole(new)
        self.expect_whole(self.repo)
        self.assertEqual((self.folder / "refs/main").read_text(), new.commit)
        self.assertEqual(self.hub.paths(is_storage=True), before)  # the weights are the same blob

    def test_revisions(self):
        old = self.hub.add(NAME, TINY, "v1")
        old.commit = "d" * 40
        self.run_kvasir("pull", f"{NAME}@v1")
        self.expect_whole(old)
        self.assertEqual((self.folder / "refs/v1").read_text(), old.commit)
        self.run_kvasir("pull", f"{NAME}@{self.repo.commit}")
        self.expect_whole(self.repo)
        self.assertEqual([path.name for path in (self.folder / "refs").iterdir()], ["v1"])

    def test_shards_are_those_of_the_index(self):
        repo = self.hub.add("org/sharded", SHARDED | {"tokenizer.json": TINY["tokenizer.json"], "consolidated.safetensors": b"no"})
        self.run_kvasir("pull", "org/sharded")
        shards = [f"model-0000{i}-of-00003.safetensors" for i in (1, 2, 3)]
        self.expect_whole(repo, ["config.json", "model.safetensors.index.json", *shards])
        self.assertFalse((self.cache / f"models--org--sharded/snapshots/{repo.commit}/consolidated.safetensors").exists())

    def test_what_can_be_done_without_is_not_insisted_on(self):
        self.run_kvasir("pull", NAME)
        (self.folder / ".no_exist" / self.repo.commit / "chat_template.jinja").unlink()
        code, _, err = self.finish(self.start(*PROMPT, "--model", NAME, HF_ENDPOINT="http://127.0.0.1:1"))
        self.assertEqual(code, 0, err)
        self.assertIn("chat_template.jinja, which it can do without", err)
        self.run_kvasir(*PROMPT, "--model", NAME, HF_HUB_OFFLINE="1")

    def test_a_start_does_not_follow_the_branch(self):
        self.run_kvasir("pull", NAME)
        new = self.hub.add(NAME, TINY | {"chat_template.jinja": b"x"})
        new.commit = "c" * 40
        self.hub.repos[NAME]["old"] = self.repo
        (self.folder / ".no_exist" / self.repo.commit / "chat_template.jinja").unlink()
        self.hub.requests.clear()
        self.run_kvasir(*PROMPT, "--model", NAME)
        self.assertEqual(self.hub.paths(), [f"/api/models/{NAME}/revision/{self.repo.commit}"])
        self.assertEqual((self.folder / "refs/main").read_text(), self.repo.commit)
        self.assertEqual(len(list((self.folder / "snapshots").iterdir())), 1)

    def test_progress_is_told(self):
        _, _, err = self.finish(self.start("pull", NAME))
        self.assertRegex(err, r"(?m)^downloading: [\d.]+ MB of [\d.]+ MB \(100%\)$")


class Breaks(HubTestCase):
    def test_a_break_is_gone_on_from(self):
        self.hub.fail(fake_hub.break_after(1_000_000), is_storage=True)
        self.hub.fail(fake_hub.break_after(2_000), is_storage=True)
        self.run_kvasir("pull", NAME)
        self.expect_whole()
        self.assertEqual(self.storage_ranges(), [None, "bytes=1000000-", "bytes=1002000-"])

    def put_incomplete(self, content):
        path = self.folder / "blobs" / f"{self.weights}.incomplete"
        path.parent.mkdir(parents=True)
        path.write_bytes(content)

    def test_what_an_earlier_process_left_is_gone_on_from(self):
        self.put_incomplete(TINY["model.safetensors"][:12345])
        self.run_kvasir("pull", NAME)
        self.expect_whole()
        self.assertEqual(self.storage_ranges(), ["bytes=12345-"])

    def test_what_an_earlier_process_left_whole_is_checked_only(self):
        self.put_incomplete(TINY["model.safetensors"])
        self.run_kvasir("pull", NAME)
        self.expect_whole()
        self.assertEqual(self.storage_ranges(), [])

    def test_a_wrong_beginning_is_begun_anew(self):
        for content, ranges in ((b"x" * 777, ["bytes=777-", None]), (b"x" * len(TINY["model.safetensors"]), [None]),
                                (TINY["model.safetensors"] + b"x", [None])):
            with self.subTest(size=len(content)):
                self.hub.requests.clear()
                self.put_incomplete(content)
                self.run_kvasir("pull", NAME)
                self.expect_whole()
                self.assertEqual(self.storage_ranges(), ranges)
                self.run_kvasir("rm", NAME)

    def test_a_server_without_ranges(self):
        self.put_incomplete(TINY["model.safetensors"][:999])
        self.hub.fail(fake_hub.without_ranges, is_storage=True)
        self.run_kvasir("pull", NAME)
        self.expect_whole()

    def test_busy_servers_are_asked_again(self):
        begin = time.monotonic()
        self.hub.fail(fake_hub.status(429, Retry_After="1"), path="/api/models")
        self.hub.fail(fake_hub.status(503), is_storage=True)
        self.hub.fail(fake_hub.status(500), path="config.json", method="HEAD")
        self.run_kvasir("pull", NAME)
        self.assertGreater(time.monotonic() - begin, 1)
        self.expect_whole()

    def test_a_server_that_wants_hours_to_go_by(self):
        self.hub.fail(fake_hub.status(429, Retry_After="7200"), path="/api/models")
        self.assertIn("too many requests (429), and wants 7200 seconds", self.expect_failure("pull", NAME))

    def test_two_processes_download_once(self):
        processes = [self.start("pull", NAME) for _ in range(2)]
        for process in processes:
            code, out, err = self.finish(process)
            self.assertEqual((code, out.strip()), (0, str(self.snapshot)), err)
        self.expect_whole()
        self.assertEqual(len(self.storage_ranges()), 1)

    def test_who_waits_for_another_process_says_so(self):
        event = threading.Event()
        self.hub.fail(fake_hub.wait_until(event), is_storage=True)
        first = self.start("pull", NAME)
        while not self.hub.paths(is_storage=True):
            time.sleep(0.01)
        second = self.start("pull", NAME)
        line = second.stderr.readline()
        event.set()
        self.assertIn("model.safetensors: waiting for another process", line)
        for process in (first, second):
            self.assertEqual(self.finish(process)[0], 0)
        self.assertEqual(len(self.storage_ranges()), 1)

    def test_a_server_that_is_stopped_stops_downloading(self):
        event = threading.Event()
        self.addCleanup(event.set)
        self.hub.fail(fake_hub.wait_until(event), is_storage=True)
        process = self.start("serve", "--model", NAME, "--port", "0")
        while not self.hub.paths(is_storage=True):
            self.assertIsNone(process.poll())
            time.sleep(0.01)
        process.send_signal(signal.SIGTERM)
        self.assertEqual(self.finish(process)[0], 0)


class Refusals(HubTestCase):
    def test_no_network(self):
        line = self.expect_failure("serve", "--model", NAME, "--port", "0", HF_ENDPOINT="http://127.0.0.1:1")
        for part in (NAME, "127.0.0.1:1 cannot be reached", str(self.cache), "lacks the revision main"):
            self.assertIn(part, line)

    def test_offline(self):
        self.assertIn("HF_HUB_OFFLINE", self.expect_failure(*PROMPT, "--model", NAME, HF_HUB_OFFLINE="1"))
        self.assertIn("HF_HUB_OFFLINE", self.expect_failure("pull", NAME, HF_HUB_OFFLINE="1"))
        self.assertEqual(self.hub.requests, [])

    def test_what_is_not_there(self):
        self.assertIn("HF_TOKEN must be set", self.expect_failure("pull", "org/nothing", HF_TOKEN=""))
        self.assertIn("no such model", self.expect_failure("pull", "org/nothing"))
        self.assertIn(f"{NAME}@v9: 127.0.0.1:", self.expect_failure("pull", f"{NAME}@v9"))
        self.assertIn("no such revision (404)", self.expect_failure("pull", f"{NAME}@v9"))
        self.hub.fail(fake_hub.refuse(404, "EntryNotFound"), path="tokenizer.json", method="HEAD")
        self.assertIn("tokenizer.json: 127.0.0.1:", self.expect_failure("pull", NAME))
        self.hub.add("org/no-tokenizer", {k: v for k, v in TINY.items() if k != "tokenizer.json"})
        self.assertIn("tokenizer.json", self.expect_failure("pull", "org/no-tokenizer"))
        self.hub.add("org/old", {"config.json": b"{}", "pytorch_model.bin": b""})
        self.assertIn("model.safetensors", self.expect_failure("pull", "org/old"))
        self.assertEqual([path for path in self.hub.paths() if "resolve" in path], [])

    def test_refused_access(self):
        for code, error_code in ((403, "GatedRepo"), (401, "GatedRepo"), (403, "")):
            self.hub.fail(fake_hub.refuse(code, error_code), path="config.json", method="HEAD")
            line = self.expect_failure("pull", NAME)
            self.assertIn(f"({code}): the model is gated; accept its terms at {self.hub.url}/{NAME}", line)
        self.hub.fail(fake_hub.status(401), path="/api/models")
        self.assertIn("HF_TOKEN is not the right token", self.expect_failure("pull", NAME))

    def test_who_refuses_is_said(self):
        self.hub.fail(fake_hub.status(403), is_storage=True)
        line = self.expect_failure("pull", NAME)
        self.assertIn(f"model.safetensors: {self.hub.storage_url[7:]}, to which {self.hub.url[7:]} redirects, "
                      "refuses access (403)", line)
        self.assertNotIn("gated", line)
        self.hub.fail(fake_hub.status(302, Location="http://127.0.0.1:1/x"), path="/api/models")
        self.assertIn(f"127.0.0.1:1, to which {self.hub.url[7:]} redirects, cannot be reached", self.expect_failure("pull", NAME))

    def test_a_full_disk_is_seen_before(self):
        self.hub.sizes["model.safetensors"] = 10**13
        self.assertRegex(self.expect_failure("pull", NAME), r"expected 10.0 TB free at .*, there are ")
        self.assertEqual(self.hub.paths(is_storage=True), [])

    def test_wrong_checksums(self):
        self.hub.fail(fake_hub.body(b"x" * len(TINY["model.safetensors"])), is_storage=True)
        line = self.expect_failure("pull", NAME)
        self.assertIn(f"model.safetensors: expected the SHA-256 {self.weights}", line)
        self.assertIn(hashlib.sha256(b"x" * len(TINY["model.safetensors"])).hexdigest(), line)
        self.assertFalse((self.folder / "blobs" / f"{self.weights}.incomplete").exists())
        self.assertFalse((self.snapshot / "model.safetensors").exists())
        self.assertFalse((self.folder / "refs/main").exists())
        self.run_kvasir("pull", NAME)
        self.expect_whole()

    def test_small_files_are_checked_too(self):
        content = TINY["config.json"]
        etag = self.repo.etag("config.json")
        self.hub.fail(fake_hub.body(b"x" * len(content)), path="/config.json")
        self.assertIn(f"config.json: expected the SHA-1 of a git blob {etag}, what came has ", self.expect_failure("pull", NAME))
        self.assertFalse((self.snapshot / "config.json").exists())
        for left in (bytes(len(content)), bytes(len(content) // 2), b""):
            with self.subTest(size=len(left)):
                path = self.folder / "blobs" / f"{etag}.incomplete"
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_bytes(left)
                self.run_kvasir("pull", NAME)
                self.expect_whole()
                self.run_kvasir("rm", NAME)

    def test_what_answers_instead_of_the_hub(self):
        def without_commit(handler):
            handler.reply(200, {"ETag": '"abc"', "Content-Type": "text/html"}, b"<html>")
            return True
        self.hub.fail(without_commit, path="config.json", method="HEAD")
        line = self.expect_failure("pull", NAME)
        self.assertIn(f"expected the header X-Repo-Commit, which every hub sends; {self.hub.url[7:]} is no hub, or a proxy", line)
        self.hub.fail(fake_hub.body(b"<html>"), path="/api/models")
        self.assertIn(f"{self.hub.url[7:]} is no hub, or a proxy or the portal", self.expect_failure("pull", NAME))
        for path in ("/api/models", "config.json", ""):
            self.hub.faults.clear()
            self.hub.fail(fake_hub.body(b"x", Content_Encoding="gzip"), path=path, is_storage=path == "")
            self.assertIn("expected the Content-Encoding identity, ", self.expect_failure("pull", NAME))

    def test_wrong_sizes(self):
        size = len(TINY["model.safetensors"])
        for said in (size + 1, size - 1, 0, 1):
            with self.subTest(said=said):
                self.hub.sizes["model.safetensors"] = said
                self.assertIn("model.safetensors: expected", self.expect_failure("pull", NAME))
                self.assertFalse((self.folder / "blobs" / f"{self.weights}.incomplete").exists())
        for said in ("-1", "x", str(2**64), str(2**63)):
            self.hub.sizes["model.safetensors"] = said
            self.assertIn("expected a size", self.expect_failure("pull", NAME))

    def test_a_range_that_is_another(self):
        self.hub.fail(fake_hub.break_after(1000), is_storage=True)

        def lie(handler):
            handler.reply(206, {"Content-Range": "bytes 0-999/1000"}, b"x" * 1000)
            return True
        self.hub.fail(lie, is_storage=True)
        self.assertIn("the hub sends 'bytes 0-999/1000'", self.expect_failure("pull", NAME))

    def test_hostile_answers(self):
        listing = {"sha": self.repo.commit, "siblings": [{"rfilename": "model.safetensors"}]}
        bad = [b"", b"[]", b"{", b"[" * 100000, json.dumps(listing | {"sha": "../../x"}).encode(),
               json.dumps(listing | {"sha": 1}).encode(), json.dumps(listing | {"siblings": 1}).encode(),
               json.dumps(listing | {"siblings": [{"rfilename": None}]}).encode(), b" " * (17 << 20)]
        for content in bad:
            with self.subTest(content=content[:60]):
                self.hub.fail(fake_hub.body(content), path="/api/models")
                self.assertIn("the hub's answer", self.expect_failure("pull", NAME))
        self.hub.fail(fake_hub.status(302, Location=f"{self.hub.url}/api/models/{NAME}"), path="/api/models", times=50)
        self.assertIn("redirects without end", self.expect_failure("pull", NAME))
        self.hub.faults.clear()
        self.hub.fail(lambda handler: fake_hub.status(302, Location=handler.path)(handler), is_storage=True, times=50)
        self.assertIn("redirects without end", self.expect_failure("pull", NAME))
        self.assertLessEqual(len(self.storage_ranges()), 9)
        self.hub.faults.clear()
        self.hub.fail(fake_hub.status(302, Location="file:///etc/passwd"), path="/api/models")
        self.expect_failure("pull", NAME)

    def test_hostile_names(self):
        for etag in ("../../../../evil", "", "a/b", "x" * 200, "a b"):
            with self.subTest(etag=etag):
                self.hub.etags["config.json"] = etag
                self.assertIn("config.json: expected an ETag", self.expect_failure("pull", NAME))
        self.hub.etags.clear()
        for name in ("../../../evil-Q4_0.gguf", "/tmp/evil-Q4_0.gguf", "a/../evil-Q4_0.gguf", "a\\evil-Q4_0.gguf", "\x1bevil-Q4_0.gguf"):
            with self.subTest(name=name):
                self.hub.listed[NAME] = [name]
                line = self.expect_failure("pull", f"{NAME}:Q4_0")
                self.assertIn("no path in a repository", line)
                self.assertNotIn("\x1b", line)
        self.hub.listed.clear()
        for shard in ("../evil.safetensors", "/evil.safetensors", "evil.bin", "evil.safetensors"):
            with self.subTest(shard=shard):
                index = json.dumps({"weight_map": {"x": shard}}).encode()
                self.hub.add("org/hostile", {"config.json": b"{}", "tokenizer.json": b"{}", "model.safetensors.index.json": index})
                self.assertIn("model.safetensors.index.json", self.expect_failure("pull", "org/hostile"))
                if (self.cache / "models--org--hostile").exists():
                    self.run_kvasir("rm", "org/hostile")
        self.assertEqual([path for path in self.home.rglob("*evil*")], [])

    def test_a_proxy_is_asked(self):
        # It is no proxy that works; the point is who was asked.
        self.expect_failure("pull", NAME, HF_ENDPOINT="http://hub.invalid", http_proxy=self.hub.url)
        self.assertTrue(self.hub.requests)


class Gguf(HubTestCase):
    FILES = {"m-Q4_0.gguf": b"GGUF4", "m-Q8_0.gguf": b"GGUF8", "F16/m-F16-00001-of-00002.gguf": b"1",
             "F16/m-F16-00002-of-00002.gguf": b"22"}

    def setUp(self):
        super().setUp()
        self.repo = self.hub.add("org/m-GGUF", self.FILES | {"config.json": b"{}"})
        self.snapshot = self.cache / "models--org--m-GGUF/snapshots" / self.repo.commit

    def test_one_file_of_many(self):
        self.assertEqual(self.run_kvasir("pull", "org/m-GGUF:q4_0").strip(), str(self.snapshot / "m-Q4_0.gguf"))
        self.assertEqual([path.name for path in self.snapshot.iterdir()], ["m-Q4_0.gguf"])
        self.run_kvasir("pull", "org/m-GGUF:m-Q8_0.gguf")
        self.assertEqual((self.snapshot / "m-Q8_0.gguf").read_bytes(), b"GGUF8")

    def test_all_parts(self):
        first = self.snapshot / "F16/m-F16-00001-of-00002.gguf"
        self.assertEqual(self.run_kvasir("pull", "org/m-GGUF:F16").strip(), str(first))
        self.assertEqual(os.readlink(first), f"../../../blobs/{hashlib.sha256(b'1').hexdigest()}")
        self.assertEqual((self.snapshot / "F16/m-F16-00002-of-00002.gguf").read_bytes(), b"22")
        del self.repo.files["F16/m-F16-00001-of-00002.gguf"]
        self.run_kvasir("rm", "org/m-GGUF")
        self.expect_failure("pull", "org/m-GGUF:F16")

    def test_a_file_of_the_hub_runs(self):
        path = self.home / "tiny.gguf"
        self.run_kvasir("convert", str(ROOT / "models/tiny"), str(path))
        self.hub.add("org/tiny-GGUF", {"tiny-BF16.gguf": path.read_bytes()})
        self.assertEqual(self.run_kvasir(*PROMPT, "--model", "org/tiny-GGUF:bf16"), self.run_kvasir(*PROMPT))

    def test_what_there_is_is_said(self):
        for reference in ("org/m-GGUF", "org/m-GGUF:Q5_K_M", "org/m-GGUF:none.gguf"):
            line = self.expect_failure("pull", reference)
            for name in ("m-Q4_0.gguf", "m-Q8_0.gguf", "F16/m-F16-00001-of-00002.gguf"):
                self.assertIn(name, line)
        self.assertIn("no GGUF files", self.expect_failure("pull", f"{NAME}:Q4_0"))


class Cache(HubTestCase):
    def test_models_are_listed_and_removed(self):
        self.assertEqual(self.run_kvasir("models"), f"no models in {self.cache}\n")
        self.run_kvasir("pull", NAME)
        self.hub.add("org/m-GGUF", Gguf.FILES)
        self.run_kvasir("pull", "org/m-GGUF:Q8_0")
        (self.cache / "models--org--part/snapshots" / ("a" * 40)).mkdir(parents=True)
        (self.cache / "models--org--part/snapshots" / ("a" * 40) / "config.json").write_text("{}")
        header, *rows = self.run_kvasir("models").splitlines()
        self.assertEqual(header.split(), ["model", "commit", "size", "last", "used"])
        self.assertRegex(rows[0], r"^org/m-GGUF:m-Q8_0.gguf +[0-9a-f]{12} +5 B  \d{4}-\d\d-\d\d \d\d:\d\d$")
        self.assertRegex(rows[1], r"^org/part@a{40} .* incomplete$")
        self.assertRegex(rows[2], rf"^{NAME} +{self.repo.commit[:12]} +[\d.]+ MB  \d")
        self.assertRegex(self.run_kvasir("rm", NAME), rf"^removed {NAME}, [\d.]+ MB$")
        self.assertFalse(self.folder.exists())
        self.assertIn("is not in the cache", self.expect_failure("rm", NAME))
        self.assertNotIn(NAME, self.run_kvasir("models"))
        for command in ("rm", "pull"):
            self.assertIn("'/etc': expected a model of the hub such as", self.expect_failure(command, "/etc"))
        self.assertEqual(list((self.cache / ".locks").glob("*tiny-model")), [])

    def test_a_cache_that_cannot_be_read_is_said(self):
        (self.home / "file").write_text("")
        self.assertIn("file/hub: the cache cannot be read: Not a directory", self.expect_failure("models", HF_HOME=str(self.home / "file")))

    def test_files_of_one_content_come_once(self):
        for name in ("s-00001-of-00002.gguf", "s-00002-of-00002.gguf"):
            self.repo.files[name] = b"the same" * 1000
        _, _, err = self.finish(self.start("pull", f"{NAME}:s-00001-of-00002.gguf"))
        self.assertNotIn("waiting", err)
        self.assertEqual(len(self.storage_ranges()), 1)
        self.assertEqual({path.name for path in self.snapshot.iterdir()}, {"s-00001-of-00002.gguf", "s-00002-of-00002.gguf"})

    def test_a_blob_of_another_size_comes_again(self):
        blob = self.folder / "blobs" / self.weights
        blob.parent.mkdir(parents=True)
        for _ in range(2):  # before there is a link to it, and after
            blob.write_bytes(b"x")
            self.run_kvasir("pull", NAME)
            self.expect_whole()

    def test_what_a_break_leaves_is_listed_and_removed(self):
        repo = self.hub.add("org/m-GGUF", {"m-Q8_0.gguf": b"x" * 5000})
        partial = self.cache / "models--org--m-GGUF/blobs" / f"{repo.etag('m-Q8_0.gguf')}.incomplete"
        partial.parent.mkdir(parents=True)
        partial.write_bytes(b"x" * 3000)
        self.assertRegex(self.run_kvasir("models").splitlines()[1], r"^org/m-GGUF +- +3.00 kB  \d{4}-\d\d-\d\d \d\d:\d\d  incomplete$")
        self.assertEqual(self.run_kvasir("rm", "org/m-GGUF:m-Q8_0.gguf"), "removed org/m-GGUF:m-Q8_0.gguf, 3.00 kB\n")
        self.assertEqual(self.run_kvasir("models"), f"no models in {self.cache}\n")
        self.assertIn("is not in the cache", self.expect_failure("rm", "org/m-GGUF:m-Q8_0.gguf"))

    def test_a_name_is_served_as_it_was_given(self):
        self.run_kvasir("pull", NAME)
        with Server("--model", NAME, env=self.environment(HF_HUB_OFFLINE="1")) as server:
            listed = json.loads(server.request("GET", "/v1/models")[2])["data"]
            self.assertEqual([model["id"] for model in listed], [NAME])
            self.assertEqual(server.request("GET", f"/v1/models/{NAME}")[0], 200)

    def test_a_folder_needs_none_of_the_variables(self):
        nothing = dict.fromkeys(("HOME", "HF_HOME", "HF_HUB_CACHE", "XDG_CACHE_HOME"), "")
        self.run_kvasir(*PROMPT, "--model", str(ROOT / "models/tiny"), **nothing)
        self.assertIn("HOME", self.expect_failure(*PROMPT, "--model", NAME, **nothing))

    def test_a_folder_counts_before_the_hub(self):
        (self.home / NAME).mkdir(parents=True)
        self.assertIn("config.json", self.expect_failure(*PROMPT, "--model", NAME))
        self.assertEqual(self.hub.requests, [])


class WritingGguf(HubTestCase):
    MIXED = ROOT / "tests/data/gguf/llama-mixed.gguf"

    def write(self, *arguments):
        """What is said of a file that is written."""
        code, out, err = self.finish(self.start(*map(str, arguments)))
        self.assertEqual((code, out), (0, ""), err)
        return err

    def test_what_is_written_is_said(self):
        out = self.home / "out.gguf"
        err = self.write("quantize", self.MIXED, out, "--type", "q4_k")
        self.assertRegex(err, rf"(?m)^warning {out}: \d+ matrices have rows that are no whole number of q4_k blocks")
        self.assertRegex(err, rf"(?m)^{out}: [\d.]+ kB, \d+ tensors Q8_0 \([\d.]+ kB\), \d+ Q4_K ")
        self.assertNotIn("warning", self.write("convert", ROOT / "models/tiny", self.home / "tiny.gguf"))
        self.assertIn("has no tokenizer, for", self.write("convert", ROOT / "tests/data/models/llama-gqa", self.home / "b.gguf"))

    def test_nothing_is_replaced_unasked(self):
        source, out = self.home / "a.gguf", self.home / "out.gguf"
        source.write_bytes(self.MIXED.read_bytes())
        (self.home / "link.gguf").symlink_to("a.gguf")
        for name in ("a.gguf", "./a.gguf", "link.gguf"):
            for command in (("convert",), ("convert", "--force"), ("quantize", "--type", "q4_0", "--force")):
                self.assertIn("is a file of the model that is read", self.expect_failure(*command, str(source), name))
        self.assertEqual(source.read_bytes(), self.MIXED.read_bytes())
        self.write("convert", source, out)
        self.assertIn("exists already; --force replaces it", self.expect_failure("convert", str(source), str(out)))
        self.assertIn("exists already", self.expect_failure("convert", NAME, str(out)))
        self.assertEqual(self.hub.requests, [])
        self.write("quantize", source, out, "--type", "q8_0", "--force")

    def test_a_signal_leaves_nothing_behind(self):
        event = threading.Event()
        self.addCleanup(event.set)
        for number in (signal.SIGTERM, signal.SIGINT):
            self.hub.requests.clear()
            self.hub.fail(fake_hub.wait_until(event), is_storage=True)
            process = self.start("quantize", NAME, "out.gguf", "--type", "q8_0")
            while not self.hub.paths(is_storage=True):
                self.assertIsNone(process.poll())
                time.sleep(0.01)
            process.send_signal(number)
            self.assertEqual(self.finish(process)[0], -number)
            self.assertEqual(list(self.home.glob("out*")), [])


if __name__ == "__main__":
    KVASIR = sys.argv[sys.argv.index("--kvasir") + 1]
    Server.binary = KVASIR
    del sys.argv[1:3]
    unittest.main()
