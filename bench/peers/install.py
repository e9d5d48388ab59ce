#!/usr/bin/env python3
"""Installs the peers of the comparison into a virtual environment: OpenVINO GenAI and transformers from PyPI, and
llama.cpp's own server, built for this CPU from the source in the llama-cpp-python package.

Takes some 10 GB and, for llama.cpp, half an hour on two cores. What is there already is left alone.
"""

import argparse
import pathlib
import subprocess
import sys
import tarfile

LLAMA_CPP_PYTHON = "0.3.36"
LLAMA_TARGETS = ["llama-server", "llama-quantize"]
CMAKE_FLAGS = ["-DCMAKE_BUILD_TYPE=Release", "-DGGML_NATIVE=ON", "-DBUILD_SHARED_LIBS=OFF", "-DLLAMA_BUILD_TESTS=OFF",
               "-DLLAMA_BUILD_EXAMPLES=OFF", "-DLLAMA_BUILD_UI=OFF", "-DLLAMA_USE_PREBUILT_UI=OFF", "-DLLAMA_OPENSSL=OFF"]
HERE = pathlib.Path(__file__).resolve().parent


def llama_source(venv):
    """The folder with llama.cpp's sources."""
    return venv / f"src/llama_cpp_python-{LLAMA_CPP_PYTHON}/vendor/llama.cpp"


def llama_binary(venv, name):
    return venv / "llama.cpp/bin" / name


def python_of(venv):
    return venv / "bin/python"


def call(*command, **options):
    print("+", *command, flush=True)
    subprocess.run([str(part) for part in command], check=True, **options)


def install_packages(venv):
    if not python_of(venv).exists():
        call(sys.executable, "-m", "venv", venv)
    call(python_of(venv), "-m", "pip", "install", "-q", "-r", HERE / "requirements.txt")


def build_llama(venv):
    if all(llama_binary(venv, name).exists() for name in LLAMA_TARGETS):
        return
    source = llama_source(venv)
    if not source.exists():
        folder = venv / "src"
        folder.mkdir(exist_ok=True)
        call(python_of(venv), "-m", "pip", "download", "-q", "--no-deps", "--no-binary", "llama-cpp-python", "-d", folder,
             f"llama-cpp-python=={LLAMA_CPP_PYTHON}")
        with tarfile.open(next(folder.glob("*.tar.gz"))) as archive:
            archive.extractall(folder, filter="data")
    tools = venv / "bin"
    call(tools / "cmake", "-G", "Ninja", f"-DCMAKE_MAKE_PROGRAM={tools / 'ninja'}", "-S", source, "-B", venv / "llama.cpp",
         *CMAKE_FLAGS)
    call(tools / "cmake", "--build", venv / "llama.cpp", "--target", *LLAMA_TARGETS)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--venv", type=pathlib.Path, default=HERE.parent.parent / "build/peers/venv",
                        help="where to install; default: build/peers/venv")
    parser.add_argument("--without-llama", action="store_true", help="do not build llama.cpp")
    arguments = parser.parse_args()
    venv = arguments.venv.resolve()
    venv.parent.mkdir(parents=True, exist_ok=True)
    install_packages(venv)
    if not arguments.without_llama:
        build_llama(venv)


if __name__ == "__main__":
    main()
