"""What the tests of the clients share: a server for each class, the official clients, texts to ask about."""

import os
import pathlib
import re
import unittest

import anthropic
import openai

from kvasir_server import PATIENCE_SECONDS, Server

SHARED_DATA = pathlib.Path(__file__).resolve().parents[3] / "shared/data"
HERMES_TEMPLATE = pathlib.Path(__file__).resolve().parent / "hermes.jinja"
IS_FULL = "KVASIR_CLIENTS_FULL" in os.environ

# What the embedded model was trained to do: answer from facts.
FACTS = ("Here are some facts. The age of Victor is 40 years. Victor likes to eat pears. Victor is a teacher. The river in "
         "Woo is the Beackton. Woo was founded in 1806.")
QUESTION, ANSWER = "When was Woo founded?", "Woo was founded in 1806."
PROMPT = f"<|system|>{FACTS}<|end|><|user|>{QUESTION}<|end|><|assistant|>"
MESSAGES = [{"role": "system", "content": FACTS}, {"role": "user", "content": QUESTION}]


def openai_client(server, api_key="none"):
    return openai.OpenAI(base_url=f"http://127.0.0.1:{server.port}/v1", api_key=api_key, max_retries=0,
                         timeout=PATIENCE_SECONDS)


def anthropic_client(server, api_key="none"):
    return anthropic.Anthropic(base_url=f"http://127.0.0.1:{server.port}", api_key=api_key, max_retries=0,
                               timeout=PATIENCE_SECONDS)


class ClientTestCase(unittest.TestCase):
    """One server for the tests of a class. It must end in good order: the engine checks its integrity when it stops."""

    flags = ()
    api_key = "none"

    @classmethod
    def setUpClass(cls):
        cls.server = Server(*cls.flags).wait()
        cls.addClassCleanup(cls.server.__exit__)
        cls.client = openai_client(cls.server, cls.api_key)
        cls.model = cls.client.models.list().data[0].id

    @classmethod
    def tearDownClass(cls):
        cls.client.close()
        status = cls.server.stop()
        if status != 0:
            raise AssertionError(f"the server ended with {status}: {cls.server.output().decode()}")

    def setUp(self):
        self.post("/reset_prefix_cache")

    def post(self, path, **body):
        """A route that the clients have no method for."""
        return self.client.post(f"http://127.0.0.1:{self.server.port}{path}", body=body, cast_to=object)

    def ids(self, text, add_special=True):
        return self.post("/tokenize", content=text, add_special=add_special)["tokens"]

    def text(self, ids):
        return self.post("/detokenize", tokens=ids)["content"]

    def refused(self, call, param=None, mentions=()):
        """Holds that the call is refused with 400 and says why; `param`: the field that is to blame, or what is in it."""
        with self.assertRaises(openai.BadRequestError) as caught:
            call()
        if param is not None:
            self.assertEqual(re.split(r"[.[]", caught.exception.param)[0], param)
        self.assertTrue(caught.exception.body["message"])
        for word in mentions:
            self.assertIn(word, caught.exception.body["message"])
