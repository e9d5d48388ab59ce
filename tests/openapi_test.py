#!/usr/bin/env python3
"""The OpenAPI document against the server that hands it out: neither may know a field, a limit, a status or a member of
a response that the other does not. src/server/openapi_test.cpp compares the routes.

Usage: openapi_test.py --kvasir BINARY [unittest arguments]
"""

import contextlib
import json
import pathlib
import re
import sys
import unittest

from json_schema import Validator
from kvasir_server import Server

ROOT = pathlib.Path(__file__).resolve().parent.parent
TEMPLATE = ROOT / "tests/clients/hermes.jinja"

MESSAGES = [{"role": "user", "content": "Who has the pears?"}]
PARAMETERS = {"type": "object", "properties": {"is_utc": {"type": "boolean"}}, "required": ["is_utc"], "additionalProperties": False}
TOOLS = [{"type": "function", "function": {"name": "clock", "description": "Tells the time.", "parameters": PARAMETERS}}]
ANTHROPIC_TOOLS = [{"name": "clock", "input_schema": PARAMETERS}]
FLAT_TOOLS = [{"type": "function", "name": "clock", "parameters": PARAMETERS}]

# By path: bodies that are as small as can be, one for each shape that the request may have.
SMALLEST = {
    "/generate": [{"prompt": "Hi", "max_new_tokens": 1}],
    "/v1/completions": [{"prompt": "Hi", "max_tokens": 1}],
    "/v1/chat/completions": [{"messages": MESSAGES, "max_tokens": 1}],
    "/v1/responses": [{"input": "Hi", "max_output_tokens": 1}],
    "/v1/messages": [{"messages": MESSAGES, "max_tokens": 1}],
    "/v1/embeddings": [{"input": "Hi"}],
    "/tokenize": [{"content": "Hi"}, {"prompt": "Hi"}, {"messages": MESSAGES}],
    "/detokenize": [{"tokens": [1, 2]}],
    "/apply-template": [{"messages": MESSAGES}],
}

# Whether these are right depends on more than the field itself: on the model, on other fields, on a grammar.
DEPENDENT = {
    "model": "the name of a model", "prompt": "a prompt needs a token", "input": "a prompt needs a token",
    "best_of": "at least n", "min_tokens": "at most max_tokens", "max_tokens": "0 and a format do not go together",
    "stream_options": "only with stream", "top_logprobs": "only with logprobs", "tool_choice": "needs tools",
    "allowed_token_ids": "ids of the vocabulary", "stop_token_ids": "ids of the vocabulary", "tokens": "ids of the vocabulary",
    "logit_bias": "ids of the vocabulary", "grammar": "GBNF", "guided_grammar": "GBNF", "structured_outputs": "GBNF",
    "continue_final_message": "not where add_generation_prompt is", "messages": "what the template takes",
}

VALUES = [None, True, False, 0, 1, -1, 2, 0.5, 1e9, -1e9, 2**31 - 1, 2**31, -2**31 - 1, 2**64 - 1, 2**64, -2**63, "", "x", "x" * 20,
          "x" * 21, "x" * 1024, "x" * 1025, [], ["x"], [""], [1], [0.5], [-1], ["x", 1], [[1]], [[1, 2]], ["x"] * 16, ["x"] * 17, {}, {"x": 1},
          {"1": 1}, {"1": 101}, {"-1": 1}, [[1, 0.5]], [[1, -101]], {"type": "text"}, {"type": "x"}, {"type": "json_object"},
          {"type": "json_schema"}, {"type": "json_schema", "json_schema": {"schema": {}}}, {"type": "json_schema", "schema": {}},
          {"type": "disabled"}, {"include_usage": True}, {"include_usage": 1}, {"regex": "x"}, {"choice": []}, {"json": {}, "regex": "x"},
          {"format": {"type": "text"}}, {"format": {}}, {"verbosity": "low"}, {"effort": "low"}, {"effort": 1}, {"type": "auto"},
          {"type": "tool"}, {"type": "function"}, ["text"], ["audio"], "text", "auto", "float", "base64", "disabled", TOOLS, ANTHROPIC_TOOLS,
          FLAT_TOOLS, MESSAGES, [{"role": "user"}], [{"content": "x"}], [{"type": "text", "text": "x"}], [{"type": "image"}],
          [{"role": "user", "content": [{"type": "text", "text": "x"}]}], [{"role": "user", "content": 1}]]

# Responses of all shapes: path, body.
ASKED = [
    ("/generate", {"prompt": "Here are", "max_new_tokens": 3}),
    ("/generate", {"prompt": "Here are", "max_new_tokens": 3, "stream": True}),
    ("/v1/completions", {"prompt": ["Here are", "Some"], "max_tokens": 3, "n": 2, "best_of": 3, "temperature": 1, "seed": 1}),
    ("/v1/completions", {"prompt": "Here are", "max_tokens": 3, "logprobs": 2, "echo": True, "return_token_ids": True}),
    ("/v1/completions", {"prompt": "Here are", "max_tokens": 3, "logprobs": 0, "prompt_logprobs": 1}),
    ("/v1/completions", {"prompt": "Here are some facts.", "max_tokens": 40, "temperature": 0, "stop": [" ", "a", "e"]}),
    ("/v1/completions", {"prompt": "Here are", "max_tokens": 3, "logprobs": 2, "echo": True, "return_token_ids": True, "stream": True,
                         "stream_options": {"include_usage": True}}),
    ("/v1/chat/completions", {"messages": MESSAGES, "max_tokens": 3, "n": 2, "logprobs": True, "top_logprobs": 2,
                              "return_token_ids": True, "prompt_logprobs": 0}),
    ("/v1/chat/completions", {"messages": MESSAGES, "max_tokens": 99, "tools": TOOLS, "tool_choice": "required"}),
    ("/v1/chat/completions", {"messages": MESSAGES, "max_tokens": 99, "tools": TOOLS, "tool_choice": "required", "stream": True,
                              "stream_options": {"include_usage": True}}),
    ("/v1/chat/completions", {"messages": MESSAGES, "max_tokens": 3, "logprobs": True, "top_logprobs": 1, "stream": True}),
    ("/v1/responses", {"input": "Hi", "max_output_tokens": 3, "instructions": "Be kind."}),
    ("/v1/responses", {"input": MESSAGES, "max_output_tokens": 99, "tools": FLAT_TOOLS, "tool_choice": "required"}),
    ("/v1/responses", {"input": "Hi", "max_output_tokens": 3, "stream": True}),
    ("/v1/responses", {"input": "Hi", "max_output_tokens": 99, "tools": FLAT_TOOLS, "tool_choice": "required", "stream": True}),
    ("/v1/messages", {"messages": MESSAGES, "max_tokens": 3, "system": "Be kind."}),
    ("/v1/messages", {"messages": MESSAGES, "max_tokens": 99, "tools": ANTHROPIC_TOOLS, "tool_choice": {"type": "any"}}),
    ("/v1/messages", {"messages": MESSAGES, "max_tokens": 3, "stream": True}),
    ("/v1/messages", {"messages": MESSAGES, "max_tokens": 99, "tools": ANTHROPIC_TOOLS, "tool_choice": {"type": "any"}, "stream": True}),
    ("/v1/embeddings", {"input": ["a", "b"]}),
    ("/v1/embeddings", {"input": "a", "encoding_format": "base64"}),
    ("/tokenize", {"content": "Here are", "with_pieces": True}),
    ("/tokenize", {"content": "Here are"}),
    ("/tokenize", {"prompt": "Here are", "return_token_strs": True}),
    ("/tokenize", {"messages": MESSAGES}),
    ("/detokenize", {"tokens": [1, 2, 3]}),
    ("/apply-template", {"messages": MESSAGES, "tools": TOOLS}),
    ("/cache/clear", {}),
    ("/reset_prefix_cache", None),
]


class ServedDocument(unittest.TestCase):
    flags = ("--chat-template", str(TEMPLATE))

    @classmethod
    def setUpClass(cls):
        cls.server = cls.enterClassContext(Server(*cls.flags))
        cls.connection = cls.enterClassContext(contextlib.closing(cls.server.connect()))
        cls.document = json.loads(cls.ask("GET", "/openapi.json")[1])
        cls.paths = cls.document["paths"]

    @classmethod
    def ask(cls, method, path, body=None, headers=None):
        """Status, body and content type."""
        cls.connection.request(method, path, body if body is None or isinstance(body, bytes) else json.dumps(body), headers or {})
        response = cls.connection.getresponse()
        return response.status, response.read(), response.getheader("Content-Type")

    def request_schemas(self, path):
        """Of a route that takes JSON, one for each shape."""
        validator = Validator(self.document)
        schema = validator.resolve(self.paths[path]["post"]["requestBody"]["content"]["application/json"]["schema"])
        return [validator.resolve(each) for each in schema.get("anyOf", [schema])]

    def shapes(self):
        for path, bodies in SMALLEST.items():
            schemas = self.request_schemas(path)
            self.assertEqual(len(schemas), len(bodies))
            for body, schema in zip(bodies, schemas):
                self.assertFalse(list(Validator(self.document).violations(schema, body)))
                yield path, body, schema

    def response(self, method, path, status, is_stream=False):
        """The schema of a response, or of an event of it."""
        declared = self.paths[path][method]["responses"]
        self.assertIn(str(status), declared, path)
        content = Validator(self.document).resolve(declared[str(status)])["content"]
        return content["text/event-stream"]["x-event-schema"] if is_stream else content["application/json"]["schema"]

    def check(self, schema, value, what):
        self.assertEqual(list(Validator(self.document, is_strict=True).violations(schema, value)), [], what)


class Requests(ServedDocument):
    def test_all_routes_that_read_a_body_are_here(self):
        def is_read(operations):
            return operations.get("post", {}).get("requestBody", {}).get("required", False)

        self.assertEqual({path for path, operations in self.paths.items() if is_read(operations)}, SMALLEST.keys())

    def refused_as_unknown(self, path, body, field):
        status, text, _ = self.ask("POST", path, {**body, field: None})
        return status == 400 and "there is no such field" in text.decode() and field in text.decode()

    def test_the_server_knows_the_fields_of_the_document_and_no_others(self):
        # Whatever a parser could ask for is a word in its source.
        words = set()
        for source in (ROOT / "src/api").glob("*.cpp"):
            words.update(re.findall(r'"([a-z][a-z0-9_]*)"', source.read_text(encoding="utf-8")))
        self.assertGreater(len(words), 100)
        for path, body, schema in self.shapes():
            for field in schema["properties"].keys() - schema["required"]:
                self.assertFalse(self.refused_as_unknown(path, body, field), f"{path} does not know {field}")
            # These would make a request of another shape.
            others = {name for each in self.request_schemas(path) for name in each["required"]}
            for field in words - schema["properties"].keys() - others:
                self.assertTrue(self.refused_as_unknown(path, body, field), f"{path} knows {field}, the document does not")

    def test_the_server_takes_the_values_of_the_document_and_no_others(self):
        validator = Validator(self.document)
        for path, body, schema in self.shapes():
            for field, wanted in schema["properties"].items():
                wanted = validator.resolve(wanted)
                bounds = [wanted[key] + step for key in ("minimum", "maximum") if key in wanted for step in (-1, 0, 1)]
                for value in VALUES + bounds + wanted.get("enum", []):
                    if field in schema["required"] and value is None:
                        continue
                    status, text, _ = self.ask("POST", path, {**body, field: value})
                    what = f"{path} {field}: {json.dumps(value)[:80]}: {status} {text[:300]}"
                    if not validator.is_valid(wanted, value):
                        self.assertEqual(status, 400, what)
                    elif field not in DEPENDENT:
                        self.assertEqual(status, 200, what)
                    else:
                        self.assertIn(status, (200, 400, 404), what)

    def test_defaults_are_those_of_the_server(self):
        # A default that is given changes nothing: the reply to it is the same, the times apart.
        validator = Validator(self.document)
        for path, body, schema in self.shapes():
            body = body | ({"seed": 7} if "seed" in schema["properties"] else {})
            for field, wanted in schema["properties"].items():
                default = validator.resolve(wanted).get("default")
                if default is None or field in body:
                    continue
                replies = [self.ask("POST", path, each)[1] for each in (body, {**body, field: default})]
                without_times = [re.sub(rb'"(id|created(_at)?|\w*(_ms|_per_second|_per_sec))":("[^"]*"|[\d.e+-]+)', b"", reply)
                                 for reply in replies]
                self.assertEqual(self.without_cache(without_times[0]), self.without_cache(without_times[1]), f"{path} {field}")

    @staticmethod
    def without_cache(reply):
        """Whatever says how much came from the cache, which the first of two requests fills."""
        return re.sub(rb'"kvasir":\{.*?\}\}?|"timings":\{.*?\}|"\w*(cache|prefix|suffix|input_tokens)\w*":(\{.*?\}|[\w.]+)', b"", reply)


class Responses(ServedDocument):
    def test_responses_are_as_the_document_says(self):
        for path, body in ASKED:
            with self.subTest(path=path, body=body):
                status, text, content_type = self.ask("POST", path, body)
                self.assertEqual(status, 200, text)
                if content_type != "text/event-stream":
                    self.check(self.response("post", path, status), json.loads(text), text)
                    continue
                schema = self.response("post", path, status, is_stream=True)
                events = re.findall(r"^data: (.*)$", text.decode(), re.MULTILINE)
                self.assertGreater(len(events), 2)
                for event in events:
                    if event != "[DONE]":
                        self.check(schema, json.loads(event), event)

    def test_every_member_of_a_response_comes_in_some_response(self):
        """A member that the document names and the server never sends is one that has gone."""
        seen = set()

        def collect(schema, value):
            schema = validator.resolve(schema)
            for each in schema.get("anyOf", []):
                if validator.is_valid(each, value):
                    collect(each, value)
            if isinstance(value, list):
                for item in value:
                    collect(schema.get("items", {}), item)
            elif isinstance(value, dict):
                for name, member in value.items():
                    if name in schema.get("properties", {}):
                        seen.add((id(schema), name))
                        collect(schema["properties"][name], member)

        validator = Validator(self.document)
        roots = []
        for path, body in ASKED:
            status, text, content_type = self.ask("POST", path, body)
            is_stream = content_type == "text/event-stream"
            schema = self.response("post", path, status, is_stream)
            roots.append(schema)
            for event in re.findall(r"^data: (\{.*)$", text.decode(), re.MULTILINE) if is_stream else [text]:
                collect(schema, json.loads(event))
        missing = set()

        def check(schema, at, depth=0):
            schema = validator.resolve(schema)
            for i, each in enumerate(schema.get("anyOf", [])):
                check(each, f"{at}/{i}", depth)
            if "items" in schema:
                check(schema["items"], f"{at}[]", depth)
            for name, member in schema.get("properties", {}).items():
                if (id(schema), name) not in seen:
                    missing.add(f"{at}.{name}")
                else:
                    check(member, f"{at}.{name}", depth + 1)

        for schema in roots:
            check(schema, schema["$ref"].rsplit("/", 1)[1])
        self.assertEqual(missing, set())

    def test_routes_that_only_answer(self):
        model = json.loads(self.ask("GET", "/v1/models")[1])["data"][0]["id"]
        for path, operations in self.paths.items():
            if "get" not in operations or path in ("/metrics", "/openapi.json"):
                continue
            status, text, _ = self.ask("GET", path.replace("{id}", model))
            self.assertEqual(status, 200, text)
            self.check(self.response("get", path, status), json.loads(text), path)


class Failures(ServedDocument):
    flags = (*ServedDocument.flags, "--api-key", "user", "--admin-key", "admin")

    @classmethod
    def ask(cls, method, path, body=None, headers=None):
        return super().ask(method, path, body, {"Authorization": "Bearer admin"} if headers is None else headers)

    def check_failure(self, status, method, path, body=None, headers=None):
        got, text, _ = self.ask(method.upper(), path.replace("{id}", "x"), body, headers)
        self.assertEqual(got, status, text)
        self.check(self.response(method, path, status), json.loads(text), f"{path}: {text}")

    def operations(self):
        for path, operations in self.paths.items():
            for method, operation in operations.items():
                yield path, method, operation

    def test_without_a_key(self):
        for path, method, operation in self.operations():
            if "401" in operation["responses"]:
                self.check_failure(401, method, path, {}, headers={})
                self.check_failure(401, method, path, {}, headers={"X-Api-Key": "wrong"})

    def test_with_a_key_that_is_not_enough(self):
        for path, method, operation in self.operations():
            if "403" in operation["responses"]:
                self.check_failure(403, method, path, {}, headers={"X-Api-Key": "user"})

    def test_a_model_that_is_not_here(self):
        for path, method, operation in self.operations():
            if "404" in operation["responses"]:
                self.check_failure(404, method, path, {"model": "x"})

    def test_bodies_that_are_no_json(self):
        for path in SMALLEST:
            self.check_failure(400, "post", path, b"{")
            self.check_failure(400, "post", path, [])

    def test_what_is_too_large(self):
        for path, method, _ in self.operations():
            url = path.replace("{id}", "x")
            for status, headers in ((413, "Content-Length: 99999999"), (431, "X-Long: " + "x" * 100_000)):
                reply = self.server.raw(f"{method.upper()} {url} HTTP/1.1\r\nHost: x\r\n{headers}\r\n\r\n".encode(), shutdown=True)
                self.assertIn(f"HTTP/1.1 {status} ".encode(), reply)
                self.check(self.response(method, path, status), json.loads(reply.partition(b"\r\n\r\n")[2]), url)


if __name__ == "__main__":
    Server.binary = sys.argv.pop(sys.argv.index("--kvasir") + 1)
    sys.argv.remove("--kvasir")
    unittest.main()
