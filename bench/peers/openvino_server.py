#!/usr/bin/env python3
"""OpenVINO GenAI's continuous batching, with its prefix cache, behind /v1/completions.

Usage: openvino_server.py EXPORTED_FOLDER PORT THREADS CACHE_GB
"""

import itertools
import queue
import sys
import threading

import completions_server


class Engine:
    name = "openvino"

    def __init__(self, folder, threads, cache_gb):
        import openvino_genai
        config = openvino_genai.SchedulerConfig()
        config.cache_size = cache_gb
        config.enable_prefix_caching = True
        self.genai = openvino_genai
        self.pipeline = openvino_genai.ContinuousBatchingPipeline(folder, config, "CPU", {"INFERENCE_NUM_THREADS": threads})
        self.tokenizer = self.pipeline.get_tokenizer()
        self.ids = itertools.count()
        self.new = queue.Queue()  # (token ids of the prompt, generation config, where its tokens go)
        threading.Thread(target=self.run, daemon=True).start()

    def run(self):
        """The pipeline's thread: only it calls the pipeline."""
        running = []  # (handle, tokens, how many are still to come)
        while True:
            while not running or not self.new.empty():
                prompt, config, tokens = self.new.get()
                handle = self.pipeline.add_request(next(self.ids), prompt, config)
                running.append([handle, tokens, config.max_new_tokens])
            self.pipeline.step()
            for each in running:
                handle, tokens, _ = each
                while handle.can_read():
                    for output in handle.read().values():
                        for token in output.generated_ids:
                            tokens.put(token)
                            each[2] -= 1
            for _, tokens, left in running:
                if left <= 0:
                    tokens.put(None)
            running = [each for each in running if each[2] > 0]

    def complete(self, prompt, max_tokens):
        ids = self.tokenizer.encode(prompt).input_ids
        config = self.genai.GenerationConfig()
        config.max_new_tokens = max_tokens
        config.ignore_eos = True
        config.do_sample = False
        tokens = queue.Queue()
        self.new.put((ids, config, tokens))
        count = 0
        while (token := tokens.get()) is not None:
            count += 1
            yield self.tokenizer.decode([token])
        return {"prompt_tokens": ids.shape[1], "completion_tokens": count}


if __name__ == "__main__":
    if len(sys.argv) != 5:
        sys.exit(__doc__)
    completions_server.serve(int(sys.argv[2]), Engine(sys.argv[1], int(sys.argv[3]), int(sys.argv[4])))
