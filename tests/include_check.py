#!/usr/bin/env python3
"""Checks every #include "..." under src/ against the table of who may include whom.

The same table stands in docs/architecture.md for people; tests/docs_check.py compares the two.
Usage: include_check.py [ROOT]
"""

import pathlib
import re
import sys

# Each folder may include itself and what is listed; nothing is inherited from what it includes.
ALLOWED = {
    "base": [],
    "format": ["base"],
    "hub": ["base", "format"],
    "tokenizer": ["base", "format"],
    "grammar": ["base"],
    "kernels": ["base"],
    "backend": ["base", "kernels"],
    "model": ["base", "backend", "format"],
    "kv": ["base"],
    "engine": ["base", "backend", "kv", "model"],
    "api": ["base", "engine", "grammar", "tokenizer"],
    "server": ["api", "base", "engine"],
}

# Kernels run on the thread that calls them: the parts of base and std that are about threads are not theirs.
FORBIDDEN_IN_KERNELS = {
    "base/thread_pool.h", "base/channel.h", "thread", "mutex", "shared_mutex", "condition_variable", "future",
}

# Files that are compiled with the flags of one instruction set, and headers of theirs. A template of the standard library
# compiled for AVX-512 may be the copy that the linker keeps for everyone, so they include what has no code.
ONE_ISA = re.compile(r"^src/kernels/quant_(?!blocks|scalar|test)\w+(-inl\.h|\.cpp)$|^src/kernels/quant_\w+-inl\.h$")
PLAIN_HEADERS = {
    "cstddef", "cstdint", "cstring", "immintrin.h", "arm_neon.h",
    "kernels/quant.h", "kernels/quant_scalar.h", "kernels/quant_tables.h", "kernels/scratch.h", "kernels/float_formats.h",
}
# What those of them that are headers themselves may include.
PLAIN_FILES = {f"src/{header}" for header in PLAIN_HEADERS if header.startswith("kernels/")}

INCLUDE = re.compile(r'^\s*#\s*include\s*([<"])([^>"]+)[>"]')
SOURCE_SUFFIXES = {".h", ".cpp", ".inc"}


def violations(root):
    """Yields one line per #include under root/src that the table does not allow."""
    src = root / "src"
    for path in sorted(p for p in src.rglob("*") if p.suffix in SOURCE_SUFFIXES):
        folder = path.relative_to(src).parts[0]
        if folder not in ALLOWED:
            yield f"{path.relative_to(root)}: folder '{folder}' is not in the table of tests/include_check.py"
            continue
        is_test = path.name.endswith("_test.cpp")
        for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
            match = INCLUDE.match(line)
            if not match:
                continue
            where = f"{path.relative_to(root)}:{number}: {line.strip()}"
            bracket, header = match.groups()
            name = path.relative_to(root).as_posix()
            if (ONE_ISA.match(name) or name in PLAIN_FILES) and header not in PLAIN_HEADERS and not header.endswith("-inl.h"):
                yield f"{where}: compiled for one instruction set: plain headers only"
            if folder == "kernels" and not is_test and header in FORBIDDEN_IN_KERNELS:
                yield f"{where}: kernels have no threads"
            if bracket == "<":
                continue
            target = header.split("/")[0]
            if "/" not in header:
                yield f"{where}: includes are relative to src/, expected \"folder/{header}\""
            elif target == "tests":
                if not is_test:
                    yield f"{where}: only a *_test.cpp may include from tests/"
            elif target != folder and target not in ALLOWED[folder]:
                allowed = ", ".join(ALLOWED[folder]) or "nothing"
                yield f"{where}: '{folder}' may include itself and {allowed}"


def main():
    root = pathlib.Path(sys.argv[1] if len(sys.argv) > 1 else pathlib.Path(__file__).parent.parent).resolve()
    found = list(violations(root))
    print("\n".join(found) if found else "include check: every #include under src/ is in the table")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
