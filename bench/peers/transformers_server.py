#!/usr/bin/env python3
"""transformers behind /v1/completions: one request after the other, bf16, greedy, no cache between requests.

Usage: transformers_server.py MODEL_FOLDER PORT THREADS
"""

import queue
import sys
import threading

import completions_server


class Engine:
    name = "transformers"

    def __init__(self, folder, threads):
        import torch
        import transformers
        torch.set_num_threads(threads)
        self.torch = torch
        self.tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
        self.model = transformers.AutoModelForCausalLM.from_pretrained(folder, dtype=torch.bfloat16)
        self.model.eval()
        self.lock = threading.Lock()

    def complete(self, prompt, max_tokens):
        from transformers.generation.streamers import BaseStreamer
        ids = self.tokenizer(prompt, return_tensors="pt").input_ids
        tokens = queue.Queue()

        class Streamer(BaseStreamer):
            is_prompt = True

            def put(self, value):
                if not self.is_prompt:
                    tokens.put(int(value))
                self.is_prompt = False

            def end(self):
                tokens.put(None)

        def generate():
            with self.lock, self.torch.inference_mode():
                self.model.generate(ids, attention_mask=self.torch.ones_like(ids), max_new_tokens=max_tokens,
                                    min_new_tokens=max_tokens, do_sample=False, streamer=Streamer())

        threading.Thread(target=generate, daemon=True).start()
        count = 0
        while (token := tokens.get()) is not None:
            count += 1
            yield self.tokenizer.decode([token])
        return {"prompt_tokens": ids.shape[1], "completion_tokens": count, "cached_tokens": 0}


if __name__ == "__main__":
    if len(sys.argv) != 4:
        sys.exit(__doc__)
    completions_server.serve(int(sys.argv[2]), Engine(sys.argv[1], int(sys.argv[3])))
