#!/usr/bin/env python3
"""Judges Kvasir by the clients that people use: every *_test.py of this folder against servers of its own.

The clients are installed into a virtual environment that is kept. `--full` adds what needs torch.

Usage: run.py --kvasir BINARY --venv FOLDER [--full] [unittest names, such as openai_test.Chat]
"""

import argparse
import hashlib
import os
import pathlib
import subprocess
import sys
import time
import unittest

HERE = pathlib.Path(__file__).resolve().parent
# Nothing but the server under test is asked, whatever this machine is set up for.
ENVIRONMENT = {
    "NO_PROXY": "127.0.0.1", "no_proxy": "127.0.0.1", "HF_HUB_OFFLINE": "1", "HF_DATASETS_OFFLINE": "1",
    "TOKENIZERS_PARALLELISM": "false",
}


def parse_arguments():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kvasir", type=pathlib.Path, required=True, help="the binary to judge")
    parser.add_argument("--venv", type=pathlib.Path, required=True, help="folder of the virtual environment")
    parser.add_argument("--full", action="store_true", help="also what needs torch (some 5 GB)")
    parser.add_argument("names", nargs="*", help="modules, classes or tests; default: all")
    return parser.parse_args()


def install(venv, is_full):
    """The Python of a virtual environment in which exactly the pinned packages are."""
    python = venv / "bin/python"
    # What was installed with --full does for the others too.
    lists = [HERE / "requirements.txt"] + [HERE / "requirements-full.txt"] * is_full
    stamps = [venv / "installed"] + [venv / "installed-full"] * is_full
    digest = hashlib.sha256(sys.version.encode())
    wanted = []
    for path in lists:
        digest.update(path.read_bytes())
        wanted.append(digest.hexdigest())
    if all(stamp.exists() and stamp.read_text() == text for stamp, text in zip(stamps, wanted, strict=True)):
        return python
    print(f"clients: installing into {venv}", file=sys.stderr, flush=True)
    subprocess.run([sys.executable, "-m", "venv", "--clear", venv], check=True)
    pip = [python, "-m", "pip", "install", "--quiet", "--no-compile", "--disable-pip-version-check"]
    subprocess.run([*pip, "--no-deps", "-r", lists[0]], check=True)
    if is_full:
        subprocess.run([*pip, "-r", lists[0], "-r", lists[1]], check=True)
    subprocess.run([python, "-m", "pip", "check"], check=True, stdout=subprocess.DEVNULL)
    for stamp, text in zip(stamps, wanted, strict=True):
        stamp.write_text(text)
    return python


class Result(unittest.TextTestResult):
    """Says what each test took, and counts those that passed."""

    num_passed = 0

    def startTest(self, test):
        self.began = time.monotonic()
        super().startTest(test)

    def addSuccess(self, test):
        self.num_passed += 1
        self.stream.writeln(f"ok ({time.monotonic() - self.began:.1f} s)")


def run_tests(names):
    loader = unittest.TestLoader()
    if names:
        tests = loader.loadTestsFromNames(names)
    else:
        tests = loader.discover(str(HERE), pattern="*_test.py")
    result = unittest.TextTestRunner(verbosity=2, resultclass=Result).run(tests)
    num_failed = len(result.failures) + len(result.errors) + len(result.unexpectedSuccesses)
    print(f"clients: {result.num_passed} passed, {num_failed} failed, {len(result.skipped)} skipped")
    return 0 if result.num_passed > 0 and num_failed == 0 else 1


def main():
    arguments = parse_arguments()
    venv = arguments.venv.resolve()
    if pathlib.Path(sys.prefix) != venv:
        python = install(venv, arguments.full)
        environment = os.environ | ENVIRONMENT | {"HF_HOME": f"{venv}/huggingface",
                                                   "PYTHONPYCACHEPREFIX": f"{venv}/pycache"}
        os.execve(python, [python, __file__, *sys.argv[1:]], environment)
    sys.path[:0] = [str(HERE), str(HERE.parent)]
    from kvasir_server import Server
    Server.binary = str(arguments.kvasir.resolve())
    if arguments.full:
        os.environ["KVASIR_CLIENTS_FULL"] = "1"
    return run_tests(arguments.names)


if __name__ == "__main__":
    sys.exit(main())
