#!/usr/bin/env python3
"""`kvasir bench serve` on the embedded model: every workload in its quick form, against the server that it starts and
against one elsewhere, and how it fails.

Usage: bench_serve_test.py --kvasir BINARY [unittest arguments]
"""

import http.server
import json
import os
import pathlib
import re
import subprocess
import sys
import tempfile
import threading
import unittest

KVASIR = None
TIMEOUT_SECONDS = 300
PHASES = {
    "prefill": [""], "decode": [""], "concurrent": [""], "rag": ["cold", "warm"], "repeat": ["cold", "again"],
    "system": [""], "chat": ["first turn", "later turns"], "branch": [""],
    "long-prefill-in-decode": ["decoding", "long prompt"], "streams": [""],
}


def run(*arguments):
    clean = {k: v for k, v in os.environ.items() if not k.startswith("KVASIR_")}
    with tempfile.TemporaryDirectory() as folder:
        return subprocess.run([KVASIR, "bench", "serve", *arguments], capture_output=True, text=True, env=clean,
                              cwd=folder, timeout=TIMEOUT_SECONDS)


def measure(*arguments):
    """The JSON, and the table."""
    with tempfile.TemporaryDirectory() as folder:
        path = pathlib.Path(folder) / "result.json"
        done = run("--quick", "--runs", "2", "--kv-cache-memory", "64MiB", "--json", str(path), *arguments)
        assert done.returncode == 0, done.stderr
        return json.loads(path.read_text()), done.stdout


class OpenAiServer(http.server.BaseHTTPRequestHandler):
    """/v1/completions that counts a word as a token and replies with as many as were asked for."""

    protocol_version = "HTTP/1.1"
    requests = []

    def log_message(self, *_):
        pass

    def do_GET(self):
        self.reply(200, {"data": [{"id": "words"}]})

    def do_POST(self):
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        if self.path != "/v1/completions":
            return self.reply(404, {"error": "no such route"})
        if "prompt" not in body:
            return self.reply(400, {"error": "no prompt"})
        type(self).requests.append(body)
        self.send_response(200)
        self.send_header("Content-Type", "text/event-stream")
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        count = body["max_tokens"]
        for i in range(count):
            self.event({"choices": [{"text": " a", "finish_reason": "length" if i + 1 == count else None}]})
        self.event({"choices": [], "usage": {"prompt_tokens": len(body["prompt"].split()), "completion_tokens": count}})
        self.chunk("data: [DONE]\n\n")
        self.chunk("")

    def event(self, data):
        self.chunk(f"data: {json.dumps(data)}\n\n")

    def chunk(self, text):
        self.wfile.write(f"{len(text):x}\r\n{text}\r\n".encode())
        self.wfile.flush()

    def reply(self, status, data):
        body = json.dumps(data).encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


class OwnServer(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.result, cls.table = measure("--workload", "all")
        cls.median = {(entry["workload"], entry["phase"]): entry["median"] for entry in cls.result["workloads"]}

    def test_every_workload_is_reported(self):
        self.assertEqual(list(self.median), [(name, phase) for name, phases in PHASES.items() for phase in phases])
        for name in PHASES:
            self.assertIn(name, self.table)
        for entry in self.result["workloads"]:
            self.assertEqual(len(entry["runs"]), 2)
            self.assertGreaterEqual(entry["spread"], 0)

    def test_numbers_are_plausible(self):
        for key, median in self.median.items():
            with self.subTest(key):
                self.assertGreaterEqual(median["ttft_p50_ms"], 0)
                self.assertLessEqual(median["ttft_p50_ms"], median["ttft_p95_ms"])
                self.assertLessEqual(median["ttft_p95_ms"], median["ttft_p99_ms"])
                self.assertGreater(median["output_tokens_per_s"], 0)
                self.assertGreater(median["requests_per_s"], 0)
                self.assertGreater(median["seconds"], 0)
                self.assertEqual(median["prompt_tokens"], median["cached_tokens"] + median["computed_tokens"])
                if key[0] == "prefill":
                    self.assertIsNone(median["inter_token_max_ms"])
                else:
                    self.assertLessEqual(median["inter_token_p50_ms"], median["inter_token_p99_ms"])
                    self.assertLessEqual(median["inter_token_p99_ms"], median["inter_token_max_ms"])

    def test_replies_have_the_wanted_length(self):
        """The end token does not end them."""
        for key, tokens in {("prefill", ""): 1, ("decode", ""): 16, ("rag", "warm"): 10, ("system", ""): 8 * 16,
                            ("branch", ""): 4 * 8, ("streams", ""): 16 * 32, ("chat", "later turns"): 2 * 3 * 8}.items():
            self.assertEqual(self.median[key]["output_tokens"], tokens, key)

    def test_prompts_have_the_wanted_length(self):
        for key, tokens in {("prefill", ""): 128, ("rag", "cold"): 129, ("system", ""): 8 * 288,
                            ("branch", ""): 4 * 544, ("long-prefill-in-decode", "long prompt"): 512}.items():
            prompt_tokens = self.median[key]["prompt_tokens"]
            self.assertLessEqual(prompt_tokens, tokens, key)
            self.assertGreater(prompt_tokens, 0.9 * tokens, key)

    def test_the_cache_is_seen(self):
        for key in [("prefill", ""), ("concurrent", ""), ("rag", "cold"), ("repeat", "cold"), ("streams", "")]:
            self.assertEqual(self.median[key]["cached_tokens"], 0, key)
        for key in [("rag", "warm"), ("system", ""), ("chat", "later turns"), ("branch", "")]:
            self.assertGreater(self.median[key]["cached_tokens"], 0, key)
        self.assertEqual(self.median["repeat", "again"]["computed_tokens"], 0)
        # Four branches of a cold prefix compute it once.
        branch = self.median["branch", ""]
        self.assertLess(branch["computed_tokens"], branch["prompt_tokens"] / 2)

    def test_http_is_compared_with_the_engine(self):
        streams = self.result["streams"]
        self.assertAlmostEqual(streams["ratio"], streams["http_tokens_per_s"] / streams["engine_tokens_per_s"])
        self.assertIn("the engine alone", self.table)


class OtherServers(unittest.TestCase):
    def setUp(self):
        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), OpenAiServer)
        self.url = f"http://127.0.0.1:{self.server.server_port}"
        self.thread = threading.Thread(target=self.server.serve_forever)
        self.thread.start()
        OpenAiServer.requests = []

    def tearDown(self):
        self.server.shutdown()
        self.thread.join()
        self.server.server_close()

    def test_speaks_openai_and_sizes_prompts_by_the_usage(self):
        result, _ = measure("--url", self.url, "--workload", "rag,long-prefill-in-decode")
        median = {(entry["workload"], entry["phase"]): entry["median"] for entry in result["workloads"]}
        self.assertEqual(median["rag", "cold"]["prompt_tokens"], 117 + 12)
        self.assertEqual(median["long-prefill-in-decode", "long prompt"]["prompt_tokens"], 512)
        self.assertIsNone(median["rag", "warm"]["cached_tokens"])
        self.assertEqual(OpenAiServer.requests[-1]["model"], "words")
        self.assertTrue(OpenAiServer.requests[-1]["ignore_eos"])
        self.assertNotIn("streams", result)

    def test_the_same_seed_gives_every_server_the_same_prompts(self):
        prompts = []
        for seed in ["1", "1", "2"]:
            OpenAiServer.requests = []
            measure("--url", self.url, "--workload", "system", "--seed", seed)
            prompts.append(sorted(request["prompt"] for request in OpenAiServer.requests))
        self.assertEqual(prompts[0], prompts[1])
        self.assertNotEqual(prompts[0], prompts[2])
        # Two runs share no prompt; what calibrates is sent once.
        self.assertEqual(len(set(prompts[0])), len(prompts[0]))

    def test_request_fields(self):
        measure("--url", self.url, "--workload", "prefill", "--request-fields", '{"ignore_eos":null,"min_tokens":4}')
        self.assertNotIn("ignore_eos", OpenAiServer.requests[-1])
        self.assertEqual(OpenAiServer.requests[-1]["min_tokens"], 4)

    def test_errors_say_what_is_wrong(self):
        closed = http.server.HTTPServer(("127.0.0.1", 0), OpenAiServer)
        nobody = f"http://127.0.0.1:{closed.server_port}"
        closed.server_close()
        for arguments, message in [
                (["--url", nobody], "no server at " + nobody),
                (["--url", self.url, "--api", "generate"], "takes no POST at /generate"),
                (["--url", "https://127.0.0.1"], "TLS"),
                (["--url", self.url, "--request-fields", "[]"], "--request-fields"),
                (["--url", self.url, "--request-fields", '{"prompt":null}'], "status 400"),
                (["--workload", "nonsense"], "'nonsense'")]:
            with self.subTest(message):
                done = run(*arguments)
                self.assertEqual(done.returncode, 1)
                self.assertRegex(done.stderr, re.escape(message))


if __name__ == "__main__":
    at = sys.argv.index("--kvasir")
    KVASIR = os.path.abspath(sys.argv[at + 1])  # it runs in other folders
    del sys.argv[at:at + 2]
    unittest.main()
