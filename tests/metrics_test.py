#!/usr/bin/env python3
"""GET /metrics of a running server: every metric moves, and promtool has nothing to say but what vLLM's names bring.

Usage: metrics_test.py --kvasir BINARY [unittest arguments]
"""

import concurrent.futures
import contextlib
import json
import re
import shutil
import subprocess
import sys
import time
import unittest

from kvasir_server import PATIENCE_SECONDS, Server

SAMPLE = re.compile(r"^(\w+:\w+)\{(.*)\} (\S+)$", re.MULTILINE)


def scrape(server):
    """Name and labels without model_name -> value."""
    status, headers, body = server.request("GET", "/metrics")
    assert status == 200, body
    assert headers["Content-Type"].startswith("text/plain; version=0.0.4"), headers
    samples = {}
    for name, labels, value in SAMPLE.findall(body.decode()):
        pairs = dict(re.findall(r'(\w+)="([^"]*)"', labels))
        assert pairs.pop("model_name"), name
        samples[(name.removeprefix("vllm:"), *pairs.values())] = float(value)
    return samples


def complete(server, prompt, tokens, **fields):
    body = {"prompt": prompt, "max_tokens": tokens, "ignore_eos": True, "temperature": 0, **fields}
    status, _, reply = server.request("POST", "/v1/completions", json.dumps(body))
    return status, json.loads(reply)


def words(count, first=0):
    return " ".join(f"box {i * 37 % 1013}" for i in range(first, first + count))


class Metrics(unittest.TestCase):
    def wait_for(self, server, condition):
        end = time.monotonic() + PATIENCE_SECONDS
        while time.monotonic() < end:
            samples = scrape(server)
            if condition(samples):
                return samples
            time.sleep(0.005)
        self.fail(f"never came: {samples}")

    def test_all_begin_at_zero(self):
        with Server() as server:
            self.assertEqual(set(scrape(server).values()), {0.0})

    def test_replies_are_in_counters_and_histograms(self):
        with Server() as server:
            prompt = words(30)
            [first, second] = [complete(server, prompt, 5)[1] for _ in range(2)]
            stopped = complete(server, prompt, 50, stop=[" ", "a", "e", "i"])[1]
            samples = scrape(server)
            usages = [reply["usage"] for reply in (first, second, stopped)]
            self.assertEqual(samples["prompt_tokens_total",], sum(usage["prompt_tokens"] for usage in usages))
            self.assertEqual(samples["prefix_cache_queries_total",], samples["prompt_tokens_total",])
            cached = sum(usage["prompt_tokens_details"]["cached_tokens"] for usage in usages)
            self.assertGreater(cached, 0)
            self.assertEqual(samples["prefix_cache_hits_total",], cached)
            # The engine may have been a token ahead of the stop string.
            self.assertGreaterEqual(samples["generation_tokens_total",], 10 + usages[2]["completion_tokens"])
            self.assertEqual(samples["request_success_total", "length"], 2)
            self.assertEqual(samples["request_success_total", "stop"], 1)
            for name in ("time_to_first_token", "e2e_request_latency", "request_queue_time", "request_prefill_time",
                         "request_decode_time"):
                self.assertEqual(samples[f"{name}_seconds_count",], 3, name)
                self.assertEqual(samples[f"{name}_seconds_bucket", "+Inf"], 3, name)
                self.assertGreater(samples[f"{name}_seconds_sum",], 0, name)
            intervals = sum(usage["completion_tokens"] - 1 for usage in usages)
            self.assertEqual(samples["inter_token_latency_seconds_count",], intervals)
            self.assertGreater(samples["inter_token_latency_seconds_sum",], 0)
            self.assertGreaterEqual(samples["e2e_request_latency_seconds_sum",], samples["request_decode_time_seconds_sum",])

    def test_every_choice_is_a_reply(self):
        with Server() as server:
            complete(server, words(5), 3, n=4, temperature=1, seed=1)
            self.assertEqual(scrape(server)["request_success_total", "length"], 4)

    def test_running_waiting_and_memory(self):
        with Server("--max-running-requests", "1") as server, concurrent.futures.ThreadPoolExecutor(3) as pool:
            is_over = False

            def work(first):
                while not is_over:
                    complete(server, words(20, first), 200)

            futures = [pool.submit(work, 100 * i) for i in range(3)]
            try:
                busy = self.wait_for(server, lambda samples: samples["num_requests_running",] and samples["num_requests_waiting",])
                self.assertEqual(busy["num_requests_running",], 1)
                self.assertIn(busy["num_requests_waiting",], (1, 2))
                self.assertTrue(0 < busy["kv_cache_usage_perc",] <= 1, busy)
            finally:
                is_over = True
            for future in futures:
                future.result()
            idle = self.wait_for(server, lambda samples: not samples["num_requests_running",])
            self.assertEqual(idle["num_requests_waiting",], 0)
            self.assertEqual(idle["kv_cache_usage_perc",], 0)

    def test_preemptions(self):
        # Replies that cannot all be in memory at once, though each of them can.
        with Server(kv_cache_memory="2MiB") as server, concurrent.futures.ThreadPoolExecutor(8) as pool:
            for attempt in range(20):
                replies = pool.map(lambda i: complete(server, words(10, 1000 * attempt + 50 * i), 300)[0], range(8))
                self.assertEqual(set(replies), {200})
                if scrape(server)["num_preemptions_total",] > 0:
                    return
            self.fail("no request gave way")

    def test_a_client_that_goes_away(self):
        with Server() as server:
            with contextlib.closing(server.connect()) as connection:
                # Enough work that it cannot be done before the server has noticed.
                body = {"prompt": words(10), "max_tokens": 1500, "n": 64, "ignore_eos": True, "stream": True}
                connection.request("POST", "/v1/completions", json.dumps(body))
                connection.getresponse().read(1)
            samples = self.wait_for(server, lambda samples: samples["request_success_total", "abort"])
            self.assertEqual(samples["request_success_total", "abort"], 64)
            self.assertEqual(samples["e2e_request_latency_seconds_count",], 0)

    def test_a_deadline_that_is_missed(self):
        with Server("--request-timeout", "1") as server:
            # More than a second's work, on any machine.
            status, reply = complete(server, words(10), 1900, n=128, temperature=1)
            self.assertEqual(status, 504, reply)
            self.assertGreater(scrape(server)["request_success_total", "error"], 0)

    @unittest.skipUnless(shutil.which("promtool"), "no promtool (Debian's package prometheus)")
    def test_promtool_finds_nothing_but_the_colon(self):
        with Server() as server:
            complete(server, words(5), 3)
            text = server.request("GET", "/metrics")[2]
        found = subprocess.run(["promtool", "check", "metrics"], input=text, capture_output=True, check=False)
        problems = (found.stdout + found.stderr).decode().splitlines()
        # vLLM's names have one, which Prometheus itself would keep for recording rules.
        self.assertEqual([line for line in problems if not line.endswith("metric names should not contain ':'")], [])
        self.assertEqual(len(problems), text.count(b"# TYPE "))


if __name__ == "__main__":
    Server.binary = sys.argv.pop(sys.argv.index("--kvasir") + 1)
    sys.argv.remove("--kvasir")
    unittest.main()
