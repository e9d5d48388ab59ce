"""The official anthropic client: messages, streams, what the cache did, errors."""

import anthropic

from client_test_case import ANSWER, FACTS, PROMPT, QUESTION, ClientTestCase, anthropic_client

MESSAGES = [{"role": "user", "content": QUESTION}]


class Messages(ClientTestCase):
    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.anthropic = anthropic_client(cls.server)
        cls.addClassCleanup(cls.anthropic.close)

    def ask(self, messages=None, **fields):
        # The client no longer has a parameter for the temperature; the API has.
        body = {"temperature": 0, **fields.pop("extra_body", {})}
        return self.anthropic.messages.create(**{"model": self.model, "max_tokens": 24, "system": FACTS,
                                                 "messages": messages or MESSAGES, "extra_body": body, **fields})

    def test_shape_of_the_message(self):
        reply = self.ask()
        self.assertEqual((reply.type, reply.role, reply.model), ("message", "assistant", self.model))
        self.assertTrue(reply.id.startswith("msg_"))
        self.assertEqual([(block.type, block.text) for block in reply.content], [("text", ANSWER)])
        self.assertEqual((reply.stop_reason, reply.stop_sequence), ("end_turn", None))
        self.assertGreater(reply.usage.output_tokens, 5)

    def test_usage_tells_what_was_cached(self):
        self.ask()
        for reply, is_warm in ((self.ask(system=FACTS + " Pears."), False), (self.ask(), True)):
            usage = reply.usage
            self.assertGreater(usage.cache_read_input_tokens, 0)
            whole = usage.input_tokens + usage.cache_read_input_tokens + usage.cache_creation_input_tokens
            if is_warm:
                self.assertEqual(whole, len(self.ids(PROMPT)))
                self.assertEqual(usage.cache_creation_input_tokens, 0)
            else:
                self.assertGreater(usage.cache_creation_input_tokens, 0)
        self.post("/reset_prefix_cache")
        usage = self.ask().usage
        self.assertEqual((usage.cache_read_input_tokens, usage.input_tokens + usage.cache_creation_input_tokens),
                         (0, len(self.ids(PROMPT))))

    def test_content_in_blocks_with_cache_control(self):
        marked = {"type": "text", "text": FACTS, "cache_control": {"type": "ephemeral"}}
        user = {"role": "user", "content": [{"type": "text", "text": QUESTION, "cache_control": {"type": "ephemeral", "ttl": "1h"}}]}
        self.assertEqual(self.ask([user], system=[marked]).content[0].text, ANSWER)

    def test_stop_reasons(self):
        reply = self.ask(max_tokens=3)
        self.assertEqual((reply.stop_reason, reply.usage.output_tokens), ("max_tokens", 3))
        reply = self.ask(stop_sequences=["never", " in"])
        self.assertEqual((reply.stop_reason, reply.stop_sequence, reply.content[0].text),
                         ("stop_sequence", " in", "Woo was founded"))

    def test_turns(self):
        first = self.ask()
        second = self.ask([*MESSAGES, {"role": "assistant", "content": first.content},
                           {"role": "user", "content": "How old is Victor?"}])
        self.assertIn("40", second.content[0].text)
        usage = first.usage
        whole = usage.input_tokens + usage.cache_read_input_tokens + usage.cache_creation_input_tokens + usage.output_tokens
        self.assertGreaterEqual(second.usage.cache_read_input_tokens, whole - 1)

    def test_stream(self):
        events = list(self.ask(stream=True))
        types = [event.type for event in events if event.type != "ping"]
        self.assertEqual(list(dict.fromkeys(types)), ["message_start", "content_block_start", "content_block_delta",
                                                      "content_block_stop", "message_delta", "message_stop"])
        started = events[0].message
        self.assertEqual((started.role, started.content, started.stop_reason), ("assistant", [], None))
        self.assertIsInstance(started.usage.cache_read_input_tokens, int)
        deltas = [event.delta for event in events if event.type == "content_block_delta"]
        self.assertEqual({delta.type for delta in deltas}, {"text_delta"})
        self.assertEqual("".join(delta.text for delta in deltas), ANSWER)
        [ending] = [event for event in events if event.type == "message_delta"]
        self.assertEqual(ending.delta.stop_reason, "end_turn")
        self.assertEqual(ending.usage.output_tokens, self.ask().usage.output_tokens)

    def test_stream_helper(self):
        with self.anthropic.messages.stream(model=self.model, max_tokens=24, system=FACTS, messages=MESSAGES,
                                            extra_body={"temperature": 0}) as stream:
            self.assertEqual("".join(stream.text_stream), ANSWER)
            final = stream.get_final_message()
        self.assertEqual((final.content[0].text, final.stop_reason), (ANSWER, "end_turn"))

    def test_errors(self):
        for field, fields in (("max_tokens", {"max_tokens": 0}), ("temperature", {"extra_body": {"temperature": "hot"}}),
                              ("messages", {"messages": [{"role": "king", "content": "Hi"}]}),
                              ("tools", {"tools": "x"}), ("nonsense", {"extra_body": {"nonsense": 1}})):
            with self.subTest(field=field), self.assertRaises(anthropic.BadRequestError) as caught:
                self.ask(**fields)
            self.assertEqual((caught.exception.body["type"], caught.exception.body["error"]["type"]),
                             ("error", "invalid_request_error"))
            self.assertIn(field, caught.exception.body["error"]["message"])
        with self.assertRaises(anthropic.NotFoundError) as caught:
            self.ask(model="claude-9")
        self.assertEqual(caught.exception.body["error"]["type"], "not_found_error")

    def test_max_tokens_is_required(self):
        with self.assertRaises(anthropic.BadRequestError) as caught:
            self.anthropic.post("/v1/messages", body={"model": self.model, "messages": MESSAGES}, cast_to=object)
        self.assertIn("max_tokens", caught.exception.body["error"]["message"])


class Keys(ClientTestCase):
    flags = ("--api-key", "ann", "--admin-key", "root")
    api_key = "root"

    def test_the_key_is_that_of_the_header(self):
        for key, status in (("ann", None), ("bob", anthropic.AuthenticationError)):
            with self.subTest(key=key), anthropic_client(self.server, key) as client:
                def ask(client=client):
                    return client.messages.create(model=self.model, max_tokens=1, messages=MESSAGES)
                if status is None:
                    self.assertEqual(ask().role, "assistant")
                    continue
                with self.assertRaises(status) as caught:
                    ask()
                self.assertEqual(caught.exception.body["error"]["type"], "authentication_error")
