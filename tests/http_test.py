#!/usr/bin/env python3
"""End-to-end tests of `kvasir serve`: a real process, real sockets, the embedded model.

Usage: http_test.py --kvasir BINARY [unittest arguments]
"""

import concurrent.futures
import contextlib
import json
import os
import pathlib
import resource
import signal
import socket
import subprocess
import sys
import tempfile
import time
import unittest

from kvasir_server import PATIENCE_SECONDS, Server

DATA = pathlib.Path(__file__).resolve().parent / "data"
KVASIR = None


def facts(first, count):
    names = ["Alice", "Ben", "Clara", "David", "Ella", "Felix", "Grace", "Hugo"]
    return "Here are some facts." + "".join(
        f" {names[i % 8]} has {i * 37 % 101} pears and {i * 53 % 97} plums in box {i}." for i in range(first, first + count))


class CacheScenarios(unittest.TestCase):
    """The original's benchmark scenarios."""

    def test_lru_keeps_three_of_five(self):
        with Server("--max-entries", "3") as server:
            for i in range(5):
                server.generate(f"{i} {facts(i, 3)}", max_new_tokens=1)
            stats = server.stats()
            self.assertEqual((stats["cache_size"], stats["evictions_lru"], stats["capacity"]), (3, 2, 3))
            self.assertFalse(server.generate(f"0 {facts(0, 3)}", max_new_tokens=1)["prefix_cache_hit"])
            self.assertTrue(server.generate(f"4 {facts(4, 3)}", max_new_tokens=1)["prefix_cache_hit"])

    def test_access_renews_lru_order(self):
        with Server("--max-entries", "3") as server:
            prompts = [f"{i} {facts(i, 3)}" for i in range(4)]
            for prompt in prompts[:3]:
                server.generate(prompt, max_new_tokens=1)
            self.assertTrue(server.generate(prompts[0], max_new_tokens=1)["prefix_cache_hit"])
            server.generate(prompts[3], max_new_tokens=1)  # in place of prompts[1]
            self.assertTrue(server.generate(prompts[0], max_new_tokens=1)["prefix_cache_hit"])
            self.assertFalse(server.generate(prompts[1], max_new_tokens=1)["prefix_cache_hit"])

    def test_ttl_is_absolute(self):
        with Server("--max-age-seconds", "2") as server:
            prompt = facts(0, 3)
            begin = time.monotonic()
            server.generate(prompt, max_new_tokens=1)
            inserted = time.monotonic()
            hit = server.generate(prompt, max_new_tokens=1)["prefix_cache_hit"]
            if time.monotonic() - begin < 2:
                self.assertTrue(hit)
            while time.monotonic() - inserted < 2.05:
                time.sleep(0.05)
            self.assertFalse(server.generate(prompt, max_new_tokens=1)["prefix_cache_hit"])
            self.assertEqual(server.stats()["evictions_ttl"], 1)

    def test_exact_hit_runs_no_forward(self):
        with Server() as server:
            cold = server.generate(facts(0, 20))
            warm = server.generate(facts(0, 20))
            self.assertEqual(warm["text"], cold["text"])
            self.assertFalse(cold["prefix_cache_hit"])
            self.assertNotIn("prefix_tokens_saved", cold["timings"])
            timings = warm["timings"]
            self.assertTrue(warm["prefix_cache_hit"])
            self.assertLess(timings["ttft_ms"], 1)
            self.assertEqual(timings["suffix_tokens_processed"], 0)
            self.assertEqual(timings["cached_tokens"], timings["total_prompt_tokens"])
            self.assertEqual(timings["prefix_tokens_saved"], timings["total_prompt_tokens"])

    def test_context_with_four_questions_reuses_98_percent(self):
        with Server() as server:
            context = facts(0, 18)
            primed = server.generate(context, max_new_tokens=1)["timings"]["total_prompt_tokens"]
            self.assertGreater(primed, 400)
            total = cached = 0
            for name in ("Alice", "Ben", "Clara", "Ella"):
                timings = server.generate(context + f" {name}?", max_new_tokens=5)["timings"]
                total += timings["total_prompt_tokens"]
                cached += timings["cached_tokens"]
                self.assertEqual(timings["cached_tokens"] + timings["suffix_tokens_processed"],
                                 timings["total_prompt_tokens"])
            self.assertGreaterEqual(cached / total, 0.98)
            self.assertGreaterEqual(server.stats()["cached_tokens_reused"], cached)

    def test_four_simultaneous_cold_prefixes_are_computed_once(self):
        with Server() as server:
            prompt = facts(0, 30)
            with concurrent.futures.ThreadPoolExecutor(4) as pool:
                replies = list(pool.map(lambda _: server.generate(prompt, max_new_tokens=20), range(4)))
            self.assertEqual(len({reply["text"] for reply in replies}), 1)
            tokens = replies[0]["prompt_tokens"]
            stats = server.stats()
            self.assertEqual(stats["prompt_tokens"], 4 * tokens)
            self.assertEqual(stats["prompt_tokens_computed"], tokens)

    def test_every_way_gives_the_same_text(self):
        with Server() as server:
            prompt = facts(3, 6)
            texts = {server.generate(prompt, max_new_tokens=24, **options)["text"]
                     for options in ({}, {}, {"use_prefix_cache": False}, {"use_cache": False}, {"cache_salt": "x"})}
            self.assertEqual(len(texts), 1)

    def test_salts_share_nothing(self):
        with Server() as server:
            prompt = facts(0, 5)
            server.generate(prompt, max_new_tokens=1)
            self.assertFalse(server.generate(prompt, max_new_tokens=1, cache_salt="a")["prefix_cache_hit"])
            self.assertTrue(server.generate(prompt, max_new_tokens=1, cache_salt="a")["prefix_cache_hit"])
            self.assertFalse(server.generate(prompt, max_new_tokens=1, cache_salt="b")["prefix_cache_hit"])

    def test_short_prompts_are_not_cached(self):
        with Server() as server:
            server.generate("Hi", max_new_tokens=1)
            self.assertFalse(server.generate("Hi", max_new_tokens=1)["prefix_cache_hit"])
            self.assertEqual(server.stats()["cache_size"], 0)

    def test_clear_tells_what_it_freed(self):
        with Server() as server:
            server.generate(facts(0, 5), max_new_tokens=1)
            status, _, body = server.request("POST", "/cache/clear")
            cleared = json.loads(body)
            self.assertEqual(status, 200)
            self.assertEqual((cleared["status"], cleared["message"]), ("success", "Prefix cache cleared"))
            self.assertEqual(cleared["entries_freed"], 1)
            self.assertGreater(cleared["blocks_freed"], 0)
            self.assertFalse(server.generate(facts(0, 5), max_new_tokens=1)["prefix_cache_hit"])


class Http(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.server = Server().wait()

    @classmethod
    def tearDownClass(cls):
        cls.server.__exit__()

    def expect_error(self, status, method, path, body=None, param=None, headers=None):
        got, response_headers, text = self.server.request(method, path, body, headers)
        self.assertEqual(got, status, text)
        error = json.loads(text)["error"]
        self.assertEqual(error["param"], param, error)
        self.assertEqual(error["code"], status)
        self.assertTrue(error["message"] and error["type"])
        return response_headers

    def test_bad_fields_are_named(self):
        bad = [("prompt", 1), ("prompt", None), ("max_new_tokens", 0), ("max_new_tokens", -1), ("max_new_tokens", 1.5),
               ("max_new_tokens", "9"), ("max_new_tokens", 2**70), ("use_cache", 1), ("use_prefix_cache", "yes"),
               ("temperature", -1), ("temperature", "hot"), ("top_p", 2), ("top_k", -2), ("min_p", -0.1),
               ("repetition_penalty", 0), ("seed", 0.5), ("seed", 0.5), ("stop", 3), ("stop", [""]), ("stop", ["a", 1]),
               ("stop", ["a"] * 17), ("cache_salt", []), ("cache_salt", "x" * 1025), ("stream", 0), ("nonsense", 1)]
        for field, value in bad:
            with self.subTest(field=field, value=value):
                self.expect_error(400, "POST", "/generate", json.dumps({"prompt": "a", field: value}), field)

    def test_bad_bodies(self):
        for body in (b"", b"{", b"[]", b"null", b'"x"', b"{}", b'{"prompt":"\xff"}', b'{"prompt":"a"} x',
                     b'{"a":' * 1000 + b"1" + b"}" * 1000):
            with self.subTest(body=body[:20]):
                param = "prompt" if body == b"{}" else None
                self.expect_error(400, "POST", "/generate", body, param)

    def test_prompts_that_do_not_fit(self):
        self.expect_error(400, "POST", "/generate", json.dumps({"prompt": "a b c d " * 2000}), "prompt")

    def test_replies_have_a_size(self):
        # A small request must not be a reply of gigabytes.
        many = {"prompt": [[5] * 800], "n": 128, "max_tokens": 1}
        for fields, param in (({"prompt_logprobs": 20}, "prompt_logprobs"), ({"echo": True, "logprobs": 20}, "logprobs")):
            headers_and_body = self.server.request("POST", "/v1/completions", json.dumps(many | fields))
            self.assertEqual((headers_and_body[0], json.loads(headers_and_body[2])["error"]["param"]), (400, param))
        tokens = json.dumps({"tokens": [5] * (2**20 + 1)})
        self.assertEqual(self.server.request("POST", "/detokenize", tokens)[0], 400)
        text = json.dumps({"content": "?!" * 2**18, "with_pieces": True})
        self.assertEqual(self.server.request("POST", "/tokenize", text)[0], 400)

    def test_routes_and_methods(self):
        self.expect_error(404, "GET", "/nothing")
        self.assertEqual(self.expect_error(405, "GET", "/generate")["Allow"], "POST")
        self.assertEqual(self.expect_error(405, "POST", "/health")["Allow"], "GET")
        self.assertEqual(self.server.request("GET", "/health")[::2], (200, b'{"status":"ok"}'))
        self.assertEqual(self.server.request("GET", "/health/live")[0], 200)
        self.assertIn("version", json.loads(self.server.request("GET", "/version")[2]))
        body = json.dumps({"prompt": "Hi", "max_new_tokens": 1})
        self.assertIn(b'"finish_reason"', self.server.request("POST", "/generate?x=1", body)[2])

    def test_too_large(self):
        refused = self.server.raw(b"POST /generate HTTP/1.1\r\nHost: x\r\nContent-Length: 999999999\r\n\r\n")
        self.assertIn(b" 413 ", refused)
        self.assertIn(b"Content-Type: application/json", refused)
        self.assertIn(b" 431 ", self.server.raw(b"GET /health HTTP/1.1\r\nHost: x\r\nX: " + b"y" * 20000 + b"\r\n\r\n"))

    def test_malformed_http(self):
        for data in (b"nonsense\r\n\r\n", b"GET / HTTP/9.9\r\n\r\n", b"GET /\r\n\r\n",
                     b"POST /generate HTTP/1.1\r\nContent-Length: -1\r\n\r\n",
                     b"POST /generate HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n"):
            with self.subTest(data=data[:30]):
                self.assertIn(b" 400 ", self.server.raw(data))
        self.assertEqual(self.server.raw(b"\x00\x01\x02" * 10, shutdown=True)[:12].count(b"HTTP/1.1 200"), 0)
        self.assertEqual(self.server.raw(b"POST /generate HTTP/1.1\r\nContent-Length: 10\r\n\r\n{", shutdown=True), b"")
        self.assertEqual(self.server.request("GET", "/health")[0], 200)

    def test_what_has_no_end_is_refused(self):
        # The line before a chunk counts as neither header nor body.
        endless = b"POST /generate HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n1;" + b"a" * 200000
        self.assertIn(b" 400 ", self.server.raw(endless))

    def test_keys_are_checked_before_bodies_are_read(self):
        post = b"POST /generate HTTP/1.1\r\nHost: x\r\nContent-Length: 10000000\r\n"
        with Server("--api-key", "good") as server:
            self.assertIn(b" 401 ", server.raw(post + b"\r\n"))
            # A client that sends all before it reads gets the answer as well.
            self.assertIn(b" 401 ", server.raw(post + b"Authorization: Bearer bad\r\n\r\n" + b" " * 10000000))
            self.assertEqual(server.request("GET", "/health")[0], 200)

    def test_head_has_no_body(self):
        head = b"HEAD %b HTTP/1.1\r\nHost: x\r\n\r\n"
        last = b"GET /health HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"
        headers = self.server.raw(head % b"/health" + head % b"/nothing" + head % b"/generate" + last).split(b"\r\n\r\n")
        self.assertEqual([h[:13] for h in headers[:4]], [b"HTTP/1.1 %d " % s for s in (200, 404, 405, 200)])
        self.assertIn(b"Content-Length: 15", headers[0])
        self.assertEqual(headers[4:], [b'{"status":"ok"}'])

    def test_keep_alive_and_pipelining(self):
        connection = self.server.connect()
        for _ in range(3):
            connection.request("GET", "/health")
            self.assertEqual(connection.getresponse().read(), b'{"status":"ok"}')
        connection.close()
        one = b"GET /health HTTP/1.1\r\nHost: x\r\n\r\n"
        last = b"GET /health HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"
        self.assertEqual(self.server.raw(one + one + last).count(b"HTTP/1.1 200"), 3)

    def test_stream_is_the_whole_reply_in_pieces(self):
        body = json.dumps({"prompt": facts(0, 4), "max_new_tokens": 20, "stream": True})
        status, headers, text = self.server.request("POST", "/generate", body)
        self.assertEqual((status, headers["Content-Type"]), (200, "text/event-stream"))
        events = [json.loads(event.removeprefix("data: ")) for event in text.decode().split("\n\n") if event]
        whole = events.pop()
        self.assertEqual("".join(event["text"] for event in events), whole["text"])
        self.assertGreaterEqual(len(events), whole["generated_tokens"])
        self.assertEqual(whole["text"], self.server.generate(facts(0, 4), max_new_tokens=20)["text"])

    def test_http_1_0_stream_ends_with_the_connection(self):
        body = json.dumps({"prompt": "Once upon a time", "max_new_tokens": 5, "stream": True}).encode()
        data = self.server.raw(b"POST /generate HTTP/1.0\r\nContent-Length: %d\r\n\r\n" % len(body) + body)
        self.assertTrue(data.split(b"\r\n\r\n", 1)[1].startswith(b"data: "))

    def test_stop_strings_end_the_text(self):
        whole = self.server.generate(facts(0, 4), max_new_tokens=40)
        text = whole["text"]
        self.assertGreater(len(text), 8)
        stop = text[4:7]
        reply = self.server.generate(facts(0, 4), max_new_tokens=40, stop=["never to be seen", stop])
        self.assertEqual(reply["text"], text[:text.index(stop)])
        self.assertEqual(reply["finish_reason"], "stop")

    def test_the_end_token_can_be_ignored(self):
        case = json.loads((DATA / "tiny/cases.jsonl").read_text().splitlines()[0])
        prompt = case["prompt"].removeprefix("<s>")
        reply = self.server.generate(prompt, max_new_tokens=100)
        self.assertEqual(reply["finish_reason"], "stop")
        longer = self.server.generate(prompt, max_new_tokens=100, ignore_eos=True)
        self.assertEqual((longer["finish_reason"], longer["generated_tokens"]), ("length", 100))
        self.assertTrue(longer["text"].startswith(reply["text"]))

    def test_length_and_seed(self):
        reply = self.server.generate(facts(0, 4), max_new_tokens=3)
        if reply["finish_reason"] == "length":
            self.assertEqual(reply["generated_tokens"], 3)
        drawn = [self.server.generate(facts(0, 4), max_new_tokens=12, temperature=1.5, seed=seed)["text"]
                 for seed in (1, 1, 2, 3, 4, 5)]
        self.assertEqual(drawn[0], drawn[1])
        self.assertGreater(len(set(drawn)), 2)


class Load(unittest.TestCase):
    def test_a_client_that_leaves_cancels_its_request(self):
        with Server("--max-running-requests", "1") as server:
            body = json.dumps({"prompt": facts(0, 40), "max_new_tokens": 100, "use_cache": False}).encode()
            s = socket.create_connection(("127.0.0.1", server.port))
            s.sendall(b"POST /generate HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n" % len(body) + body)
            server.wait_for(lambda stats: stats["requests_running"] == 1)
            s.close()
            stats = server.wait_for(lambda stats: stats["requests_running"] == 0)
            self.assertLess(stats["generated_tokens"], 100)

    def test_a_full_queue_is_429(self):
        with Server("--max-running-requests", "1", "--max-queued-requests", "2") as server:
            def ask(i):
                body = json.dumps({"prompt": f"{i} {facts(i, 30)}", "max_new_tokens": 20, "use_cache": False})
                status, headers, _ = server.request("POST", "/generate", body)
                return status, headers.get("Retry-After")
            # What never fits is not told to try again.
            for route, body in (("/v1/completions", {"prompt": ["a", "b", "c"]}), ("/v1/completions", {"prompt": "a", "n": 3}),
                                ("/v1/embeddings", {"input": ["a", "b", "c"]})):
                self.assertEqual(server.request("POST", route, json.dumps(body))[0], 400, body)
            with concurrent.futures.ThreadPoolExecutor(12) as pool:
                replies = list(pool.map(ask, range(12)))
            self.assertEqual({status for status, _ in replies}, {200, 429})
            self.assertEqual({retry for status, retry in replies if status == 429}, {"1"})

    def test_sigterm_finishes_what_runs(self):
        with Server() as server:
            with concurrent.futures.ThreadPoolExecutor(1) as pool:
                future = pool.submit(server.generate, facts(0, 30), max_new_tokens=30, use_cache=False)
                server.wait_for(lambda stats: stats["requests_running"] == 1)
                server.process.send_signal(signal.SIGTERM)
                self.assertGreater(future.result()["generated_tokens"], 0)
            self.assertEqual(server.process.wait(PATIENCE_SECONDS), 0)

    def test_a_second_sigterm_ends_at_once(self):
        with Server() as server:
            body = json.dumps({"prompt": facts(0, 60), "max_new_tokens": 500, "use_cache": False}).encode()
            with socket.create_connection(("127.0.0.1", server.port)) as s:
                s.sendall(b"POST /generate HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n" % len(body) + body)
                server.wait_for(lambda stats: stats["requests_running"] == 1)
                server.process.send_signal(signal.SIGTERM)
                server.wait_for_output(b"stopping")
                server.process.send_signal(signal.SIGTERM)
                self.assertEqual(server.process.wait(10), 128 + signal.SIGTERM)

    def test_a_thousand_idle_connections_and_64_streams(self):
        _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        resource.setrlimit(resource.RLIMIT_NOFILE, (min(hard, 4096), hard))
        with Server() as server, contextlib.ExitStack() as stack:
            idle = []
            for _ in range(1000):
                connection = stack.enter_context(contextlib.closing(server.connect()))
                connection.request("GET", "/health")
                connection.getresponse().read()
                idle.append(connection)

            def stream(i):
                body = json.dumps({"prompt": f"{i} {facts(i, 3)}", "max_new_tokens": 30, "stream": True})
                status, _, text = server.request("POST", "/generate", body)
                events = [event for event in text.decode().split("\n\n") if event]
                return status, json.loads(events[-1].removeprefix("data: "))

            used = []
            for _ in range(3):
                with concurrent.futures.ThreadPoolExecutor(64) as pool:
                    for status, whole in pool.map(stream, range(64)):
                        self.assertEqual(status, 200)
                        self.assertIn("finish_reason", whole)
                used.append(server.memory_kib())
            self.assertLess(used[2] - used[1], 16 * 1024)
            for connection in idle:
                connection.request("GET", "/health")
                self.assertEqual(connection.getresponse().read(), b'{"status":"ok"}')


class CommandLine(unittest.TestCase):
    def run_kvasir(self, *arguments, stdin="", cwd=None, env=None):
        with tempfile.TemporaryDirectory() as folder:
            clean = {k: v for k, v in os.environ.items() if not k.startswith("KVASIR_")}
            return subprocess.run([KVASIR, *arguments], input=stdin, capture_output=True, text=True,
                                  timeout=PATIENCE_SECONDS, cwd=cwd or folder, env=clean | (env or {}))

    def expect_failure(self, *arguments, stdin="", **kwargs):
        result = self.run_kvasir(*arguments, stdin=stdin, **kwargs)
        self.assertEqual(result.returncode, 1, result)
        return result.stderr

    def test_version_and_help(self):
        self.assertRegex(self.run_kvasir("version").stdout, r"^kvasir \d+\.\d+\.\d+\n$")
        for command in ([], ["serve"], ["generate"], ["tokenize"], ["logits"], ["bench"]):
            result = self.run_kvasir(*command, "--help")
            self.assertEqual(result.returncode, 0)
            self.assertIn("Usage", result.stdout)

    def test_wrong_input_is_one_clear_line(self):
        self.assertIn("/nonexistent", self.expect_failure("serve", "--model", "/nonexistent", "--port", "0"))
        self.assertIn("--block-size", self.expect_failure("serve", "--block-size", "x"))
        self.assertIn("multiple of 16", self.expect_failure("serve", "--block-size", "17"))
        self.assertIn("'frobnicate' is not a command", self.expect_failure("frobnicate"))
        self.assertIn("/nowhere", self.expect_failure("serve", "--chat-template", "/nowhere"))
        self.assertIn("'foo'", self.expect_failure("serve", "--cors-origin", "foo"))
        self.assertIn("--kv-cache-memory", self.expect_failure("serve", "--kv-cache-memory", "lots"))
        self.assertIn("expected at least", self.expect_failure("serve", "--kv-cache-memory", "1KiB", "--port", "0"))
        too_much = self.expect_failure("serve", "--kv-cache-memory", "100000TiB", "--port", "0")
        self.assertRegex(too_much, r"weights \d+ MiB, KV cache \d+\.\d GiB, scratch \d+ MiB are more than the [\d.]+ .iB "
                                   r"that this process may use; a smaller --kv-cache-memory")
        self.assertIn("KVASIR_ISA", self.expect_failure("logits", env={"KVASIR_ISA": "mmx"}))
        self.assertIn("line 2", self.expect_failure("tokenize", stdin='{"text":"a"}\n{"tex":1}\n'))
        self.assertIn("ids below", self.expect_failure("logits", stdin='{"tokens":[99999]}\n'))
        self.assertIn("ids below", self.expect_failure("tokenize", stdin='{"ids":[99999]}\n'))

    def test_an_empty_key_or_address_is_refused(self):
        for flags, env in ((["--api-key", "a,,b"], {}), ([], {"KVASIR_ADMIN_KEY": ","}), (["--api-key-file", ""], {}),
                           (["--host", ""], {})):
            with self.subTest(flags=flags, env=env):
                self.assertIn("empty", self.expect_failure("serve", *flags, env=env))
        with Server(env={"KVASIR_API_KEYS": "misspelt"}) as server:
            self.assertIn(b"KVASIR_API_KEYS is set and is not a setting", server.output())

    @unittest.skipUnless(os.path.exists("/dev/full"), "skipped: no /dev/full")
    def test_output_that_cannot_be_written_is_an_error(self):
        with open("/dev/full", "w", encoding="ascii") as full:
            result = subprocess.run([Server.binary, "version"], stdout=full, stderr=subprocess.PIPE, check=False)
        self.assertEqual(result.returncode, 1)
        self.assertIn(b"standard output", result.stderr)

    def test_a_port_in_use(self):
        with socket.socket() as taken:
            taken.bind(("127.0.0.1", 0))
            taken.listen()
            port = str(taken.getsockname()[1])
            self.assertIn(f"127.0.0.1:{port}", self.expect_failure("serve", "--port", port))

    def test_environment_and_dotenv(self):
        with tempfile.TemporaryDirectory() as folder:
            path = pathlib.Path(folder) / ".env"
            path.write_text("# comment\nKVASIR_MAX_ENTRIES=7\nexport KVASIR_MIN_TOKENS='5'\nKVASIR_LOG_LEVEL=\n")
            with Server(cwd=folder) as server:
                self.assertEqual(server.stats()["capacity"], 7)
            with Server(cwd=folder, env={"KVASIR_MAX_ENTRIES": "8"}) as server:
                self.assertEqual(server.stats()["capacity"], 8)
            with Server("--max-entries", "9", cwd=folder, env={"KVASIR_MAX_ENTRIES": "8"}) as server:
                self.assertEqual(server.stats()["capacity"], 9)
            path.write_text("\ufeffKVASIR_MAX_ENTRIES=7 # few\nKVASIR_SERVED_MODEL_NAME=\"a # b\" # quoted\nKVASIR_API_KEY=#none\n")
            with Server(cwd=folder) as server:
                self.assertEqual(server.stats()["capacity"], 7)
                self.assertEqual(json.loads(server.request("GET", "/v1/models")[2])["data"][0]["id"], "a # b")
            path.write_text("KVASIR_PORT=1\nsecret line\n")
            refused = self.expect_failure("version", cwd=folder)
            self.assertIn(".env:2", refused)
            self.assertNotIn("secret", refused)
            path.write_text("KVASIR_PORT=many\n")
            self.assertIn("KVASIR_PORT is set to that", self.expect_failure("version", cwd=folder))
            path.unlink()
            path.mkdir()
            self.assertIn("cannot be read", self.expect_failure("version", cwd=folder))

    def test_tokenize_round_trip(self):
        lines = '{"text":"Hello, world"}\n{"text":"Hello, world","add_special_tokens":false}\n'
        with_bos, plain = (json.loads(line)["ids"] for line in self.run_kvasir("tokenize", stdin=lines).stdout.splitlines())
        self.assertEqual(with_bos, [1, *plain])
        back = self.run_kvasir("tokenize", stdin=json.dumps({"ids": with_bos}) + "\n" +
                               json.dumps({"ids": with_bos, "skip_special_tokens": False}) + "\n").stdout.splitlines()
        self.assertEqual([json.loads(line)["text"] for line in back], ["Hello, world", "<s>Hello, world"])

    def test_logits_are_those_of_transformers(self):
        goldens = json.loads((DATA / "models/llama-gqa/goldens.json").read_text())["cases"]
        lines = "".join(json.dumps({"tokens": case["prompt"]}) + "\n" for case in goldens)
        output = self.run_kvasir("logits", "--model", str(DATA / "models/llama-gqa"), "--dtype", "f32", stdin=lines)
        for case, line in zip(goldens, output.stdout.splitlines(), strict=True):
            for got, expected in zip(json.loads(line)["logits"], case["last_logits"], strict=True):
                self.assertAlmostEqual(got, expected, delta=1e-4)

    def test_embedded_model_answers_questions(self):
        """At least 45 of 50 held-out cases."""
        cases = [json.loads(line) for line in (DATA / "tiny/cases.jsonl").read_text().splitlines()]
        self.assertEqual(len(cases), 50)
        with Server() as server:
            with concurrent.futures.ThreadPoolExecutor(8) as pool:
                prompts = [case["prompt"].removeprefix("<s>") for case in cases]
                replies = list(pool.map(lambda prompt: server.generate(prompt, max_new_tokens=60)["text"], prompts))
        right = sum(case["answer"] in reply for case, reply in zip(cases, replies))
        self.assertGreaterEqual(right, 45)


if __name__ == "__main__":
    at = sys.argv.index("--kvasir")
    KVASIR = Server.binary = sys.argv[at + 1]
    del sys.argv[at:at + 2]
    unittest.main()
