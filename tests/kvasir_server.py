"""A running `kvasir serve`, for the tests that need one."""

import contextlib
import http.client
import json
import os
import re
import signal
import socket
import subprocess
import tempfile
import time

# Sanitizers slow the server down, so waits are generous; they end as soon as what they wait for is there.
PATIENCE_SECONDS = 120


class Server:
    """A kvasir process with a port of its own."""

    binary = None  # set by the program that runs the tests

    def __init__(self, *flags, env=None, cwd=None, kv_cache_memory="64MiB", port=0):
        self.log = tempfile.TemporaryFile()
        clean = {k: v for k, v in os.environ.items() if not k.startswith("KVASIR_")}
        # An empty folder: no .env of the checkout has a say.
        self.folder = tempfile.TemporaryDirectory()
        self.process = subprocess.Popen([self.binary, "serve", "--port", str(port), "--kv-cache-memory",
                                         kv_cache_memory, *flags], stderr=self.log, stdout=subprocess.DEVNULL,
                                        env=clean | (env or {}), cwd=cwd or self.folder.name)
        self.port = port or None

    def wait(self):
        end = time.monotonic() + PATIENCE_SECONDS
        while time.monotonic() < end and self.process.poll() is None:
            found = re.search(rb"serving .+ at http://[^:]+:(\d+)", self.output())
            if found:
                self.port = int(found[1])
                return self
            time.sleep(0.02)
        raise AssertionError(f"the server did not start: {self.output()}")

    def wait_to_listen(self):
        """Until it does, at the port that it was given; it may still be loading the model."""
        end = time.monotonic() + PATIENCE_SECONDS
        while time.monotonic() < end and self.process.poll() is None:
            with contextlib.suppress(ConnectionRefusedError), contextlib.closing(self.connect()) as connection:
                connection.connect()
                return
            time.sleep(0.02)
        raise AssertionError(f"the server does not listen: {self.output()}")

    def wait_for_output(self, text):
        end = time.monotonic() + PATIENCE_SECONDS
        while text not in self.output():
            assert time.monotonic() < end and self.process.poll() is None, self.output()
            time.sleep(0.02)

    def stop(self):
        """Asks it to end, as a service manager would; its exit status, once it has ended what was running."""
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(PATIENCE_SECONDS)

    def output(self):
        self.log.seek(0)
        return self.log.read()

    def __enter__(self):
        return self.wait()

    def __exit__(self, *_):
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()
        self.log.close()
        self.folder.cleanup()

    def connect(self):
        return http.client.HTTPConnection("127.0.0.1", self.port, timeout=PATIENCE_SECONDS)

    def request(self, method, path, body=None, headers=None):
        connection = self.connect()
        with contextlib.closing(connection):
            connection.request(method, path, body, headers or {})
            response = connection.getresponse()
            return response.status, dict(response.getheaders()), response.read()

    def generate(self, prompt, **fields):
        status, _, body = self.request("POST", "/generate", json.dumps({"prompt": prompt, **fields}))
        assert status == 200, body
        return json.loads(body)

    def stats(self):
        return json.loads(self.request("GET", "/cache/stats")[2])

    def memory_kib(self):
        """What it holds of the machine's memory now."""
        with open(f"/proc/{self.process.pid}/status", encoding="ascii") as status:
            return int(re.search(r"VmRSS:\s+(\d+)", status.read())[1])

    def raw(self, data, shutdown=False):
        """Sends bytes as they are; all that comes back until the server closes."""
        with socket.create_connection(("127.0.0.1", self.port), timeout=PATIENCE_SECONDS) as s:
            s.sendall(data)
            if shutdown:
                s.shutdown(socket.SHUT_WR)
            received = b""
            while chunk := s.recv(65536):
                received += chunk
            return received

    def wait_for(self, condition):
        end = time.monotonic() + PATIENCE_SECONDS
        while time.monotonic() < end:
            stats = self.stats()
            if condition(stats):
                return stats
            time.sleep(0.01)
        raise AssertionError(f"never came: {self.stats()}")
