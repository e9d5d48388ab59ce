#!/usr/bin/env python3
"""The OpenAPI document against the server that hands it out: neither may know a field, a limit, a status or a member of
a response that the other does not. src/server/openapi_test.cpp compares the routes, and the defaults of generation.

Usage: openapi_test.py --kvasir BINARY [unittest arguments]
"""

import contextlib
import json
import os
import pathlib
import re
import socket
import sys
import tempfile
import unittest

from json_schema import Schemas
from kvasir_server import Server

ROOT = pathlib.Path(__file__).resolve().parent.parent
TEMPLATE = ROOT / "tests/clients/hermes.jinja"

# Long enough to be cached.
PROMPT = "Here are some facts. Alice has 3 pears and 5 plums in box 1. Ben has 40 pears and 58 plums in box 2."
MESSAGES = [{"role": "user", "content": "Who has the pears?"}]
STREAM = {"stream": True, "stream_options": {"include_usage": True}}

# Requests whose reply is a call of a tool.
PARAMETERS = {"type": "object", "properties": {"is_utc": {"type": "boolean"}}, "required": ["is_utc"],
              "additionalProperties": False}
CALL = {
    "/v1/chat/completions": {
        "messages": MESSAGES, "max_tokens": 99, "tool_choice": "required",
        "tools": [{"type": "function", "function": {"name": "x", "parameters": PARAMETERS}}]},
    "/v1/responses": {
        "input": MESSAGES, "max_output_tokens": 99, "tool_choice": "required",
        "tools": [{"type": "function", "name": "x", "parameters": PARAMETERS}]},
    "/v1/messages": {
        "messages": MESSAGES, "max_tokens": 99, "tool_choice": {"type": "any"},
        "tools": [{"name": "x", "input_schema": PARAMETERS}]},
}

# By path: bodies that are as small as can be, one for each shape that the request may have.
SMALLEST = {
    "/generate": [{"prompt": "Hi", "max_new_tokens": 1}],
    "/v1/completions": [{"prompt": "Hi", "max_tokens": 1}],
    "/v1/chat/completions": [{"messages": MESSAGES, "max_tokens": 1}],
    "/v1/responses": [{"input": "Hi", "max_output_tokens": 1}],
    "/v1/messages": [{"messages": MESSAGES, "max_tokens": 1}],
    "/v1/embeddings": [{"input": "Hi"}],
    "/tokenize": [{"content": "Hi"}, {"prompt": "Hi"}, {"messages": MESSAGES}],
    "/detokenize": [{"tokens": [0, 1, 2, 300]}],
    "/apply-template": [{"messages": MESSAGES}],
}

# Fields that go with others only.
ALONG = {"stream_options": {"stream": True}, "top_logprobs": {"logprobs": True}}

# What a schema cannot say: why the server may refuse a value that the document takes.
BEYOND_SCHEMAS = re.compile("|".join((
    "there is no '", "there is no tool", "two functions with the name", "token ids from 0 to 1023",
    "at most max_tokens",
    r"messages\[0\].content: is required", "expected a list of 1 to", r"expected '::='", "no finite text matches",
    "this keyword is not supported", "room for a prompt")))

# Requests whose responses have, together, every member that there is.
ASKED = [
    ("/generate", {"prompt": PROMPT, "max_new_tokens": 3}),
    ("/generate", {"prompt": PROMPT, "max_new_tokens": 3, "stream": True}),
    ("/v1/completions", {"prompt": ["Here are", "Some"], "max_tokens": 3, "n": 2, "best_of": 3}),
    ("/v1/completions", {"prompt": "Here are", "max_tokens": 3, "logprobs": 2, "echo": True, "return_token_ids": True}),
    ("/v1/completions", {"prompt": "Here are", "max_tokens": 3, "logprobs": 0, "prompt_logprobs": 1}),
    ("/v1/completions", {"prompt": "Here are", "max_tokens": 40, "stop": [" ", "a", "e"]}),
    ("/v1/completions", {"prompt": "Here are", "max_tokens": 3, "logprobs": 2, "echo": True, "return_token_ids": True,
                         **STREAM}),
    ("/v1/completions", {"prompt": "Here are", "max_tokens": 3, "prompt_logprobs": 1, **STREAM}),
    ("/v1/chat/completions", {"messages": MESSAGES, "max_tokens": 3, "n": 2, "logprobs": True, "top_logprobs": 2,
                              "return_token_ids": True, "prompt_logprobs": 0}),
    ("/v1/chat/completions", CALL["/v1/chat/completions"]),
    ("/v1/chat/completions", CALL["/v1/chat/completions"] | STREAM),
    ("/v1/chat/completions", {"messages": MESSAGES, "max_tokens": 3, "logprobs": True, "top_logprobs": 1, **STREAM}),
    ("/v1/responses", {"input": "Hi", "max_output_tokens": 3, "instructions": "Be kind."}),
    ("/v1/responses", {"input": "Hi", "max_output_tokens": 3, "stream": True}),
    ("/v1/responses", CALL["/v1/responses"]),
    ("/v1/responses", CALL["/v1/responses"] | {"stream": True}),
    ("/v1/messages", {"messages": MESSAGES, "max_tokens": 3, "system": "Be kind."}),
    ("/v1/messages", {"messages": MESSAGES, "max_tokens": 3, "stream": True}),
    ("/v1/messages", CALL["/v1/messages"]),
    ("/v1/messages", CALL["/v1/messages"] | {"stream": True}),
    ("/v1/embeddings", {"input": ["a", "b"]}),
    ("/v1/embeddings", {"input": "a", "encoding_format": "base64"}),
    ("/tokenize", {"content": "Here are", "with_pieces": True}),
    ("/tokenize", {"content": "Here are"}),
    ("/tokenize", {"prompt": "Here are", "return_token_strs": True}),
    ("/tokenize", {"messages": MESSAGES}),
    ("/detokenize", {"tokens": [1, 2, 3]}),
    ("/apply-template", {"messages": MESSAGES, "tools": CALL["/v1/chat/completions"]["tools"]}),
    ("/reset_prefix_cache", None),
    ("/cache/clear", {}),
]


class ServedDocument(unittest.TestCase):
    flags = ("--chat-template", str(TEMPLATE))

    @classmethod
    def setUpClass(cls):
        cls.server = cls.start()
        cls.connection = cls.enterClassContext(contextlib.closing(cls.server.connect()))
        cls.document = json.loads(cls.ask("GET", "/openapi.json")[1])
        cls.paths = cls.document["paths"]
        cls.schemas = Schemas(cls.document)

    @classmethod
    def start(cls):
        return cls.enterClassContext(Server(*cls.flags))

    @classmethod
    def ask(cls, method, path, body=None, headers=None):
        """Status, body and content type."""
        data = body if body is None or isinstance(body, bytes) else json.dumps(body)
        cls.connection.request(method, path, data, headers or {})
        response = cls.connection.getresponse()
        return response.status, response.read(), response.getheader("Content-Type")

    def operations(self, status=200):
        """Path and method of those that may answer with the status."""
        return [(path, method) for path, methods in self.paths.items() for method, operation in methods.items()
                if str(status) in operation["responses"]]

    def schema_of_response(self, path, method, status, is_stream=False):
        """Of an event of it, if it is a stream."""
        responses = self.paths[path][method]["responses"]
        self.assertIn(str(status), responses, path)
        content = self.schemas.resolve(responses[str(status)])["content"]
        return content["text/event-stream"]["x-event-schema"] if is_stream else content["application/json"]["schema"]

    def check(self, schema, text):
        """The value, in which the schema must name everything."""
        value = json.loads(text)
        self.assertEqual(list(Schemas(self.document, is_strict=True).violations(schema, value)), [], text)
        return value

    def check_status(self, status, bodies=None, headers=None):
        """Asks every route: just those answer so of which the document says it. `bodies`: by path; else empty ones."""
        for path, method in self.operations():
            body = (bodies or {}).get(path, {})
            got, text, _ = self.ask(method.upper(), path.replace("{id}", "x"), body, headers)
            self.assertEqual(got == status, (path, method) in self.operations(status), f"{path}: {got} {text}")
            if got == status:
                self.check(self.schema_of_response(path, method, status), text)


class Requests(ServedDocument):
    def schemas_of_request(self, path):
        """One for each shape that it may have."""
        body = self.paths[path]["post"]["requestBody"]["content"]["application/json"]["schema"]
        schema = self.schemas.resolve(body)
        return [self.schemas.resolve(each) for each in schema.get("anyOf", [schema])]

    def shapes(self):
        for path, bodies in SMALLEST.items():
            for body, schema in zip(bodies, self.schemas_of_request(path), strict=True):
                self.assertEqual(list(self.schemas.violations(schema, body)), [])
                yield path, body, schema

    def test_all_routes_that_read_a_body_are_here(self):
        read = {path for path, method in self.operations()
                if method == "post" and self.paths[path][method]["requestBody"]["required"]}
        self.assertEqual(read, SMALLEST.keys())

    def is_known(self, path, body, field):
        status, text, _ = self.ask("POST", path, {**body, field: None})
        return not (status == 400 and f"{field}: there is no such field" in text.decode())

    def test_the_server_knows_the_fields_of_the_document_and_no_others(self):
        # Whatever a parser could ask for is a word in its source.
        words = set()
        for source in (ROOT / "src/api").glob("*.cpp"):
            words.update(re.findall(r'"([a-z][a-z0-9_]*)"', source.read_text(encoding="utf-8")))
        self.assertGreater(len(words), 100)
        for path, body, schema in self.shapes():
            # Those of the route's other shapes would make it a request of such a shape.
            others = {name for each in self.schemas_of_request(path) for name in each["required"]}
            for field in (words | schema["properties"].keys()) - others:
                self.assertEqual(self.is_known(path, body, field), field in schema["properties"], f"{path} {field}")

    def test_the_server_takes_the_values_of_the_document_and_no_others(self):
        wrong = []
        for path, body, schema in self.shapes():
            for field, wanted in schema["properties"].items():
                base = CALL[path] if field == "tool_choice" else body | ALONG.get(field, {})
                values = {json.dumps(value): value for value in self.schemas.candidates(wanted)}
                taken = [value for value in values.values() if self.takes(path, base, field, wanted, value, wrong)]
                # One that is always refused would tell nothing.
                if field != "model" and self.schemas.resolve(wanted).get("type") != "null" and not any(
                        value is not None for value in taken):
                    wrong.append(f"{path} {field}: takes nothing")
        self.assertEqual(wrong, [])

    def takes(self, path, base, field, wanted, value, wrong):
        """Whether the server does; notes in `wrong` where the document says otherwise."""
        status, text, _ = self.ask("POST", path, {**base, field: value})
        is_right = self.schemas.is_valid(wanted, value)
        message = ""
        if status != 200:
            message = self.check(self.schema_of_response(path, "post", status), text)["error"]["message"]
        if (status == 200) != is_right and not (is_right and BEYOND_SCHEMAS.search(message)):
            wrong.append(f"{path} {field}: {json.dumps(value)[:100]}: {status} {message}")
        return status == 200

    def test_defaults(self):
        # Those of generation, whose replies differ by chance and by their times, are compared in openapi_test.cpp.
        for path, body, schema in self.shapes():
            if "text/event-stream" in self.paths[path]["post"]["responses"]["200"]["content"]:
                continue
            reply = self.ask("POST", path, body)
            for field, wanted in schema["properties"].items():
                default = self.schemas.resolve(wanted).get("default")
                if default is not None:
                    self.assertEqual(self.ask("POST", path, {**body, field: default}), reply, f"{path} {field}")
                if isinstance(default, bool):
                    self.assertNotEqual(self.ask("POST", path, {**body, field: not default}), reply, f"{path} {field}")


class Responses(ServedDocument):
    def responses(self):
        """Schema and text of each response, or of each event of it."""
        for path, body in ASKED:
            status, text, content_type = self.ask("POST", path, body)
            self.assertEqual(status, 200, text)
            is_stream = content_type == "text/event-stream"
            schema = self.schema_of_response(path, "post", status, is_stream)
            for each in re.findall(r"^data: (.*)$", text.decode(), re.MULTILINE) if is_stream else [text]:
                if each != "[DONE]":
                    yield schema, each
        model = json.loads(self.ask("GET", "/v1/models")[1])["data"][0]["id"]
        for path, method in self.operations():
            if method == "get" and path != "/metrics":
                status, text, _ = self.ask("GET", path.replace("{id}", model))
                self.assertEqual(status, 200, text)
                yield self.schema_of_response(path, "get", status), text

    def collect(self, schema, value, seen):
        """Into `seen` the members of `value` that schemas name: the schema's id and the name."""
        schema = self.schemas.resolve(schema)
        for each in schema.get("anyOf", []):
            if self.schemas.is_valid(each, value):
                self.collect(each, value, seen)
        for item in value if isinstance(value, list) else []:
            self.collect(schema.get("items", {}), item, seen)
        for name, member in schema.get("properties", {}).items():
            if isinstance(value, dict) and name in value:
                seen.add((id(schema), name))
                self.collect(member, value[name], seen)

    def unseen(self, schema, at, seen):
        """Yields the members below the schema that are not in `seen`."""
        schema = self.schemas.resolve(schema)
        for each in schema.get("anyOf", []):
            yield from self.unseen(each, at, seen)
        if "items" in schema:
            yield from self.unseen(schema["items"], f"{at}[]", seen)
        for name, member in schema.get("properties", {}).items():
            if (id(schema), name) in seen:
                yield from self.unseen(member, f"{at}.{name}", seen)
            else:
                yield f"{at}.{name}"

    def test_all_that_comes_is_in_the_document_and_all_that_is_in_the_document_comes(self):
        roots, seen = {}, set()
        for schema, text in self.responses():
            self.collect(schema, self.check(schema, text), seen)
            if "$ref" in schema:
                roots[schema["$ref"]] = schema
        self.assertEqual({each for name, schema in roots.items() for each in self.unseen(schema, name, seen)}, set())


class Failures(ServedDocument):
    def test_bodies_that_are_no_json_object(self):
        for path in SMALLEST:
            for body in (b"{", b"[]"):
                status, text, _ = self.ask("POST", path, body)
                self.assertEqual(status, 400)
                self.check(self.schema_of_response(path, "post", 400), text)

    def test_a_model_that_is_not_here(self):
        self.check_status(404, {path: {"model": "x"} for path in self.paths})

    def test_http_that_is_none_or_too_large(self):
        headers = {400: "Content-Length: x", 413: "Content-Length: 99999999", 431: "X: " + "x" * 20_000}
        for status, header in headers.items():
            for path, method in self.operations():
                request = f"{method.upper()} {path.replace('{id}', 'x')} HTTP/1.1\r\nHost: x\r\n{header}\r\n\r\n"
                head, _, body = self.server.raw(request.encode()).partition(b"\r\n\r\n")
                self.assertIn(f"HTTP/1.1 {status} ".encode(), head)
                self.check(self.schema_of_response(path, method, status), body)


class Keys(ServedDocument):
    flags = (*ServedDocument.flags, "--api-key", "user", "--admin-key", "admin")

    @classmethod
    def ask(cls, method, path, body=None, headers=None):
        return super().ask(method, path, body, {"X-Api-Key": "admin"} if headers is None else headers)

    def test_without_a_key(self):
        self.check_status(401, headers={})
        self.check_status(401, headers={"X-Api-Key": "wrong"})

    def test_with_a_key_that_is_not_enough(self):
        self.check_status(403, headers={"X-Api-Key": "user"})


class FullQueue(ServedDocument):
    flags = (*ServedDocument.flags, "--max-running-requests", "1", "--max-queued-requests", "1")

    def test_one_more(self):
        # Seconds of work, on any machine.
        body = {"prompt": PROMPT, "max_tokens": 1900, "use_cache": False, "ignore_eos": True, "stream": True}
        with contextlib.ExitStack() as stack:
            for num_waiting in (0, 1):
                connection = stack.enter_context(contextlib.closing(self.server.connect()))
                connection.request("POST", "/v1/completions", json.dumps(body))
                self.server.wait_for(lambda stats, n=num_waiting: (
                    (stats["requests_running"], stats["requests_waiting"]) == (1, n)))
            self.check_status(429, {path: bodies[0] for path, bodies in SMALLEST.items()})


class Loading(ServedDocument):
    @classmethod
    def start(cls):
        # The server waits for a template from a pipe that nobody writes to.
        template = os.path.join(cls.enterClassContext(tempfile.TemporaryDirectory()), "template")
        os.mkfifo(template)
        with socket.create_server(("127.0.0.1", 0)) as free:
            port = free.getsockname()[1]
        server = Server("--chat-template", template, port=port)
        cls.addClassCleanup(server.__exit__)
        server.wait_to_listen()
        return server

    def test_routes_that_need_a_model(self):
        self.check_status(503)


if __name__ == "__main__":
    Server.binary = sys.argv.pop(sys.argv.index("--kvasir") + 1)
    sys.argv.remove("--kvasir")
    unittest.main()
