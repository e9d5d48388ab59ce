"""schemathesis against /openapi.json: whatever is sent, no server error, and only statuses that the document names."""

import os
import pathlib
import subprocess
import sys
import tempfile
import unittest

from kvasir_server import Server

HERE = pathlib.Path(__file__).resolve().parent
CHECKS = "not_a_server_error,status_code_conformance,content_type_conformance,response_schema_conformance"
MAX_EXAMPLES = 40
MAX_SECONDS = 120


class Schema(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.server = Server("--max-running-requests", "16").wait()
        cls.addClassCleanup(cls.server.__exit__)

    @classmethod
    def tearDownClass(cls):
        if (status := cls.server.stop()) != 0:
            raise AssertionError(f"the server ended with {status}: {cls.server.output().decode()}")

    def test_generated_requests(self):
        with tempfile.TemporaryDirectory() as folder:
            done = subprocess.run(
                [sys.executable, "-m", "schemathesis.cli", "--config-file", HERE / "schemathesis.toml", "run",
                 f"http://127.0.0.1:{self.server.port}/openapi.json", "--checks", CHECKS,
                 "--phases", "examples,coverage,fuzzing", "--max-examples", str(MAX_EXAMPLES),
                 "--generation-deterministic", "--no-shrink", "--continue-on-failure",
                 "--request-timeout", "60", "--no-color"],
                cwd=folder, env=os.environ, capture_output=True, text=True, timeout=10 * MAX_SECONDS)
        print(done.stdout[-600:], flush=True)
        self.assertEqual(done.returncode, 0, done.stdout + done.stderr)
        self.server.wait_for(lambda stats: stats["requests_running"] == 0)
