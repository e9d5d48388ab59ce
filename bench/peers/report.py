"""The comparison as Markdown, from what run.py has measured."""

import datetime
import json
import pathlib
import platform
import re
import statistics
import subprocess

import install

WIDE_SPREAD = 0.10
PACKAGES = ["openvino", "openvino-genai", "optimum-intel", "nncf", "transformers", "torch"]
SIMD_FLAGS = {"avx2": "AVX2", "avx_vnni": "AVX-VNNI", "avx512f": "AVX-512", "avx512_vnni": "AVX-512 VNNI",
              "amx_int8": "AMX int8", "asimd": "NEON", "asimddp": "NEON dot product"}


class Row:
    """A line of a table: a number of each system, and which way is better."""

    def __init__(self, title, workload, phase, unit, value, more_is_better):
        self.title, self.workload, self.phase, self.unit, self.value = title, workload, phase, unit, value
        self.more_is_better = more_is_better


def ttft(phase):
    return phase["ttft_p50_ms"]


def rate(phase):
    return phase["output_tokens_per_s"]


def prefill_rate(phase):
    return phase["prompt_tokens"] * 1000 / phase["ttft_p50_ms"]


def decode_rate(phase):
    return 1000 / phase["inter_token_mean_ms"]


ROWS = [
    Row("prefill, 512 tokens", "prefill", "", "tokens/s", prefill_rate, True),
    Row("decode, one sequence", "decode", "", "tokens/s", decode_rate, True),
    Row("concurrent: 10 at once, 30 + 32 tokens", "concurrent", "", "tokens/s", rate, True),
    Row("concurrent: first token", "concurrent", "", "ms", ttft, False),
    Row("rag: 470-token context, first question, first token", "rag", "cold", "ms", ttft, False),
    Row("rag: 4 further questions, first token", "rag", "warm", "ms", ttft, False),
    Row("repeat: the same 480-token prompt again, first token", "repeat", "again", "ms", ttft, False),
    Row("system: 1,024 shared + 32, 32 requests, 16 at once, 64 out", "system", "", "tokens/s", rate, True),
    Row("system: first token, p95", "system", "", "ms", lambda phase: phase["ttft_p95_ms"], False),
    Row("chat: 8 conversations x 4 turns, later turns", "chat", "later turns", "tokens/s", rate, True),
    Row("chat: later turns, first token", "chat", "later turns", "ms", ttft, False),
    Row("branch: 4 at once over a cold 2,048-token prefix", "branch", "", "tokens/s", rate, True),
    Row("branch: first token, p95", "branch", "", "ms", lambda phase: phase["ttft_p95_ms"], False),
    Row("4 streams while a 2,048-token prompt comes: longest gap", "long-prefill-in-decode", "decoding", "ms",
        lambda phase: phase["inter_token_max_ms"], False),
    Row("that prompt's first token", "long-prefill-in-decode", "long prompt", "ms", ttft, False),
]


# What Kvasir was to reach against its peers: (workload, phase, unit, ours, theirs, how many times as good at least).
TARGETS = [
    ("prefill", "", "tokens/s", "kvasir q8_0", "openvino int8", 1.6),
    ("prefill", "", "tokens/s", "kvasir q8_0", "llama.cpp q8_0", 5),
    ("decode", "", "tokens/s", "kvasir q8_0", "openvino int8", 1.2),
    ("decode", "", "tokens/s", "kvasir q8_0", "llama.cpp q8_0", 1.2),
    ("decode", "", "tokens/s", "kvasir q4_0", "llama.cpp q4_0", 1.2),
    ("concurrent", "", "tokens/s", "kvasir q8_0", "openvino int8", 1.5),
    ("rag", "warm", "ms", "kvasir q8_0", "openvino int8", 2.5),
    ("rag", "warm", "ms", "kvasir q8_0", "llama.cpp q8_0", 2.5),
    ("system", "", "tokens/s", "kvasir q8_0", "openvino int8", 5),
    ("system", "", "tokens/s", "kvasir q8_0", "llama.cpp q8_0", 15),
    ("chat", "later turns", "tokens/s", "kvasir q8_0", "openvino int8", 1.4),
]
REPEAT_TARGET_MS = 1


def command_output(*command):
    done = subprocess.run([str(part) for part in command], capture_output=True, text=True)
    return (done.stdout + done.stderr).strip()


def package_versions(venv):
    listed = json.loads(command_output(install.python_of(venv), "-m", "pip", "list", "--format", "json",
                                       "--disable-pip-version-check"))
    installed = {package["name"].lower(): package["version"] for package in listed}
    return [f"{name} {installed[name]}" for name in PACKAGES if name in installed]


def cpu():
    text = pathlib.Path("/proc/cpuinfo").read_text()
    name = re.search(r"^model name\s*:\s*(.*)$", text, re.M)
    flags = set((re.search(r"^(?:flags|Features)\s*:\s*(.*)$", text, re.M) or ["", ""])[1].split())
    simd = [label for flag, label in SIMD_FLAGS.items() if flag in flags]
    return f"{name[1] if name else platform.machine()}, {', '.join(simd)}"


def about(arguments, threads):
    """What a reader needs to judge the numbers: machine, versions, settings."""
    llama = install.llama_binary(arguments.venv, "llama-server")
    versions = []
    if arguments.peers:
        versions = package_versions(arguments.venv)
    if llama.exists() and "llamacpp" in arguments.peers:
        found = re.search(r"version: (.*)", command_output(llama, "--version"))
        versions.insert(0, f"llama.cpp {found[1] if found else '?'} (from llama-cpp-python {install.LLAMA_CPP_PYTHON}, "
                           "native build)")
    commit = command_output("git", "-C", pathlib.Path(__file__).parent, "describe", "--always", "--dirty")
    config = json.loads((arguments.model / "config.json").read_text())
    shape = (f"{config['num_hidden_layers']} layers, hidden {config['hidden_size']}, intermediate "
             f"{config['intermediate_size']}, {config['num_attention_heads']} heads, "
             f"{config.get('num_key_value_heads', config['num_attention_heads'])} KV heads, vocabulary "
             f"{config['vocab_size']}")
    return {"date": datetime.date.today().isoformat(), "cpu": cpu(), "threads": threads, "kvasir": commit,
            "versions": versions, "model": shape, "quick": arguments.quick,
            "context": arguments.context}


def number(value):
    return f"{value:,.{2 if value < 10 else 1 if value < 100 else 0}f}"


def runs_of(row, system, results):
    """The row's value in each run of a system; none where the workload was not run or has failed."""
    values = []
    for phases in results.get(row.workload, {}).get(system, []):
        for phase in phases:
            if phase["phase"] == row.phase:
                values.append(row.value(phase["median"]))
    return values


def best(row, values):
    return (max if row.more_is_better else min)(values)


def ratio(row, ours, theirs):
    """How many times as good as theirs ours is."""
    return ours / theirs if row.more_is_better else theirs / ours


def run_counts(results):
    """"3 runs", or "1 to 3 runs" where some systems or workloads have fewer."""
    counts = {len(runs) for of_systems in results.values() for runs in of_systems.values()}
    least, most = min(counts), max(counts)
    return (f"{least} to {most}" if least < most else f"{most}") + (" runs" if most > 1 else " run")


def title_of(row, data):
    return row.title + (", a quarter of it" if row.workload in data["about"]["quick"] else "")


def is_kvasir(system):
    return system.startswith("kvasir")


def render_table(data):
    systems = list(data["systems"])
    has_peers = any(not is_kvasir(system) for system in systems)
    head = ["work", "", *systems, *(["best peer", "Kvasir is"] if has_peers else [])]
    yield "| " + " | ".join(head) + " |"
    yield "|---|---|" + "---:|" * (len(head) - 2)
    for row in ROWS:
        medians, cells = {}, []
        for system in systems:
            values = runs_of(row, system, data["results"])
            if not values:
                cells.append("-")
                continue
            medians[system] = statistics.median(values)
            spread = (max(values) - min(values)) / medians[system]
            cells.append(number(medians[system]) + (f" ±{50 * spread:.0f}%" if spread > WIDE_SPREAD else ""))
        if not medians:
            continue
        ours = [value for system, value in medians.items() if is_kvasir(system)]
        peers = {system: value for system, value in medians.items() if not is_kvasir(system)}
        if has_peers and ours and peers:
            top = best(row, peers.values())
            name = next(system for system, value in peers.items() if value == top)
            times = ratio(row, best(row, ours), top)
            cells += [name, f"{times:.2f}x" + (" (behind)" if times < 1 else "")]
        elif has_peers:
            cells += ["-", "-"]
        yield f"| {title_of(row, data)} | {row.unit} | " + " | ".join(cells) + " |"


def render_pairs(data):
    """Each peer against Kvasir with weights of the same size."""
    pairs = [("kvasir q8_0", "llama.cpp q8_0"), ("kvasir q4_0", "llama.cpp q4_0"), ("kvasir q8_0", "openvino int8"),
             ("kvasir q8_0", "transformers bf16")]
    pairs = [pair for pair in pairs if all(system in data["systems"] for system in pair)]
    if not pairs:
        return
    yield "\n## The same kind of weights, pair by pair\n"
    yield "How many times as good Kvasir is (below 1: behind).\n"
    yield "| work | " + " | ".join(f"{ours} / {theirs}" for ours, theirs in pairs) + " |"
    yield "|---|" + "---:|" * len(pairs)
    for row in ROWS:
        cells = []
        for ours, theirs in pairs:
            values = [runs_of(row, system, data["results"]) for system in (ours, theirs)]
            if all(values):
                cells.append(f"{ratio(row, statistics.median(values[0]), statistics.median(values[1])):.2f}")
            else:
                cells.append("-")
        if any(cell != "-" for cell in cells):
            yield f"| {title_of(row, data)} | " + " | ".join(cells) + " |"


def render_targets(data):
    """The ratios that were wanted, and those that came; what was missed as plainly as what was reached."""
    lines = []
    for workload, phase, unit, ours, theirs, least in TARGETS:
        row = next(row for row in ROWS if (row.workload, row.phase, row.unit) == (workload, phase, unit))
        values = [runs_of(row, system, data["results"]) for system in (ours, theirs)]
        if all(values):
            times = ratio(row, statistics.median(values[0]), statistics.median(values[1]))
            lines.append(f"| {title_of(row, data)} | {ours} / {theirs} | {least} | {times:.2f} | "
                         f"{'reached' if times >= least else 'missed'} |")
    repeat = next(row for row in ROWS if row.workload == "repeat")
    if values := runs_of(repeat, "kvasir q8_0", data["results"]):
        ms = statistics.median(values)
        lines.append(f"| {title_of(repeat, data)} | kvasir q8_0, ms | below {REPEAT_TARGET_MS} | {ms:.2f} | "
                     f"{'reached' if ms < REPEAT_TARGET_MS else 'missed'} |")
    if lines:
        yield "\n## What was to be reached\n"
        yield "| work | of | times as good, at least | measured | |"
        yield "|---|---|---:|---:|---|"
        yield from lines


def render_computed(data):
    """Prompt tokens computed of those sent, where the server says."""
    systems = list(data["systems"])
    yield "\n## Prompt tokens computed, of all prompt tokens\n"
    yield "| workload | " + " | ".join(systems) + " |"
    yield "|---|" + "---:|" * len(systems)
    for workload, of_systems in data["results"].items():
        cells = []
        for system in systems:
            medians = [[phase["median"] for phase in phases] for phases in of_systems.get(system, [])]
            if not medians:
                cells.append("-")
            elif any(phase["prompt_tokens"] is None for phase in medians[0]):
                cells.append("not said")
            else:
                total = statistics.median(sum(phase["prompt_tokens"] for phase in phases) for phases in medians)
                if any(phase["computed_tokens"] is None for phase in medians[0]):
                    cells.append(f"? of {total:,.0f}")
                else:
                    computed = statistics.median(sum(phase["computed_tokens"] for phase in phases) for phases in medians)
                    cells.append(f"{computed:,.0f} of {total:,.0f}")
        yield f"| {workload} | " + " | ".join(cells) + " |"


def render(data):
    facts = data["about"]
    lines = ["# Kvasir and its peers, measured", "",
             "Written by `bench/peers/run.py`; the peers are installed by `bench/peers/install.py`. The same weights, the "
             "same prompts, the same load generator over HTTP (`kvasir bench serve`), the servers in turn, the others "
             "stopped meanwhile.", "",
             f"- {facts['date']}, {facts['cpu']}, {facts['threads']} threads for each server; the load generator runs on "
             "the same cores",
             f"- Kvasir {facts['kvasir']}" + "".join(f"; {version}" for version in facts["versions"]),
             f"- the model: {facts['model']}; random weights, so replies say nothing and have their full length; a prompt "
             f"and its reply have at most {facts['context']:,} tokens",
             f"- medians of {run_counts(data['results'])}; ± is half the distance between the extremes where they are more than 10% of the median apart", ""]
    lines += [f"- **{system}**: {describe}" for system, describe in data["systems"].items()]
    lines += ["", "## Results", "", "The last column: the best of Kvasir's weight types against the best peer.", "",
              *render_table(data), *render_targets(data), *render_pairs(data), *render_computed(data), ""]
    notes = pathlib.Path(__file__).with_name("notes.md")
    if notes.exists():
        lines.append(notes.read_text())
    return "\n".join(lines)
