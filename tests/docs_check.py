#!/usr/bin/env python3
"""Checks that the documents name only what exists: files, flags, environment variables, ./dev commands.

A flag or variable exists when the sources or the --help texts of the kvasir binary name it. The include table of
docs/architecture.md must equal that of tests/include_check.py.
Usage: docs_check.py [--kvasir BINARY] [--root ROOT]
"""

import argparse
import pathlib
import re
import subprocess
import sys

import include_check

DOCUMENTS = ["README.md", "CONTRIBUTING.md", "DOCKER.md", "docs/*.md", ".env.example", "docker-compose.yml",
             "Dockerfile", "start_server.sh"]
SOURCES = ["apps", "src", "tools", "bench", "fuzz", "cmake", "tests"]
SOURCE_SUFFIXES = {".h", ".cpp", ".py", ".sh", ".cmake", ".txt"}
SUBCOMMANDS = ["serve", "generate", "tokenize", "template", "logits", "perplexity", "quantize", "convert", "pull", "models",
               "rm", "bench", "version"]
# Flags of other programs that the documents call.
FOREIGN_FLAGS = {"--preset", "--build", "--rm", "--publish", "--volume", "--env-file", "--no-install-recommends",
                 "--from", "--interval", "--timeout", "--start-period", "--retries", "--chown", "--create-home",
                 "--shell", "--system", "--user", "--env", "--directory", "--owner", "--fail", "--parallel", "--target", "--tasks"}

TOP_FOLDERS = ("src/", "apps/", "tests/", "bench/", "fuzz/", "tools/", "deploy/", "docs/", "models/", "cmake/", ".ci/")
CODE_SPAN = re.compile(r"`([^`\n]+)`")
LINK = re.compile(r"\]\((?!https?:|#)([^)#\s]+)")
FLAG = re.compile(r"(?<![\w-])--[a-z][a-z0-9-]+")
VARIABLE = re.compile(r"\bKVASIR_[A-Z0-9_]+\b")
DEV_COMMAND = re.compile(r"\./dev ([a-z]+)")
TABLE_ROW = re.compile(r"^\| `(\w+)` \|.*\| ([^|]+) \|$", re.M)


def paths_named(text):
    """Paths in code spans that begin with a folder of the tree, and the targets of relative links."""
    for span in CODE_SPAN.findall(text):
        for word in span.split():
            word = word.strip("`,;:()\"'")
            if word.startswith(TOP_FOLDERS):
                yield word
    yield from LINK.findall(text)


def exists(root, document, path):
    if any(c in path for c in "*<{"):
        return any(root.glob(re.sub(r"<[^>]*>|\{[^}]*\}", "*", path)))
    return (root / path).exists() or (document.parent / path).exists()


def known_text(root, kvasir):
    """Everything in which a flag or a variable may be declared, as one string."""
    parts = [p.read_text(encoding="utf-8", errors="replace") for folder in SOURCES
             for p in (root / folder).rglob("*") if p.suffix in SOURCE_SUFFIXES and p.name != pathlib.Path(__file__).name]
    parts.append((root / "dev").read_text(encoding="utf-8"))
    for arguments in [[], *([name] for name in SUBCOMMANDS)] if kvasir else []:
        help_text = subprocess.run([kvasir, *arguments, "--help"], capture_output=True, text=True, timeout=30)
        parts.append(help_text.stdout)
    return "\n".join(parts)


def table_problems(root):
    text = (root / "docs/architecture.md").read_text(encoding="utf-8")
    documented = {}
    for folder, names in TABLE_ROW.findall(text):
        documented[folder] = sorted(re.findall(r"`(\w+)`", names))
    expected = {folder: sorted(names) for folder, names in include_check.ALLOWED.items()}
    for folder in sorted(documented.keys() | expected.keys()):
        if documented.get(folder) != expected.get(folder):
            yield (f"docs/architecture.md: '{folder}' may include {documented.get(folder)}, but "
                   f"tests/include_check.py has {expected.get(folder)}")


def compose_problems(root):
    # A container does not see the file .env: what is not passed on is ignored, keys included.
    compose = (root / "docker-compose.yml").read_text(encoding="utf-8")
    for variable in re.findall(r"^(\w+)=", (root / ".env.example").read_text(encoding="utf-8"), re.M):
        if variable != "KVASIR_HOST" and f" {variable}: " not in compose:
            yield f"docker-compose.yml: does not pass on {variable}, which .env.example has"


def problems(root, kvasir):
    known = known_text(root, kvasir)
    known_flags = set(FLAG.findall(known)) | FOREIGN_FLAGS
    known_variables = set(VARIABLE.findall(known))
    commands = set(re.findall(r"^  ([a-z]+)\)", (root / "dev").read_text(encoding="utf-8"), re.M)) | {"help"}
    for document in sorted(p for pattern in DOCUMENTS for p in root.glob(pattern)):
        text = document.read_text(encoding="utf-8")
        name = document.relative_to(root)
        for path in sorted(set(paths_named(text))):
            if not exists(root, document, path):
                yield f"{name}: names '{path}', which does not exist"
        for flag in sorted(set(FLAG.findall(text)) - known_flags):
            yield f"{name}: names the flag '{flag}', which no source declares"
        for variable in sorted(set(VARIABLE.findall(text)) - known_variables):
            yield f"{name}: names the variable '{variable}', which no source reads"
        for command in sorted(set(DEV_COMMAND.findall(text)) - commands):
            yield f"{name}: names './dev {command}', which dev does not have"
    yield from table_problems(root)
    yield from compose_problems(root)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--kvasir", help="the built binary, whose --help texts are read as well")
    parser.add_argument("--root", type=pathlib.Path, default=pathlib.Path(__file__).parent.parent)
    arguments = parser.parse_args()
    found = list(problems(arguments.root.resolve(), arguments.kvasir))
    print("\n".join(found) if found else "docs check: every file, flag and variable that the documents name exists")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
