#!/usr/bin/env python3
"""Checks (or, with --fix, applies) the layout that .clang-format describes.

Versions of clang-format lay the same file out differently, so exactly one counts: 14, that of Debian 12. Where the
distribution has no version 14 the check is skipped (exit code 77), never done with another.
Usage: format_check.py [--fix]
"""

import pathlib
import re
import shutil
import subprocess
import sys

VERSION = 14
SKIPPED = 77
FOLDERS = ["src", "apps", "tests", "bench", "fuzz"]


def find_clang_format():
    for name in (f"clang-format-{VERSION}", "clang-format"):
        path = shutil.which(name)
        if path:
            text = subprocess.run([path, "--version"], capture_output=True, text=True, check=True).stdout
            if re.search(rf"version {VERSION}\.", text):
                return path
    return None


def main():
    root = pathlib.Path(__file__).resolve().parent.parent
    clang_format = find_clang_format()
    if clang_format is None:
        print(f"skipped: clang-format {VERSION} not available")
        return SKIPPED
    files = sorted(str(p) for folder in FOLDERS for p in (root / folder).rglob("*") if p.suffix in (".h", ".cpp"))
    mode = ["-i"] if "--fix" in sys.argv[1:] else ["--dry-run", "--Werror"]
    return subprocess.run([clang_format, *mode, *files]).returncode


if __name__ == "__main__":
    sys.exit(main())
