"""The official openai client: completions, chat, streams, log-probabilities, what the cache did, models, embeddings, errors."""

import base64
import concurrent.futures
import json
import math
import struct
import time

import openai

from client_test_case import ANSWER, FACTS, MESSAGES, PROMPT, QUESTION, ClientTestCase, openai_client


class Completions(ClientTestCase):
    def complete(self, prompt=PROMPT, max_tokens=24, temperature=0, **fields):
        return self.client.completions.create(model=self.model, prompt=prompt, max_tokens=max_tokens,
                                              temperature=temperature, **fields)

    def test_shape_of_the_response(self):
        reply = self.complete()
        self.assertEqual(reply.object, "text_completion")
        self.assertTrue(reply.id.startswith("cmpl-"))
        self.assertLess(abs(time.time() - reply.created), 60)
        self.assertEqual(reply.model, self.model)
        self.assertEqual([(choice.index, choice.text, choice.finish_reason, choice.logprobs) for choice in reply.choices],
                         [(0, ANSWER, "stop", None)])
        usage = reply.usage
        self.assertEqual(usage.prompt_tokens, len(self.ids(PROMPT)))
        self.assertEqual(usage.total_tokens, usage.prompt_tokens + usage.completion_tokens)

    def test_max_tokens(self):
        reply = self.complete(max_tokens=5)
        self.assertEqual((reply.choices[0].finish_reason, reply.usage.completion_tokens), ("length", 5))
        self.assertTrue(ANSWER.startswith(reply.choices[0].text))
        # OpenAI's default.
        reply = self.client.completions.create(model=self.model, prompt=PROMPT, extra_body={"ignore_eos": True})
        self.assertEqual(reply.usage.completion_tokens, 16)

    def test_a_prompt_is_text_or_ids_alone_or_in_a_list(self):
        ids = self.ids(PROMPT)
        for prompt in (PROMPT, [PROMPT], ids, [ids]):
            self.assertEqual([choice.text for choice in self.complete(prompt).choices], [ANSWER])
        with_bos = self.ids(PROMPT)
        self.assertEqual(self.ids(PROMPT, add_special=False), with_bos[1:])
        reply = self.complete(extra_body={"add_special_tokens": False})
        self.assertEqual(reply.usage.prompt_tokens, len(with_bos) - 1)

    def test_several_prompts(self):
        prompts = [PROMPT, "Once upon a time", PROMPT.replace("Woo founded", "the river in Woo")]
        alone = [self.complete(prompt, max_tokens=12).choices[0].text for prompt in prompts]
        together = self.complete(prompts, max_tokens=12)
        self.assertEqual([choice.index for choice in together.choices], [0, 1, 2])
        self.assertEqual([choice.text for choice in together.choices], alone)
        self.assertEqual(together.usage.prompt_tokens, sum(len(self.ids(prompt)) for prompt in prompts))
        of_each_two = self.complete(prompts, max_tokens=12, n=2)
        self.assertEqual([choice.index for choice in of_each_two.choices], [0, 1, 2, 3, 4, 5])
        self.assertEqual([choice.text for choice in of_each_two.choices], [text for text in alone for _ in range(2)])

    def test_stream(self):
        whole = self.complete()
        chunks = list(self.complete(stream=True))
        self.assertGreater(len(chunks), 3)
        self.assertEqual("".join(chunk.choices[0].text for chunk in chunks), whole.choices[0].text)
        self.assertEqual([chunk.choices[0].finish_reason for chunk in chunks if chunk.choices[0].finish_reason], ["stop"])
        self.assertEqual(len({chunk.id for chunk in chunks}), 1)
        self.assertEqual({chunk.object for chunk in chunks}, {"text_completion"})
        self.assertEqual({chunk.usage for chunk in chunks}, {None})

    def test_stream_with_usage(self):
        whole = self.complete()
        *chunks, last = self.complete(stream=True, stream_options={"include_usage": True})
        self.assertTrue(all(chunk.choices and chunk.usage is None for chunk in chunks))
        self.assertEqual(last.choices, [])
        self.assertEqual((last.usage.prompt_tokens, last.usage.completion_tokens),
                         (whole.usage.prompt_tokens, whole.usage.completion_tokens))
        self.assertGreater(last.usage.prompt_tokens_details.cached_tokens, 0)

    def test_stream_on_the_wire(self):
        body = {"model": self.model, "prompt": PROMPT, "max_tokens": 8, "stream": True}
        status, headers, text = self.server.request("POST", "/v1/completions", json.dumps(body))
        self.assertEqual((status, headers["Content-Type"].split(";")[0]), (200, "text/event-stream"))
        *events, done, end = text.decode().split("\n\n")
        self.assertEqual((done, end), ("data: [DONE]", ""))
        for event in events:
            json.loads(event.removeprefix("data: "))

    def test_streams_of_several_choices(self):
        whole = self.complete(["Once upon a time", PROMPT], n=2)
        texts = [""] * 4
        for chunk in self.complete(["Once upon a time", PROMPT], n=2, stream=True):
            for choice in chunk.choices:
                texts[choice.index] += choice.text
        self.assertEqual(texts, [choice.text for choice in whole.choices])

    def test_stop(self):
        reply = self.complete(stop=" in")
        self.assertEqual((reply.choices[0].text, reply.choices[0].finish_reason), ("Woo was founded", "stop"))
        reply = self.complete(stop=["never", "1806", "no", "not"])
        self.assertEqual(reply.choices[0].text, "Woo was founded in ")
        reply = self.complete(stop=["found"], extra_body={"include_stop_str_in_output": True})
        self.assertEqual(reply.choices[0].text, "Woo was found")
        chunks = self.complete(stop=["founded in"], stream=True)
        self.assertEqual("".join(chunk.choices[0].text for chunk in chunks), "Woo was ")
        self.refused(lambda: self.complete(stop=[""]), "stop")

    def test_stop_tokens(self):
        tokens = self.complete(extra_body={"return_token_ids": True}).choices[0].token_ids
        reply = self.complete(extra_body={"stop_token_ids": [tokens[2]], "return_token_ids": True}).choices[0]
        self.assertEqual(reply.finish_reason, "stop")
        self.assertEqual(reply.token_ids[:2], tokens[:2])
        self.assertLessEqual(len(reply.token_ids), 3)

    def test_seed(self):
        def draw(seed, **fields):
            return self.complete("Once upon a time", temperature=1.5, seed=seed, **fields).choices[0].text
        self.assertEqual(draw(1), draw(1))
        self.assertEqual(draw(2**63 - 1), draw(2**63 - 1))
        self.assertGreater(len({draw(seed) for seed in range(6)}), 3)
        # The same in any company.
        with concurrent.futures.ThreadPoolExecutor(8) as pool:
            self.assertEqual(set(pool.map(lambda _: draw(3), range(8))), {draw(3)})

    def test_what_makes_drawing_greedy(self):
        for fields in ({"top_p": 1e-6}, {"extra_body": {"top_k": 1}}, {"extra_body": {"min_p": 1}}):
            self.assertEqual(self.complete(temperature=1.5, **fields).choices[0].text, ANSWER)

    def test_logit_bias(self):
        first = self.ids(ANSWER, add_special=False)[0]
        other = self.ids("Victor", add_special=False)[0]
        tokens = {"extra_body": {"return_token_ids": True}}
        self.assertEqual(self.complete(**tokens).choices[0].token_ids[0], first)
        self.assertNotIn(first, self.complete(logit_bias={str(first): -100}, **tokens).choices[0].token_ids)
        self.assertEqual(self.complete(logit_bias={str(other): 100}, max_tokens=3, **tokens).choices[0].token_ids, [other] * 3)
        self.refused(lambda: self.complete(logit_bias={"1000000": 1}), "logit_bias")
        self.refused(lambda: self.complete(logit_bias={str(first): 101}), "logit_bias")

    def test_penalties(self):
        def text(**fields):
            return self.complete("Once upon a time", max_tokens=100,
                                 extra_body={"ignore_eos": True, **fields}).choices[0].text
        for fields in ({"presence_penalty": 2}, {"frequency_penalty": 2}, {"repetition_penalty": 1.8}):
            self.assertNotEqual(text(**fields), text(), fields)

    def test_fields_of_vllm(self):
        def complete(**fields):
            return self.complete(extra_body=fields)
        allowed = self.ids("Victor likes pears.", add_special=False)
        reply = complete(allowed_token_ids=allowed, return_token_ids=True, ignore_eos=True).choices[0]
        self.assertLessEqual(set(reply.token_ids), set(allowed))
        self.assertEqual(reply.prompt_token_ids, self.ids(PROMPT))
        self.assertEqual(complete(ignore_eos=True).usage.completion_tokens, 24)
        self.assertGreaterEqual(complete(min_tokens=20).usage.completion_tokens, 20)
        self.assertEqual(complete(truncate_prompt_tokens=30).usage.prompt_tokens, 30)
        values = complete(prompt_logprobs=1).choices[0].prompt_logprobs
        self.assertEqual(len(values), len(self.ids(PROMPT)))
        self.assertIsNone(values[0])
        for token, value in zip(self.ids(PROMPT)[1:], values[1:]):
            self.assertLessEqual(value[str(token)]["logprob"], 0)
        self.assertEqual(complete(priority=-1, request_id="mine", skip_special_tokens=True).choices[0].text, ANSWER)

    def test_fields_of_llama_cpp(self):
        reply = self.client.completions.create(model=self.model, prompt=PROMPT, temperature=0,
                                               extra_body={"n_predict": 4, "cache_prompt": True, "repeat_penalty": 1.0})
        self.assertEqual(reply.usage.completion_tokens, 4)
        self.assertEqual((reply.timings["cache_n"] + reply.timings["prompt_n"], reply.timings["predicted_n"]),
                         (reply.usage.prompt_tokens, 4))
        self.assertGreater(reply.timings["predicted_ms"], 0)
        texts = [self.complete("Once upon a time", max_tokens=100, extra_body={"ignore_eos": True, name: 1.8}).choices[0].text
                 for name in ("repeat_penalty", "repetition_penalty")]
        self.assertEqual(texts[0], texts[1])

    def test_no_field_is_ignored(self):
        for field in ("nonsense", "suffix"):
            self.refused(lambda field=field: self.complete(extra_body={field: "x"}), field)

    def test_n(self):
        reply = self.complete("Once upon a time there was", n=4, temperature=1.2, seed=1)
        self.assertEqual([choice.index for choice in reply.choices], [0, 1, 2, 3])
        self.assertGreater(len({choice.text for choice in reply.choices}), 1)
        self.assertEqual(reply.usage.prompt_tokens, len(self.ids("Once upon a time there was")))
        again = self.complete("Once upon a time there was", n=4, temperature=1.2, seed=1)
        self.assertEqual([choice.text for choice in again.choices], [choice.text for choice in reply.choices])
        self.assertEqual({choice.text for choice in self.complete(n=3).choices}, {ANSWER})
        self.refused(lambda: self.complete(n=0), "n")
        self.refused(lambda: self.complete(n=10**6), "n")

    def test_n_computes_the_prompt_once(self):
        before = self.server.stats()
        reply = self.complete(n=8, temperature=1, seed=1)
        self.assertEqual(self.server.stats()["prompt_tokens_computed"] - before["prompt_tokens_computed"],
                         reply.usage.prompt_tokens)

    def test_best_of(self):
        reply = self.complete("Once upon a time", best_of=4, temperature=1.2, seed=1)
        self.assertEqual(len(reply.choices), 1)
        self.assertGreater(reply.usage.completion_tokens, 24)  # of all four
        self.assertEqual(len(self.complete("Once upon a time", best_of=4, n=2, temperature=1.2).choices), 2)
        self.refused(lambda: self.complete(best_of=1, n=2), "best_of")
        self.refused(lambda: self.complete(best_of=2, stream=True), "best_of")


class Logprobs(ClientTestCase):
    def complete(self, prompt=PROMPT, max_tokens=12, **fields):
        return self.client.completions.create(model=self.model, prompt=prompt, max_tokens=max_tokens, temperature=0, **fields)

    def chat(self, **fields):
        return self.client.chat.completions.create(model=self.model, messages=MESSAGES, max_tokens=24, temperature=0, **fields)

    def test_of_completions(self):
        reply = self.complete(logprobs=3)
        got = reply.choices[0].logprobs
        count = reply.usage.completion_tokens
        self.assertEqual([len(got.tokens), len(got.token_logprobs), len(got.top_logprobs), len(got.text_offset)], [count] * 4)
        self.assertTrue("".join(got.tokens).startswith(reply.choices[0].text))
        for token, logprob, top in zip(got.tokens, got.token_logprobs, got.top_logprobs):
            self.assertIn(len(top), (3, 4))
            self.assertEqual((top[token], logprob), (max(top.values()), max(top.values())))
            self.assertLess(logprob, 0.001)
            self.assertLessEqual(sum(map(math.exp, top.values())), 1.001)
        for offset, token in zip(got.text_offset, got.tokens):
            if offset < len(reply.choices[0].text):
                self.assertTrue(reply.choices[0].text[offset:].startswith(token))

    def test_0_is_the_drawn_token_alone(self):
        got = self.complete(logprobs=0).choices[0].logprobs
        self.assertEqual(got.token_logprobs, self.complete(logprobs=5).choices[0].logprobs.token_logprobs)

    def test_echo(self):
        reply = self.complete(logprobs=1, echo=True)
        choice = reply.choices[0]
        got = choice.logprobs
        self.assertTrue(choice.text.endswith(self.complete().choices[0].text))
        self.assertIn(FACTS, choice.text)
        self.assertIsNone(got.token_logprobs[0])
        self.assertEqual(len(got.tokens), reply.usage.prompt_tokens + reply.usage.completion_tokens)
        self.assertTrue(all(value <= 0 for value in got.token_logprobs[1:]))

    def test_echo_of_the_prompt_alone(self):
        reply = self.complete(logprobs=2, echo=True, max_tokens=0)
        got = reply.choices[0].logprobs
        self.assertEqual(reply.usage.completion_tokens, 0)
        self.assertEqual(len(got.token_logprobs), reply.usage.prompt_tokens)
        self.assertIsNone(got.token_logprobs[0])
        self.assertTrue(all(len(top) in (2, 3) for top in got.top_logprobs[1:]))
        self.assertIn(FACTS, reply.choices[0].text)

    def test_the_cache_does_not_change_a_bit(self):
        def values(**fields):
            got = self.complete(logprobs=5, echo=True, **fields).choices[0].logprobs
            return got.token_logprobs, got.top_logprobs
        without = values(extra_body={"cache_prompt": False})
        for _ in range(3):
            self.assertEqual(values(), without)
        # Only what is needed of a cached prompt is computed again.
        longer = PROMPT + ANSWER
        self.assertEqual(self.complete(longer, logprobs=5, echo=True, max_tokens=0).choices[0].logprobs.token_logprobs,
                         self.complete(longer, logprobs=5, echo=True, max_tokens=0,
                                       extra_body={"cache_prompt": False}).choices[0].logprobs.token_logprobs)

    def test_a_reply_has_the_values_that_it_has_as_a_prompt(self):
        reply = self.complete(logprobs=0, extra_body={"return_token_ids": True})
        ids = self.ids(PROMPT)
        echoed = self.complete(ids + reply.choices[0].token_ids, logprobs=0, echo=True, max_tokens=0)
        self.assertEqual(echoed.choices[0].logprobs.token_logprobs[len(ids):], reply.choices[0].logprobs.token_logprobs)

    def test_in_a_stream(self):
        whole = self.complete(logprobs=2).choices[0].logprobs
        values, offsets = [], []
        for chunk in self.complete(logprobs=2, stream=True):
            if chunk.choices[0].logprobs:
                values += chunk.choices[0].logprobs.token_logprobs
                offsets += chunk.choices[0].logprobs.text_offset
        self.assertEqual((values, offsets), (whole.token_logprobs, whole.text_offset))

    def test_limits(self):
        self.refused(lambda: self.complete(logprobs=1000), "logprobs")
        self.refused(lambda: self.complete(logprobs=-1), "logprobs")
        self.refused(lambda: self.chat(top_logprobs=2), "top_logprobs")
        self.refused(lambda: self.chat(logprobs=True, top_logprobs=21), "top_logprobs")

    def test_of_chat(self):
        reply = self.chat(logprobs=True, top_logprobs=2)
        content = reply.choices[0].logprobs.content
        self.assertEqual(len(content), reply.usage.completion_tokens)
        said = b"".join(bytes(token.bytes) for token in content).decode()
        self.assertTrue(said.startswith(reply.choices[0].message.content))
        for token in content:
            self.assertEqual(len(token.top_logprobs), 2)
            self.assertEqual((token.top_logprobs[0].token, token.top_logprobs[0].logprob), (token.token, token.logprob))
        self.assertEqual({len(token.top_logprobs) for token in self.chat(logprobs=True).choices[0].logprobs.content}, {0})
        streamed = []
        for chunk in self.chat(logprobs=True, top_logprobs=2, stream=True):
            if chunk.choices[0].logprobs:
                streamed += chunk.choices[0].logprobs.content
        self.assertEqual(streamed, content)
        self.assertIsNone(self.chat().choices[0].logprobs)


class Chat(ClientTestCase):
    def chat(self, messages=MESSAGES, max_tokens=24, **fields):
        return self.client.chat.completions.create(model=self.model, messages=messages, max_tokens=max_tokens,
                                                   **{"temperature": 0, **fields})

    def test_shape_of_the_response(self):
        reply = self.chat()
        self.assertEqual((reply.object, reply.model), ("chat.completion", self.model))
        self.assertTrue(reply.id.startswith("chatcmpl-"))
        [choice] = reply.choices
        self.assertEqual((choice.index, choice.finish_reason), (0, "stop"))
        self.assertEqual((choice.message.role, choice.message.content, choice.message.tool_calls), ("assistant", ANSWER, None))
        prompt = self.post("/apply-template", messages=MESSAGES)["prompt"]
        self.assertTrue(prompt.endswith(PROMPT))
        self.assertEqual(reply.usage.prompt_tokens, len(self.ids(PROMPT)))

    def test_length(self):
        for field in ("max_tokens", "max_completion_tokens"):
            reply = self.client.chat.completions.create(model=self.model, messages=MESSAGES, **{field: 3})
            self.assertEqual((reply.choices[0].finish_reason, reply.usage.completion_tokens), ("length", 3))

    def test_content_in_parts(self):
        parts = [{"type": "text", "text": QUESTION}]
        self.assertEqual(self.chat([MESSAGES[0], {"role": "user", "content": parts}]).choices[0].message.content, ANSWER)
        image = [{"type": "image_url", "image_url": {"url": "data:image/png;base64,AAAA"}}]
        self.refused(lambda: self.chat([{"role": "user", "content": image}]), mentions=["image_url"])

    def test_stream(self):
        chunks = list(self.chat(stream=True, stream_options={"include_usage": True}))
        usage = chunks.pop()
        self.assertEqual({chunk.object for chunk in chunks}, {"chat.completion.chunk"})
        self.assertEqual(len({chunk.id for chunk in chunks}), 1)
        self.assertEqual(chunks[0].choices[0].delta.role, "assistant")
        self.assertEqual("".join(chunk.choices[0].delta.content or "" for chunk in chunks), ANSWER)
        self.assertEqual(chunks[-1].choices[0].finish_reason, "stop")
        self.assertEqual(usage.choices, [])
        self.assertEqual(usage.usage.prompt_tokens, len(self.ids(PROMPT)))
        self.assertIsInstance(usage.usage.prompt_tokens_details.cached_tokens, int)

    def test_stream_helper(self):
        with self.client.chat.completions.stream(model=self.model, messages=MESSAGES, max_tokens=24, temperature=0) as stream:
            deltas = [event.delta for event in stream if event.type == "content.delta"]
            final = stream.get_final_completion()
        self.assertEqual("".join(deltas), ANSWER)
        self.assertEqual(final.choices[0].message.content, ANSWER)

    def test_n(self):
        reply = self.chat(n=3, temperature=3, seed=3, max_tokens=12)
        self.assertEqual([choice.index for choice in reply.choices], [0, 1, 2])
        self.assertGreater(len({choice.message.content for choice in reply.choices}), 1)

    def test_the_next_turn_hits_to_the_last_token(self):
        first = self.chat()
        messages = [*MESSAGES, {"role": "assistant", "content": first.choices[0].message.content},
                    {"role": "user", "content": "How old is Victor?"}]
        second = self.chat(messages)
        self.assertIn("40", second.choices[0].message.content)
        self.assertGreaterEqual(second.usage.prompt_tokens_details.cached_tokens, first.usage.total_tokens - 1)

    def test_a_drawn_reply_hits_as_well(self):
        """What the model generates need not be what the tokenizer makes of its text."""
        for seed in range(5):
            first = self.chat(temperature=2, seed=seed, max_tokens=20)
            said = first.choices[0].message.content
            messages = [*MESSAGES, {"role": "assistant", "content": said}, {"role": "user", "content": "How old is Victor?"}]
            second = self.chat(messages, max_tokens=1)
            self.assertGreaterEqual(second.usage.prompt_tokens_details.cached_tokens, first.usage.total_tokens - 1, said)

    def test_bad_messages(self):
        for messages in ([], [{"role": "user"}], [{"content": "Hi"}], [{"role": "user", "content": 1}], [1], {}):
            with self.subTest(messages=messages):
                self.refused(lambda messages=messages: self.chat(messages))


class Cache(ClientTestCase):
    """What the cache did, as a client sees it."""

    def complete(self, prompt=PROMPT, **fields):
        return self.client.completions.create(model=self.model, prompt=prompt, max_tokens=2, temperature=0,
                                              extra_body=fields)

    def test_cached_tokens(self):
        cold, warm = self.complete(), self.complete()
        self.assertEqual(cold.usage.prompt_tokens_details.cached_tokens, 0)
        self.assertGreater(warm.usage.prompt_tokens_details.cached_tokens, 0.9 * warm.usage.prompt_tokens)
        self.assertEqual(cold.choices[0].text, warm.choices[0].text)

    def test_the_kvasir_object(self):
        for reply in (self.complete(), self.complete(), self.complete(PROMPT + " Woo")):
            told = reply.kvasir
            self.assertEqual(told["cached_tokens"], reply.usage.prompt_tokens_details.cached_tokens)
            self.assertEqual(told["cached_tokens"] + told["computed_tokens"], reply.usage.prompt_tokens)
            self.assertTrue(all(ms >= 0 for ms in told["timings"].values()))
        chat = self.client.chat.completions.create(model=self.model, messages=MESSAGES, max_tokens=1)
        self.assertIn("miss_reason", chat.kvasir)
        *_, last = self.client.completions.create(model=self.model, prompt=PROMPT, max_tokens=2, stream=True,
                                                  stream_options={"include_usage": True})
        self.assertGreater(last.kvasir["cached_tokens"], 0)

    def test_miss_reasons(self):
        self.assertEqual(self.complete("Hi").kvasir["miss_reason"], "too_short")
        self.assertEqual(self.complete().kvasir["miss_reason"], "cold")
        self.assertIsNone(self.complete().kvasir["miss_reason"])
        self.assertEqual(self.complete(cache_prompt=False).kvasir["miss_reason"], "disabled")

    def test_where_a_prompt_diverged(self):
        self.complete()
        other = PROMPT.replace("1806", "1907")
        told = self.complete(other).kvasir
        common = next(i for i, (a, b) in enumerate(zip(self.ids(PROMPT), self.ids(other))) if a != b)
        self.assertEqual((told["miss_reason"], told["divergence_token"], told["cached_tokens"]), ("diverged", common, common))

    def test_salts_share_nothing(self):
        def cached(salt):
            return self.complete(cache_salt=salt).usage.prompt_tokens_details.cached_tokens
        self.assertEqual(cached("a"), 0)
        self.assertGreater(cached("a"), 0)
        self.assertEqual(cached("b"), 0)

    def test_reset(self):
        self.complete()
        self.post("/reset_prefix_cache")
        self.assertEqual(self.complete().usage.prompt_tokens_details.cached_tokens, 0)


class Models(ClientTestCase):
    def test_list_and_retrieve(self):
        [model] = self.client.models.list()
        self.assertEqual((model.object, model.max_model_len), ("model", 2048))
        self.assertTrue(model.owned_by)
        self.assertGreater(model.created, 0)
        self.assertEqual(self.client.models.retrieve(model.id), model)

    def test_one_that_is_not_there(self):
        with self.assertRaises(openai.NotFoundError) as caught:
            self.client.models.retrieve("gpt-9")
        self.assertIn("gpt-9", str(caught.exception))
        with self.assertRaises(openai.NotFoundError) as caught:
            self.client.completions.create(model="gpt-9", prompt="Hi")
        self.assertEqual(caught.exception.param, "model")


class Embeddings(ClientTestCase):
    def embed(self, text, **fields):
        return self.client.embeddings.create(model=self.model, input=text, **fields)

    def test_shape_and_length(self):
        reply = self.embed(["Victor likes pears.", "Once upon a time"], encoding_format="float")
        self.assertEqual((reply.object, reply.model), ("list", self.model))
        self.assertEqual([(item.index, item.object) for item in reply.data], [(0, "embedding"), (1, "embedding")])
        for item in reply.data:
            self.assertEqual(len(item.embedding), 192)
            self.assertAlmostEqual(math.hypot(*item.embedding), 1, places=5)
        self.assertNotEqual(reply.data[0].embedding, reply.data[1].embedding)
        self.assertEqual(reply.usage.prompt_tokens,
                         len(self.ids("Victor likes pears.")) + len(self.ids("Once upon a time")))
        self.assertEqual(reply.usage.total_tokens, reply.usage.prompt_tokens)

    def test_base64_has_the_same_numbers(self):
        """The client asks for base64 unless told otherwise, and decodes it."""
        numbers = self.embed(FACTS, encoding_format="float").data[0].embedding
        for got, expected in zip(self.embed(FACTS).data[0].embedding, numbers, strict=True):
            self.assertAlmostEqual(got, expected, places=6)
        encoded = base64.b64decode(self.embed(FACTS, encoding_format="base64").data[0].embedding)
        self.assertEqual(list(struct.unpack(f"<{len(numbers)}f", encoded)), list(self.embed(FACTS).data[0].embedding))

    def test_input_as_ids_and_in_company(self):
        alone = self.embed(FACTS).data[0].embedding
        ids = self.ids(FACTS)
        self.assertEqual(self.embed(ids).data[0].embedding, alone)
        self.assertEqual([item.embedding for item in self.embed([ids, ids]).data], [alone, alone])
        self.assertEqual(self.embed(["Hi", FACTS, "Once"]).data[1].embedding, alone)

    def test_refusals(self):
        self.refused(lambda: self.embed([]), "input")
        self.refused(lambda: self.embed("Hi", dimensions=7), "dimensions")
        self.refused(lambda: self.embed("word " * 4000), "input")
        self.refused(lambda: self.embed("Hi", extra_body={"encoding_format": "hex"}), "encoding_format")


class Errors(ClientTestCase):
    def test_bad_fields_are_named(self):
        for field, value in (("max_tokens", -1), ("temperature", "hot"), ("top_p", 2), ("n", 1.5), ("seed", "x"),
                             ("stream", 1), ("logit_bias", 7), ("stop", 3), ("presence_penalty", 101), ("prompt", {})):
            body = {"model": self.model, "prompt": "Hi", "max_tokens": 1, field: value}
            with self.subTest(field=field):
                self.refused(lambda body=body: self.post("/v1/completions", **body), field)

    def test_shape(self):
        with self.assertRaises(openai.BadRequestError) as caught:
            self.client.completions.create(model=self.model, prompt="Hi", max_tokens=-1)
        error = caught.exception
        self.assertEqual((error.status_code, error.type, error.param), (400, "invalid_request_error", "max_tokens"))
        self.assertIn("max_tokens", error.message)

    def test_a_prompt_over_the_context_tells_both_numbers(self):
        prompt = "pears and plums " * 1000
        self.refused(lambda: self.client.completions.create(model=self.model, prompt=prompt), "prompt",
                     ["2048", str(len(self.ids(prompt)))])
        self.refused(lambda: self.client.chat.completions.create(
            model=self.model, messages=[{"role": "user", "content": prompt}]), "messages", ["2048"])

    def test_errors_of_a_stream_come_before_it(self):
        self.refused(lambda: self.client.completions.create(model=self.model, prompt="Hi", max_tokens=-1, stream=True),
                     "max_tokens")
        self.refused(lambda: self.client.completions.create(model=self.model, prompt="Hi", max_tokens=1,
                                                            stream_options={"include_usage": True}), "stream_options")

    def test_no_such_route(self):
        with self.assertRaises(openai.NotFoundError):
            self.client.files.list()


class Load(ClientTestCase):
    flags = ("--max-running-requests", "1", "--max-queued-requests", "1")

    def test_a_full_queue_is_a_rate_limit_error(self):
        def ask(i):
            try:
                self.client.completions.create(model=self.model, prompt=f"{i} {FACTS}", max_tokens=200,
                                               extra_body={"ignore_eos": True})
            except openai.RateLimitError as error:
                return int(error.response.headers["Retry-After"])
        with concurrent.futures.ThreadPoolExecutor(16) as pool:
            waits = list(pool.map(ask, range(16)))
        self.assertIn(None, waits)
        self.assertTrue(all(wait >= 1 for wait in waits if wait is not None))
        self.assertGreater(len([wait for wait in waits if wait is not None]), 0)

    def test_a_client_that_leaves_a_stream_frees_its_place(self):
        for _ in range(3):
            stream = self.client.completions.create(model=self.model, prompt=FACTS, max_tokens=1500, stream=True,
                                                    extra_body={"ignore_eos": True})
            next(iter(stream))
            stream.close()
            self.server.wait_for(lambda stats: stats["requests_running"] == 0)


class Keys(ClientTestCase):
    flags = ("--api-key", "ann", "--api-key", "bob", "--admin-key", "root")
    api_key = "root"

    def cached_tokens(self, client):
        reply = client.completions.create(model=self.model, prompt=PROMPT, max_tokens=1)
        return reply.usage.prompt_tokens_details.cached_tokens

    def test_no_key_or_a_wrong_one(self):
        for key in ("an", "anna", "nobody"):
            with self.subTest(key=key), openai_client(self.server, key) as stranger:
                with self.assertRaises(openai.AuthenticationError) as caught:
                    stranger.models.list()
                self.assertEqual((caught.exception.status_code, caught.exception.type), (401, "authentication_error"))
        self.assertEqual(self.server.request("GET", "/health")[0], 200)
        self.assertEqual(self.server.request("GET", "/v1/models")[0], 401)

    def test_routes_of_the_cache_are_the_admins(self):
        with openai_client(self.server, "ann") as ann:
            for path in ("/reset_prefix_cache", "/cache/clear"):
                with self.assertRaises(openai.PermissionDeniedError) as caught:
                    ann.post(f"http://127.0.0.1:{self.server.port}{path}", body={}, cast_to=object)
                self.assertEqual(caught.exception.type, "permission_error")
        self.post("/cache/clear")

    def test_each_key_has_a_cache_of_its_own(self):
        with openai_client(self.server, "ann") as ann, openai_client(self.server, "bob") as bob:
            self.assertEqual(self.cached_tokens(ann), 0)
            self.assertGreater(self.cached_tokens(ann), 0)
            self.assertEqual(self.cached_tokens(bob), 0)


class SharedCache(ClientTestCase):
    flags = (*Keys.flags, "--share-cache-across-keys")
    api_key = "root"

    def test_keys_have_one_cache(self):
        cached = []
        for key in ("ann", "bob"):
            with openai_client(self.server, key) as client:
                reply = client.completions.create(model=self.model, prompt=PROMPT, max_tokens=1)
                cached.append(reply.usage.prompt_tokens_details.cached_tokens)
        self.assertEqual(cached[0], 0)
        self.assertGreater(cached[1], 0)
