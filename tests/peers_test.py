#!/usr/bin/env python3
"""The scripts of bench/peers without the peers: they compile, explain themselves, and turn results into the comparison."""

import ast
import contextlib
import http.client
import json
import pathlib
import subprocess
import sys
import threading
import unittest

PEERS = pathlib.Path(__file__).resolve().parent.parent / "bench/peers"
sys.path.insert(0, str(PEERS))

import completions_server  # noqa: E402
import report  # noqa: E402


def phase(name, **median):
    return {"phase": name, "median": {"prompt_tokens": None, "computed_tokens": None, **median}}


def comparison(ours, theirs):
    """A run of the decode workload: milliseconds between the tokens of each run, of Kvasir and of a peer."""
    return {
        "about": {"date": "2026-01-01", "cpu": "a CPU", "threads": 2, "kvasir": "abc", "versions": ["peer 1"],
                  "model": "a model", "quick": [], "context": 2560},
        "systems": {"kvasir q8_0": "ours", "llama.cpp q8_0": "theirs"},
        "results": {"decode": {name: [[phase("", inter_token_mean_ms=ms)] for ms in runs]
                               for name, runs in [("kvasir q8_0", ours), ("llama.cpp q8_0", theirs)]}},
    }


class Scripts(unittest.TestCase):
    def test_they_compile(self):
        scripts = sorted(PEERS.glob("*.py"))
        self.assertGreaterEqual(len(scripts), 6)
        for script in scripts:
            ast.parse(script.read_text(encoding="utf-8"), script.name)

    def test_help_needs_no_peers(self):
        for script in ["run.py", "install.py"]:
            done = subprocess.run([sys.executable, PEERS / script, "--help"], capture_output=True, text=True)
            self.assertEqual(done.returncode, 0, done.stderr)
            self.assertIn("--venv", done.stdout)

    def test_unknown_names_are_refused(self):
        done = subprocess.run([sys.executable, PEERS / "run.py", "--model", ".", "--peers", "nobody"], capture_output=True,
                              text=True)
        self.assertEqual(done.returncode, 2)
        self.assertIn("'nobody'", done.stderr)


class Words:
    """An engine that says a number in words."""

    name = "words"

    def complete(self, prompt, max_tokens):
        for i in range(max_tokens):
            yield f" {i}"
        return {"prompt_tokens": len(prompt.split()), "completion_tokens": max_tokens, "cached_tokens": 1}


class Adapter(unittest.TestCase):
    def setUp(self):
        self.server = completions_server.make_server(0, Words())
        self.thread = threading.Thread(target=self.server.serve_forever)
        self.thread.start()

    def tearDown(self):
        self.server.shutdown()
        self.thread.join()
        self.server.server_close()

    def request(self, method, path, body=None):
        connection = http.client.HTTPConnection("127.0.0.1", self.server.server_port, timeout=60)
        with contextlib.closing(connection):
            connection.request(method, path, None if body is None else json.dumps(body))
            answer = connection.getresponse()
            return answer.status, answer.read().decode()

    def test_streams_tokens_and_usage(self):
        status, body = self.request("POST", "/v1/completions", {"prompt": "a b c", "max_tokens": 2, "stream": True})
        self.assertEqual(status, 200)
        events = [line.removeprefix("data: ") for line in body.split("\n") if line]
        self.assertEqual(events[-1], "[DONE]")
        parsed = [json.loads(event) for event in events[:-1]]
        self.assertEqual([choice["text"] for event in parsed for choice in event["choices"]], [" 0", " 1", ""])
        self.assertEqual(parsed[-1]["usage"], {"prompt_tokens": 3, "completion_tokens": 2,
                                               "prompt_tokens_details": {"cached_tokens": 1}})

    def test_refuses_what_it_does_not_do(self):
        self.assertEqual(self.request("POST", "/v1/completions", {})[0], 400)
        self.assertEqual(self.request("POST", "/generate", {})[0], 404)
        self.assertIn("words", self.request("GET", "/v1/models")[1])


class Report(unittest.TestCase):
    def line(self, text, title):
        return next(line for line in text.splitlines() if line.startswith(f"| {title}"))

    def test_wins_and_losses_are_said_alike(self):
        won = report.render(comparison([10, 10, 10], [20, 20, 20]))
        self.assertIn("| 100 | 50.0 | llama.cpp q8_0 | 2.00x |", self.line(won, "decode"))
        lost = report.render(comparison([20, 20, 20], [10, 10, 10]))
        self.assertIn("| 0.50x (behind) |", self.line(lost, "decode"))
        self.assertIn("| decode, one sequence | 0.50 |", lost)

    def test_targets_are_reached_or_missed(self):
        title = "decode, one sequence | kvasir q8_0 / llama.cpp q8_0 | 1.2 |"
        self.assertIn("1.25 | reached |", self.line(report.render(comparison([16], [20])), title))
        self.assertIn("1.00 | missed |", self.line(report.render(comparison([20], [20])), title))

    def test_medians_and_wide_runs(self):
        text = report.render(comparison([10, 20, 12.5], [20, 20, 20]))
        self.assertIn("| 80.0 ±31% | 50.0 |", self.line(text, "decode"))
        self.assertIn("medians of 3 runs;", text)
        self.assertIn("medians of 1 to 2 runs;", report.render(comparison([10], [20, 20])))

    def test_what_failed_is_a_gap(self):
        data = comparison([10], [20])
        del data["results"]["decode"]["llama.cpp q8_0"]
        self.assertIn("| 100 | - | - | - |", self.line(report.render(data), "decode"))

    def test_unsaid_counts_are_unsaid(self):
        data = comparison([10], [20])
        data["results"]["decode"]["kvasir q8_0"][0][0]["median"].update(prompt_tokens=32, computed_tokens=8)
        self.assertIn("| decode | 8 of 32 | not said |", report.render(data))


if __name__ == "__main__":
    unittest.main()
