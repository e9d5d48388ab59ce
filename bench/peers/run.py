#!/usr/bin/env python3
"""Runs the same workloads, on the same weights, on Kvasir and on its peers, in turn, and writes the comparison.

Every server is started once and stopped (SIGSTOP) while another is measured. For each run of a workload the servers take
turns, with the same prompts; medians over the runs are compared. The peers come from install.py.
"""

import argparse
import contextlib
import json
import os
import pathlib
import shlex
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request

import install
import report

HERE = pathlib.Path(__file__).resolve().parent
ROOT = HERE.parent.parent
WORKLOADS = ["prefill", "decode", "concurrent", "rag", "repeat", "system", "chat", "branch", "long-prefill-in-decode"]
START_SECONDS = 600
# llama-server divides its context between slots: 16 of them, each with room for the longest workload.
LLAMA_SLOTS, LLAMA_SLOT_TOKENS = 16, 2560
OPENVINO_CACHE_GB = 2
KVASIR_CACHE = "2GiB"


def call(*command):
    print("+", *command, flush=True)
    subprocess.run([str(part) for part in command], check=True)


def free_port():
    with socket.create_server(("127.0.0.1", 0)) as probe:
        return probe.getsockname()[1]


class System:
    """One server under test: a command to start it, and how the load generator talks to it."""

    def __init__(self, name, describe, command, request_fields=None):
        self.name, self.describe, self.command = name, describe, command
        self.request_fields = request_fields
        self.port = free_port()
        self.process = None

    @property
    def url(self):
        return f"http://127.0.0.1:{self.port}"

    def start(self, log):
        command = [str(part) for part in self.command(self.port)]
        print("+", shlex.join(command), flush=True)
        self.process = subprocess.Popen(command, stdout=log, stderr=log, start_new_session=True)
        end = time.monotonic() + START_SECONDS
        while time.monotonic() < end:
            if self.process.poll() is not None:
                raise RuntimeError(f"{self.name} did not start; see {log.name}")
            with contextlib.suppress(OSError):
                try:
                    with urllib.request.urlopen(f"{self.url}/health", timeout=5) as answer:
                        ready = answer.status == 200
                except urllib.error.HTTPError as refused:
                    ready = refused.code == 404  # our adapters listen when they are ready
                if ready:
                    return
            time.sleep(0.2)
        raise RuntimeError(f"{self.name} was not ready after {START_SECONDS} s; see {log.name}")

    def pause(self):
        os.killpg(self.process.pid, signal.SIGSTOP)

    def go_on(self):
        os.killpg(self.process.pid, signal.SIGCONT)

    def stop(self):
        if self.process is None or self.process.poll() is not None:
            return
        self.go_on()
        self.process.terminate()
        try:
            self.process.wait(timeout=20)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()


def kvasir_systems(arguments, threads):
    for dtype in arguments.kvasir_dtypes:
        def command(port, dtype=dtype):
            return [arguments.kvasir, "serve", "--model", arguments.model, "--dtype", dtype, "--port", port, "--threads",
                    threads, "--kv-cache-memory", KVASIR_CACHE]
        yield System(f"kvasir {dtype}", f"Kvasir, weights {dtype}, KV f16", command)


def llama_systems(arguments, threads):
    venv = arguments.venv
    base = arguments.work / "bf16.gguf"
    for kind in ["q8_0", "q4_0"]:
        gguf = arguments.work / f"{kind}.gguf"
        if not gguf.exists():
            if not base.exists():
                call(install.python_of(venv), HERE / "to_gguf.py", install.llama_source(venv), arguments.model, base)
            call(install.llama_binary(venv, "llama-quantize"), "--pure", base, gguf, kind.upper(), threads)

        def command(port, gguf=gguf):
            return [install.llama_binary(venv, "llama-server"), "-m", gguf, "--port", port, "--threads", threads,
                    "--parallel", LLAMA_SLOTS, "--ctx-size", LLAMA_SLOTS * LLAMA_SLOT_TOKENS, "--no-webui"]
        yield System(f"llama.cpp {kind}", f"llama-server, {kind.upper()}, KV f16, {LLAMA_SLOTS} slots", command)


def openvino_systems(arguments, threads):
    venv = arguments.venv
    folder = arguments.work / "openvino-int8"
    if not folder.exists():
        unfinished = arguments.work / "openvino-unfinished"
        shutil.rmtree(unfinished, ignore_errors=True)
        call(venv / "bin/optimum-cli", "export", "openvino", "--model", arguments.model, "--task",
             "text-generation-with-past", "--weight-format", "int8", unfinished)
        unfinished.rename(folder)

    def command(port):
        return [install.python_of(venv), HERE / "openvino_server.py", folder, port, threads, OPENVINO_CACHE_GB]
    yield System("openvino int8", "OpenVINO GenAI continuous batching, int8, prefix cache on, behind our HTTP adapter",
                 command)


def transformers_systems(arguments, threads):
    def command(port):
        return [install.python_of(arguments.venv), HERE / "transformers_server.py", arguments.model, port, threads]
    yield System("transformers bf16", "transformers, bf16, one request after the other, behind our HTTP adapter", command)


PEERS = {"llamacpp": llama_systems, "openvino": openvino_systems, "transformers": transformers_systems}
# It computes every prompt again, one request after the other: once, and only what that says something about.
SLOW = "transformers bf16"


def measure(arguments, system, workload, run):
    """The JSON of one run of `kvasir bench serve`."""
    with tempfile.TemporaryDirectory() as folder:
        path = pathlib.Path(folder) / "result.json"
        command = [arguments.kvasir, "bench", "serve", "--url", system.url, "--workload", workload, "--runs", "1", "--seed",
                   arguments.seed + run, "--model", arguments.model, "--context", arguments.context, "--timeout",
                   arguments.timeout, "--json", path]
        if workload in arguments.quick:
            command.append("--quick")
        system.go_on()
        try:
            done = subprocess.run([str(part) for part in command], capture_output=True, text=True)
        finally:
            system.pause()
        if done.returncode != 0:
            print(f"{system.name}: {workload}: {done.stderr.strip()}", file=sys.stderr, flush=True)
            return None
        return json.loads(path.read_text())["workloads"]


@contextlib.contextmanager
def lock_held(command):
    """While it lasts, a process runs that was started by `command`, such as one that holds a lock."""
    if not command:
        yield
        return
    holder = subprocess.Popen([*shlex.split(command), "sh", "-c", "echo held; read -r line"], stdin=subprocess.PIPE,
                              stdout=subprocess.PIPE, text=True)
    try:
        holder.stdout.readline()
        yield
    finally:
        holder.stdin.close()
        holder.wait()


def compare(arguments, systems, keep):
    """Results by workload and system: a list of runs, each a list of phases. `keep` gets them after each turn."""
    results = {}
    for run in range(arguments.runs):
        for workload in arguments.workloads:
            with lock_held(arguments.wrap):
                # Each time another one goes first.
                for system in systems[run % len(systems):] + systems[:run % len(systems)]:
                    if system.name == SLOW and (run > 0 or workload not in arguments.slow_workloads):
                        continue
                    begin = time.monotonic()
                    phases = measure(arguments, system, workload, run)
                    print(f"{workload}, run {run + 1}, {system.name}: {time.monotonic() - begin:.1f} s", flush=True)
                    if phases is not None:
                        results.setdefault(workload, {}).setdefault(system.name, []).append(phases)
            keep(results)


def parse_arguments():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)

    def names(known):
        def parse(text):
            chosen = list(known) if text == "all" else text.split(",")
            for name in chosen:
                if name not in known:
                    raise argparse.ArgumentTypeError(f"'{name}': expected {', '.join(known)} or all")
            return chosen
        return parse

    def names_or_none(known):
        return lambda text: [] if text == "none" else names(known)(text)

    parser.add_argument("--model", type=pathlib.Path, help="folder of the model: config.json, *.safetensors, tokenizer.json")
    parser.add_argument("--peers", type=names_or_none(PEERS), default=list(PEERS), metavar="LIST",
                        help=f"of {', '.join(PEERS)}, or all (the default), or none")
    parser.add_argument("--workloads", type=names(WORKLOADS), default=WORKLOADS, metavar="LIST",
                        help=f"of {', '.join(WORKLOADS)}, or all (the default)")
    parser.add_argument("--slow-workloads", type=names_or_none(WORKLOADS), default=["prefill", "decode", "rag"],
                        metavar="LIST", help="those that transformers runs, once each; default: prefill,decode,rag")
    parser.add_argument("--kvasir-dtypes", type=lambda text: text.split(","), default=["q8_0", "q4_0"], metavar="LIST",
                        help="what `kvasir serve` gets as --dtype, in turn; default: q8_0,q4_0")
    parser.add_argument("--runs", type=int, default=3, help="of each workload; default: 3")
    parser.add_argument("--seed", type=int, default=1, help="of the prompts; default: 1")
    parser.add_argument("--context", type=int, default=2560, help="tokens of prompt and reply at most; default: 2560")
    parser.add_argument("--threads", type=int, default=0, help="of each server; default: all that this process may use")
    parser.add_argument("--timeout", type=int, default=600, help="seconds until a request has failed; default: 600")
    parser.add_argument("--quick", type=names_or_none(WORKLOADS), default=[], metavar="LIST",
                        help="workloads of which a quarter is run: on a slow machine the long prompts take minutes")
    parser.add_argument("--wrap", default="", metavar="COMMAND",
                        help="runs while the servers take a turn at a workload, such as 'flock FILE' on a machine with "
                        "other work")
    parser.add_argument("--kvasir", type=pathlib.Path, default=ROOT / "build/release/apps/kvasir", help="the binary")
    parser.add_argument("--venv", type=pathlib.Path, default=ROOT / "build/peers/venv", help="of install.py")
    parser.add_argument("--work", type=pathlib.Path, default=ROOT / "build/peers/work",
                        help="folder for converted models, logs and results; default: build/peers/work")
    parser.add_argument("--out", type=pathlib.Path, help="the comparison, as Markdown")
    parser.add_argument("--render", action="store_true", help="measure nothing: write --out from the last results again")
    arguments = parser.parse_args()
    if not arguments.render and arguments.model is None:
        parser.error("--model is required")
    # The versions of the peers: python and optimum-cli must be called by the names that the environment gave them.
    arguments.venv = arguments.venv.absolute()
    for name in ["model", "work", "kvasir"]:
        if getattr(arguments, name) is not None:
            setattr(arguments, name, getattr(arguments, name).resolve())
    return arguments


def main():
    arguments = parse_arguments()
    # Ended from outside it still ends its servers, of which all but one are stopped and would stay.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    arguments.work.mkdir(parents=True, exist_ok=True)
    results_path = arguments.work / "results.json"
    if not arguments.render:
        threads = arguments.threads or len(os.sched_getaffinity(0))
        systems = list(kvasir_systems(arguments, threads))
        for peer in arguments.peers:
            systems += PEERS[peer](arguments, threads)
        with contextlib.ExitStack() as stack:
            for system in systems:
                log = stack.enter_context(open(arguments.work / f"{system.name.replace(' ', '-')}.log", "wb"))
                stack.callback(system.stop)
                system.start(log)
                system.pause()
            data = {"about": report.about(arguments, threads),
                    "systems": {system.name: system.describe for system in systems}}
            compare(arguments, systems,
                    lambda results: results_path.write_text(json.dumps(data | {"results": results}, indent=1)))
    text = report.render(json.loads(results_path.read_text()))
    if arguments.out is None:
        print(text)
    else:
        arguments.out.write_text(text)


if __name__ == "__main__":
    main()
