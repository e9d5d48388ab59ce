"""lm-eval's local-completions on tasks of ours: the same numbers with and without the cache, and those of its hf backend."""

import contextlib
import logging
import pathlib
import unittest

from client_test_case import IS_FULL, SHARED_DATA
from kvasir_server import Server

HERE = pathlib.Path(__file__).resolve().parent
MODEL = SHARED_DATA / "models/stories260K"
CONTEXT = 512


def backend(server, **fields):
    """local-completions, with further fields in each request."""
    from lm_eval.models.openai_completions import LocalCompletionsAPI

    class Completions(LocalCompletionsAPI):
        def _create_payload(self, *arguments, **options):
            return super()._create_payload(*arguments, **options) | fields

    return Completions(base_url=f"http://127.0.0.1:{server.port}/v1/completions", model="stories260K", tokenizer=str(MODEL),
                       tokenizer_backend="huggingface", add_bos_token=True, max_length=CONTEXT, num_concurrent=4)


def evaluate(model):
    """The metrics of each task, and what the model replied to each request."""
    import lm_eval
    with contextlib.chdir(HERE):  # the tasks name their data relative to it
        found = lm_eval.simple_evaluate(
            model=model, tasks=["kvasir_endings", "kvasir_stories", "kvasir_continue"], bootstrap_iters=0,
            task_manager=lm_eval.tasks.TaskManager(include_path=str(HERE / "tasks"), include_defaults=False))
    metrics = {(task, name): value for task, results in found["results"].items() for name, value in results.items()
               if isinstance(value, float)}
    replies = {task: [sample["filtered_resps"] for sample in samples] for task, samples in found["samples"].items()}
    return metrics, replies


@unittest.skipUnless(MODEL.exists(), f"no {MODEL}")
class LmEval(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        logging.disable(logging.INFO)
        cls.addClassCleanup(logging.disable, logging.NOTSET)
        cls.server = Server("--model", str(MODEL), "--dtype", "f32", "--kv-dtype", "f32").wait()
        cls.addClassCleanup(cls.server.__exit__)
        cls.cached = evaluate(backend(cls.server))

    @classmethod
    def tearDownClass(cls):
        if (status := cls.server.stop()) != 0:
            raise AssertionError(f"the server ended with {status}: {cls.server.output().decode()}")

    def test_the_model_knows_the_better_ending(self):
        metrics, replies = self.cached
        self.assertEqual(len(replies["kvasir_endings"]), 24)
        self.assertGreater(metrics["kvasir_endings", "acc,none"], 0.8)

    def test_without_the_cache_the_numbers_are_the_same(self):
        before = self.server.stats()["cached_tokens_reused"]
        self.assertGreater(before, 1000)
        self.assertEqual(evaluate(backend(self.server, cache_prompt=False)), self.cached)
        self.assertEqual(self.server.stats()["cached_tokens_reused"], before)
        self.assertEqual(evaluate(backend(self.server)), self.cached)

    @unittest.skipUnless(IS_FULL, "needs torch: ./dev test clients --full")
    def test_the_hf_backend_has_the_same_numbers(self):
        from lm_eval.models.huggingface import HFLM
        metrics, replies = evaluate(HFLM(pretrained=str(MODEL), device="cpu", dtype="float32", add_bos_token=True,
                                         max_length=CONTEXT - 1, batch_size=1))
        self.assertEqual(metrics.keys(), self.cached[0].keys())
        for name, value in metrics.items():
            self.assertAlmostEqual(value, self.cached[0][name], delta=1e-3 * max(1, abs(value)), msg=name)
        self.assertEqual(replies["kvasir_continue"], self.cached[1]["kvasir_continue"])
        for got, expected in zip(self.cached[1]["kvasir_endings"], replies["kvasir_endings"], strict=True):
            for (log_likelihood, is_greedy), (of_hf, is_greedy_of_hf) in zip(got, expected, strict=True):
                self.assertAlmostEqual(float(log_likelihood), float(of_hf), delta=1e-3)
                self.assertEqual(is_greedy, is_greedy_of_hf)
