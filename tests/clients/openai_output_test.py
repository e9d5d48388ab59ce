"""The official openai client where the reply has a form: tools, response_format, grammars, and the responses API."""

import json
from typing import Annotated, Literal, Optional

import jsonschema_rs
import openai
from pydantic import BaseModel, Field

from client_test_case import ANSWER, FACTS, MESSAGES, QUESTION, ClientTestCase, HERMES_TEMPLATE


class Weather(BaseModel):
    """Tells the weather of a town."""

    town: Literal["Oslo", "Paris", "Woo"]
    days: Annotated[int, Field(ge=1, le=9)]
    unit: Optional[Literal["celsius", "kelvin"]]


class Clock(BaseModel):
    """Tells the time."""

    is_utc: bool


TOOLS = [openai.pydantic_function_tool(Weather, name="weather"), openai.pydantic_function_tool(Clock, name="clock")]
MODELS = {"weather": Weather, "clock": Clock}


class Tools(ClientTestCase):
    flags = ("--chat-template", str(HERMES_TEMPLATE))

    def chat(self, messages=MESSAGES, max_tokens=100, **fields):
        return self.client.chat.completions.create(model=self.model, messages=messages, max_tokens=max_tokens,
                                                   **{"temperature": 0, "tools": TOOLS, "parallel_tool_calls": False, **fields})

    def check_call(self, choice, names):
        self.assertEqual(choice.finish_reason, "tool_calls")
        [call] = choice.message.tool_calls
        self.assertEqual(call.type, "function")
        self.assertTrue(call.id)
        self.assertIn(call.function.name, names)
        MODELS[call.function.name].model_validate_json(call.function.arguments)
        return call

    def test_the_template_renders_them(self):
        prompt = self.post("/apply-template", messages=MESSAGES, tools=TOOLS)["prompt"]
        self.assertIn("Tells the weather of a town.", prompt)

    def test_required(self):
        self.check_call(self.chat(tool_choice="required").choices[0], MODELS)
        for choice in self.chat(tool_choice="required", n=4, temperature=1.5, seed=1).choices:
            self.check_call(choice, MODELS)

    def test_several_at_once(self):
        said = [f'<tool_call>\n{{"name": "clock", "arguments": {{"is_utc": {value}}}}}\n</tool_call>' for value in ("true", "false")]
        message = self.chat(parallel_tool_calls=True, max_tokens=300,
                            extra_body={"guided_choice": ["\n".join(said)]}).choices[0].message
        self.assertEqual([json.loads(call.function.arguments) for call in message.tool_calls], [{"is_utc": True}, {"is_utc": False}])
        self.assertEqual(len({call.id for call in message.tool_calls}), 2)

    def test_named(self):
        for name in MODELS:
            choice = self.chat(tool_choice={"type": "function", "function": {"name": name}}).choices[0]
            self.check_call(choice, [name])

    def test_none(self):
        for fields in ({"tool_choice": "none"}, {"tools": openai.NOT_GIVEN}):
            message = self.chat(**fields).choices[0].message
            self.assertIsNone(message.tool_calls)
            self.assertTrue(message.content)

    def test_auto_is_the_default(self):
        self.assertEqual(self.chat(tool_choice="auto").choices[0].message, self.chat().choices[0].message)

    def test_a_call_in_the_models_own_words_is_parsed(self):
        """Auto: the reply is held to what a model of the Hermes kind would say."""
        said = '<tool_call>\n{"name": "weather", "arguments": {"town": "Oslo", "days": 2, "unit": null}}\n</tool_call>'
        choice = self.chat(extra_body={"guided_choice": [said]}).choices[0]
        call = self.check_call(choice, ["weather"])
        self.assertEqual(json.loads(call.function.arguments), {"town": "Oslo", "days": 2, "unit": None})
        self.assertFalse(choice.message.content)

    def test_streamed(self):
        whole = self.chat(tool_choice="required").choices[0].message.tool_calls[0].function
        name, arguments, reasons, ids = "", "", [], set()
        for chunk in self.chat(tool_choice="required", stream=True):
            for call in chunk.choices[0].delta.tool_calls or []:
                self.assertEqual(call.index, 0)
                name += call.function.name or ""
                arguments += call.function.arguments or ""
                ids.add(call.id)
            reasons.append(chunk.choices[0].finish_reason)
        self.assertEqual((name, arguments), (whole.name, whole.arguments))
        self.assertEqual(len(ids - {None}), 1)
        self.assertEqual([reason for reason in reasons if reason], ["tool_calls"])

    def test_stream_helper(self):
        with self.client.chat.completions.stream(model=self.model, messages=MESSAGES, max_tokens=100, temperature=0,
                                                 tools=TOOLS, tool_choice="required", parallel_tool_calls=False) as stream:
            events = [event.type for event in stream]
            final = stream.get_final_completion()
        self.assertIn("tool_calls.function.arguments.delta", events)
        self.assertIn("tool_calls.function.arguments.done", events)
        call = final.choices[0].message.tool_calls[0]
        self.assertIsInstance(call.function.parsed_arguments, MODELS[call.function.name])

    def test_parse_helper(self):
        reply = self.client.chat.completions.parse(model=self.model, messages=MESSAGES, max_tokens=100, tools=TOOLS,
                                                   tool_choice={"type": "function", "function": {"name": "weather"}})
        self.assertIsInstance(reply.choices[0].message.tool_calls[0].function.parsed_arguments, Weather)

    def test_results_go_back_to_the_model(self):
        first = self.chat(tool_choice="required").choices[0].message
        messages = [*MESSAGES, first.model_dump(exclude_none=True),
                    {"role": "tool", "tool_call_id": first.tool_calls[0].id, "content": "It rains."}]
        prompt = self.post("/apply-template", messages=messages, tools=TOOLS)["prompt"]
        self.assertIn("<tool_response>\nIt rains.\n</tool_response>", prompt)
        self.assertIn(f'<tool_call>\n{{"name": "{first.tool_calls[0].function.name}", "arguments": {{', prompt)
        self.assertTrue(self.chat(messages, tool_choice="none").choices[0].message.content)

    def test_refusals(self):
        weather = {"type": "function", "function": {"name": "weather", "parameters": {"type": "object"}}}
        self.refused(lambda: self.chat(tools=[{"type": "function", "function": {}}]), "tools")
        self.refused(lambda: self.chat(tools=[{"type": "retrieval"}]), "tools")
        self.refused(lambda: self.chat(tools="weather"), "tools")
        self.refused(lambda: self.chat(tool_choice={"type": "function", "function": {"name": "radio"}}), "tool_choice",
                     ["radio"])
        self.refused(lambda: self.chat(tool_choice="sometimes"), "tool_choice")
        self.refused(lambda: self.chat(tools=openai.NOT_GIVEN, tool_choice="required"), "tool_choice")
        weather["function"]["parameters"] = {"type": "object", "not": {}}
        self.refused(lambda: self.chat(tools=[weather], tool_choice="required"), "tools", ["not"])


class Place(BaseModel):
    kind: Literal["town", "river"]
    famous_for: Annotated[list[Literal["salt", "pears", "wool"]], Field(max_length=3)]
    founded: Optional[Annotated[int, Field(ge=1000, le=1999)]]


class Atlas(BaseModel):
    is_complete: bool
    places: Annotated[list[Place], Field(min_length=1, max_length=2)]


class ResponseFormat(ClientTestCase):
    def chat(self, response_format=openai.NOT_GIVEN, max_tokens=300, **fields):
        return self.client.chat.completions.create(model=self.model, messages=MESSAGES, max_tokens=max_tokens,
                                                   response_format=response_format, **{"temperature": 0, **fields})

    def schema(self, schema, **fields):
        """The texts of some replies held to a schema."""
        wanted = {"type": "json_schema", "json_schema": {"name": "it", "schema": schema, "strict": True}}
        replies = self.chat(wanted, **{"n": 8, "temperature": 1.5, "seed": 7, **fields}).choices
        self.assertEqual({choice.finish_reason for choice in replies}, {"stop"})
        validator = jsonschema_rs.validator_for(schema)
        for choice in replies:
            value = json.loads(choice.message.content)
            self.assertTrue(validator.is_valid(value), choice.message.content)
        return [json.loads(choice.message.content) for choice in replies]

    def test_text(self):
        self.assertEqual(self.chat({"type": "text"}).choices[0].message.content, ANSWER)

    def test_json_object(self):
        replies = self.chat({"type": "json_object"}, n=16, temperature=1.5, seed=1).choices
        whole = [choice.message.content for choice in replies if choice.finish_reason == "stop"]
        self.assertTrue(whole)
        for text in whole:
            self.assertIsInstance(json.loads(text), dict)
        for choice in replies:
            self.assertTrue(choice.message.content.lstrip().startswith("{"))

    def test_pydantic_model(self):
        for seed in range(4):
            reply = self.client.chat.completions.parse(model=self.model, messages=MESSAGES, max_tokens=300, seed=seed,
                                                       temperature=1.2, response_format=Atlas)
            self.assertIsInstance(reply.choices[0].message.parsed, Atlas)

    def test_pydantic_model_in_a_stream(self):
        with self.client.chat.completions.stream(model=self.model, messages=MESSAGES, max_tokens=300, temperature=0,
                                                 response_format=Atlas) as stream:
            self.assertIn("content.delta", [event.type for event in stream])
            self.assertIsInstance(stream.get_final_completion().choices[0].message.parsed, Atlas)

    def test_types(self):
        self.schema({"type": "object", "required": ["a", "b", "c", "d", "e"], "additionalProperties": False, "properties": {
            "a": {"type": "integer", "minimum": -5, "maximum": 12}, "b": {"type": "boolean"}, "c": {"type": "null"},
            "d": {"const": {"x": [1, "y"]}}, "e": {"enum": ["one", 2, None]}}})
        self.schema({"type": "array", "items": {"enum": [1, 2, 3]}, "minItems": 2, "maxItems": 4})
        self.schema({"type": "string", "maxLength": 5})
        self.schema({"anyOf": [{"type": "boolean"}, {"enum": ["maybe"]}]})

    def test_properties_that_may_be_absent(self):
        schema = {"type": "object", "properties": {"a": {"enum": [1]}, "b": {"enum": [2]}, "c": {"enum": [3]}},
                  "required": ["b"], "additionalProperties": False}
        self.assertGreater(len({tuple(value) for value in self.schema(schema, n=16, temperature=3)}), 1)

    def test_pattern(self):
        for value in self.schema({"type": "string", "pattern": "^[A-Z]{3}-[0-9]{2}$"}):
            self.assertRegex(value, "^[A-Z]{3}-[0-9]{2}$")

    def test_references(self):
        self.schema({"$ref": "#/$defs/pair", "$defs": {
            "pair": {"type": "array", "items": {"$ref": "#/$defs/leaf"}, "minItems": 2, "maxItems": 2},
            "leaf": {"enum": ["salt", "wool"]}}})

    def test_what_a_schema_cannot_express_is_named(self):
        for keyword, schema in (("not", {"not": {"type": "string"}}), ("if", {"if": {"type": "string"}, "then": False}),
                                ("patternProperties", {"type": "object", "patternProperties": {"a": {}}}),
                                ("$ref", {"$ref": "https://example.com/schema"}), ("type", {"type": "text"})):
            with self.subTest(keyword=keyword):
                wanted = {"type": "json_schema", "json_schema": {"name": "it", "schema": schema, "strict": True}}
                self.refused(lambda wanted=wanted: self.chat(wanted), "response_format", [keyword])
        self.refused(lambda: self.chat({"type": "yaml"}), "response_format")
        self.refused(lambda: self.chat({"type": "json_schema"}), "response_format")

    def test_a_schema_has_limits(self):
        deep = {}
        for _ in range(300):
            deep = {"type": "array", "items": deep}
        wide = {"type": "array", "items": {"type": "integer"}, "minItems": 10**9, "maxItems": 10**9}
        for schema in (deep, wide):
            wanted = {"type": "json_schema", "json_schema": {"name": "it", "schema": schema}}
            self.refused(lambda wanted=wanted: self.chat(wanted))

    def test_grammar_and_regex(self):
        def said(**fields):
            return self.chat(extra_body=fields).choices[0].message.content
        self.assertRegex(said(guided_regex="[a-c]{4}(x|y)"), "^[a-c]{4}(x|y)$")
        self.assertIn(said(grammar='root ::= "salt" | "wool" [0-9]'), ["salt", *(f"wool{i}" for i in range(10))])
        self.assertIn(said(structured_outputs={"regex": "salt|wool"}), ["salt", "wool"])
        self.refused(lambda: said(guided_regex="["), "guided_regex")
        self.refused(lambda: said(grammar="root ::= nothing"), "grammar")
        self.refused(lambda: said(grammar='root ::= "a"', guided_regex="b"))

    def test_in_completions(self):
        reply = self.client.completions.create(model=self.model, prompt=FACTS, max_tokens=20, temperature=0,
                                               extra_body={"guided_regex": "(salt|wool)"})
        self.assertIn(reply.choices[0].text, ["salt", "wool"])


class Responses(ClientTestCase):
    def respond(self, wanted=QUESTION, **fields):
        return self.client.responses.create(model=self.model, input=wanted,
                                            **{"instructions": FACTS, "temperature": 0, "max_output_tokens": 24, **fields})

    def test_shape_of_the_response(self):
        reply = self.respond()
        self.assertEqual((reply.object, reply.status, reply.error), ("response", "completed", None))
        self.assertTrue(reply.id.startswith("resp_"))
        self.assertEqual(reply.output_text, ANSWER)
        [item] = reply.output
        self.assertEqual((item.type, item.role, item.status), ("message", "assistant", "completed"))
        self.assertEqual([part.type for part in item.content], ["output_text"])
        usage = reply.usage
        self.assertEqual(usage.total_tokens, usage.input_tokens + usage.output_tokens)
        self.assertEqual(usage.input_tokens_details.cached_tokens, 0)
        self.assertGreater(self.respond().usage.input_tokens_details.cached_tokens, 0)
        self.assertIn("miss_reason", reply.kvasir)

    def test_input_as_messages(self):
        parts = [{"type": "input_text", "text": QUESTION}]
        for wanted in ([{"role": "user", "content": QUESTION}], [{"role": "user", "content": parts}],
                       [{"type": "message", "role": "user", "content": parts}]):
            self.assertEqual(self.respond(wanted).output_text, ANSWER)
        chat = self.client.chat.completions.create(model=self.model, messages=MESSAGES, max_tokens=24)
        self.assertEqual(self.respond([MESSAGES[0], MESSAGES[1]], instructions=None).usage.input_tokens,
                         chat.usage.prompt_tokens)

    def test_output_goes_back_as_input(self):
        first = self.respond()
        history = [{"role": "user", "content": QUESTION}, *first.output, {"role": "user", "content": "How old is Victor?"}]
        second = self.respond(history)
        self.assertIn("40", second.output_text)
        self.assertGreaterEqual(second.usage.input_tokens_details.cached_tokens, first.usage.total_tokens - 1)

    def test_length(self):
        reply = self.respond(max_output_tokens=3)
        self.assertEqual((reply.status, reply.incomplete_details.reason), ("incomplete", "max_output_tokens"))
        self.assertEqual(reply.usage.output_tokens, 3)

    def test_stream(self):
        events = list(self.respond(stream=True))
        types = [event.type for event in events]
        self.assertEqual((types[0], types[-1]), ("response.created", "response.completed"))
        order = ["response.created", "response.in_progress", "response.output_item.added", "response.content_part.added",
                 "response.output_text.delta", "response.output_text.done", "response.content_part.done",
                 "response.output_item.done", "response.completed"]
        self.assertEqual(list(dict.fromkeys(types)), order)
        self.assertEqual([event.sequence_number for event in events], list(range(len(events))))
        self.assertEqual("".join(event.delta for event in events if event.type == "response.output_text.delta"), ANSWER)
        self.assertEqual(events[-1].response.output_text, ANSWER)
        self.assertIsInstance(events[-1].response.usage.input_tokens_details.cached_tokens, int)

    def test_stream_helper(self):
        with self.client.responses.stream(model=self.model, input=QUESTION, instructions=FACTS, temperature=0,
                                          max_output_tokens=24) as stream:
            for _ in stream:
                pass
            self.assertEqual(stream.get_final_response().output_text, ANSWER)

    def test_pydantic_model(self):
        reply = self.client.responses.parse(model=self.model, input=QUESTION, max_output_tokens=300, text_format=Atlas)
        self.assertIsInstance(reply.output_parsed, Atlas)

    def test_refusals(self):
        self.refused(lambda: self.respond(previous_response_id="resp_1"), "previous_response_id")
        self.refused(lambda: self.respond(background=True), "background")
        self.refused(lambda: self.respond([{"type": "item_reference", "id": "x"}]), "input")
        self.refused(lambda: self.respond(max_output_tokens=0), "max_output_tokens")
        self.refused(lambda: self.respond(tools=[{"type": "web_search"}]), "tools")
        self.refused(lambda: self.respond(extra_body={"nonsense": 1}), "nonsense")
