#!/usr/bin/env python3
"""Writes tests/data/grammar: random schemas with instances, and random patterns with texts, judged by other implementations.

json_schema.jsonl: {"schema", "valid": [text], "invalid": [text]} by the package jsonschema. Schemas stay within what
src/grammar/json_schema.h supports and say themselves where it would be stricter (additionalProperties, items); instances have
their properties in the schema's order.
regex.jsonl: {"pattern", "texts": [{"text", "fullmatch", "search"}]} by the module re, with re.ASCII.
"""

import copy
import json
import random
import re
from pathlib import Path

import jsonschema

OUT = Path(__file__).resolve().parent.parent / "tests" / "data" / "grammar"
NUM_SCHEMAS, NUM_PATTERNS = 400, 300

CHARACTERS = ["a", "b", "c", "z", "A", "0", "7", " ", "-", '"', "\\", "/", "\n", "\x01", "\x7f", "\u00e4", "\u4e2d", "\U0001f600"]
NAMES = ["a", "ab", "b", "key", "na\u00efve", "name", "q\"q", "value"]  # always in this order
EXTRA_NAMES = ["x", "xy", "zz"]
PATTERNS = [(r"^[a-c]+$", ["a", "abc", "abd", ""]), (r"b", ["b", "abc", "ac", ""]), (r"^\d{2,3}-x?$", ["12-", "123-x", "1-", "12-xx"]),
            (r"^(foo|bar)", ["foo", "barn", "fo", "xfoo"]), (r'^["\\]{1,2}$', ['"', '\\"', "a", ""]), (r"^.{2}$", ["ab", "\u4e2d\U0001f600", "a"])]
FORMATS = {"date": ["2024-02-29", "2023-02-29", "2024-12-31", "2024-13-01", "x"],
           "uuid": ["123e4567-e89b-12d3-a456-426614174000", "123e4567"], "ipv4": ["127.0.0.1", "256.0.0.1", "1.2.3"]}


class SchemaMaker:
    """A random schema, and values that are more or less instances of it."""

    def __init__(self, rng):
        self.rng = rng
        self.has_node = False

    def chance(self, p):
        return self.rng.random() < p

    def text(self, low=0, high=5):
        return "".join(self.rng.choice(CHARACTERS) for _ in range(self.rng.randint(low, high)))

    def bounds(self, low, high, names):
        a, b = sorted((self.rng.randint(low, high), self.rng.randint(low, high)))
        return {name: value for name, value in zip(names, (a, b)) if self.chance(0.7)}

    def schema(self, depth):
        kinds = ["string", "integer", "number", "boolean", "null", "enum", "const", "types"]
        if depth > 0:
            kinds += ["object", "array", "object", "array", "tuple", "anyOf", "oneOf", "allOf"]
        kind = self.rng.choice(kinds)
        if depth > 0 and self.chance(0.07):
            self.has_node = True
            return {"$ref": "#/$defs/node"}
        return getattr(self, "make_" + kind)(depth)

    def make_string(self, _):
        schema = {"type": "string"}
        choice = self.rng.randrange(6)
        if choice == 0:
            schema["pattern"] = self.rng.choice(PATTERNS)[0]
        elif choice == 1:
            schema["format"] = self.rng.choice(list(FORMATS))
        elif choice < 4:
            schema |= self.bounds(0, 5, ("minLength", "maxLength"))
        if self.chance(0.2):
            schema["title"] = "T"
        return schema

    def make_integer(self, _):
        low, high = self.rng.choice([(-9, 9), (-200, 200), (0, 12345), (-1000000, 1000000)])
        names = (self.rng.choice(["minimum", "exclusiveMinimum"]), self.rng.choice(["maximum", "exclusiveMaximum"]))
        return {"type": "integer", **self.bounds(low, high, names)}

    def make_number(self, depth):
        schema = self.make_integer(depth)
        return {key: "number" if key == "type" else value / self.rng.choice([1, 2, 8, 10, 100]) if self.chance(0.6) else value
                for key, value in schema.items()}

    def make_boolean(self, _):
        return {"type": "boolean"}

    def make_null(self, _):
        return {"type": "null"}

    def make_enum(self, _):
        values = [self.value() for _ in range(self.rng.randint(1, 4))]
        return {"enum": values}

    def make_const(self, _):
        return {"const": self.value()}

    def make_types(self, _):
        return {"type": self.rng.sample(["string", "integer", "boolean", "null"], self.rng.randint(1, 3))}

    def make_object(self, depth, closed=False):
        names = [name for name in NAMES if self.chance(0.4)]
        schema = {"type": "object", "properties": {name: self.schema(depth - 1) for name in names}}
        schema["required"] = [name for name in names if self.chance(0.5)]
        schema["additionalProperties"] = False if closed else self.rng.choice([False, False, True, self.schema(0)])
        return schema

    def make_array(self, depth):
        return {"type": "array", "items": self.schema(depth - 1), **self.bounds(0, 4, ("minItems", "maxItems"))}

    def make_tuple(self, depth):
        return {"type": "array", "prefixItems": [self.schema(depth - 1) for _ in range(self.rng.randint(1, 3))],
                "items": self.rng.choice([False, self.schema(0)]), **self.bounds(0, 4, ("minItems", "maxItems"))}

    def make_anyOf(self, depth):
        return {"anyOf": [self.make_object(depth, True) if self.chance(0.4) else self.schema(0) for _ in range(self.rng.randint(1, 3))]}

    def make_oneOf(self, depth):
        if self.chance(0.5):
            return {"oneOf": [self.make_string(0), self.make_integer(0), self.make_null(0)][: self.rng.randint(1, 3)]}
        alternatives = []
        for i in range(self.rng.randint(2, 3)):
            schema = self.make_object(depth, True)
            rest = {name: value for name, value in schema["properties"].items() if name != "a"}
            schema["properties"] = {"a": {"const": f"kind{i}"}} | rest
            schema["required"] = ["a"] + [name for name in schema["required"] if name != "a"]
            alternatives.append(schema)
        return {"oneOf": alternatives}

    def make_allOf(self, depth):
        parts = [self.make_integer(0), self.make_integer(0)]
        if self.chance(0.5):
            parts = [self.make_object(depth - 1), self.make_object(depth - 1)]
            for part in parts:
                part["additionalProperties"] = True
                part["properties"] = {name: {"type": "integer", "minimum": self.rng.randint(-3, 3)} for name in part["properties"]}
            # The grammar has the first part's properties first.
            order = list(parts[0]["properties"]) + list(parts[1]["properties"])
            if order != sorted(order, key=NAMES.index):
                parts = parts[:1]
        return {"allOf": parts}

    def value(self, depth=1):
        kind = self.rng.randrange(8 if depth > 0 else 6)
        if kind == 6:
            return [self.value(0) for _ in range(self.rng.randint(0, 3))]
        if kind == 7:
            return {name: self.value(0) for name in NAMES + EXTRA_NAMES if self.chance(0.2)}
        return [None, self.chance(0.5), self.rng.randint(-300, 300), self.rng.randint(-999, 999) / 8 + 0.0625, self.text(), self.text()][kind]

    def sample(self, schema, defs, depth=6):
        """Mostly an instance; something else now and then."""
        if schema is True or depth < 0 or self.chance(0.03):
            return self.value()
        if schema is False:
            return self.value()
        if "$ref" in schema:
            return self.sample(defs["node"], defs, depth - 1)
        for keyword in ("anyOf", "oneOf"):
            if keyword in schema:
                return self.sample(self.rng.choice(schema[keyword]), defs, depth - 1)
        if "allOf" in schema:
            parts = [self.sample(part, defs, depth - 1) for part in schema["allOf"]]
            if all(isinstance(part, dict) for part in parts):
                merged = {name: value for part in parts for name, value in part.items()}
                return {name: merged[name] for name in NAMES + EXTRA_NAMES if name in merged}
            return self.rng.choice(parts)
        if "enum" in schema:
            return copy.deepcopy(self.rng.choice(schema["enum"]))
        if "const" in schema:
            return copy.deepcopy(schema["const"])
        kind = schema["type"]
        return getattr(self, "sample_" + (kind if isinstance(kind, str) else self.rng.choice(kind)))(schema, defs, depth)

    def sample_string(self, schema, *_):
        if "pattern" in schema:
            return self.rng.choice(dict(PATTERNS)[schema["pattern"]])
        if "format" in schema:
            return self.rng.choice(FORMATS[schema["format"]])
        low, high = schema.get("minLength", 0), schema.get("maxLength", 6)
        return self.text(max(0, low - self.chance(0.1)), high + self.chance(0.1))

    def sample_integer(self, schema, *_):
        bounds = [schema[key] for key in ("minimum", "exclusiveMinimum", "maximum", "exclusiveMaximum") if key in schema]
        if bounds and self.chance(0.5):
            return int(self.rng.choice(bounds)) + self.rng.randint(-1, 1)
        low, high = int(min(bounds, default=-50)), int(max(bounds, default=50))
        return self.rng.randint(low, max(low, high + 20))

    def sample_number(self, schema, *rest):
        value = self.sample_integer(schema, *rest)
        return value if self.chance(0.3) else value + self.rng.choice([0.5, 0.25, 0.01, 0.375, 0.99])

    def sample_boolean(self, *_):
        return self.chance(0.5)

    def sample_null(self, *_):
        return None

    def sample_object(self, schema, defs, depth):
        result = {}
        for name, each in schema["properties"].items():
            if self.chance(0.95 if name in schema["required"] else 0.5):
                result[name] = self.sample(each, defs, depth - 1)
        further = schema["additionalProperties"]
        if self.chance(0.3 if further is not False else 0.05):
            result[self.rng.choice(EXTRA_NAMES)] = self.sample(further, defs, depth - 1)
        return result

    def sample_array(self, schema, defs, depth):
        prefix = schema.get("prefixItems", [])
        low, high = schema.get("minItems", 0), schema.get("maxItems", 4)
        count = self.rng.randint(max(0, low - self.chance(0.1)), high + self.chance(0.1))
        return [self.sample(prefix[i] if i < len(prefix) else schema["items"], defs, depth - 1) for i in range(count)]


def make_schemas(rng):
    checker = jsonschema.FormatChecker(list(FORMATS))
    while True:
        maker = SchemaMaker(rng)
        schema = maker.schema(3)
        defs = {}
        if maker.has_node:
            defs = {"node": {"type": "object", "properties": {"name": {"type": "string"}, "value": {
                "anyOf": [{"$ref": "#/$defs/node"}, {"type": "array", "items": {"$ref": "#/$defs/node"}}, {"type": "integer"}]}},
                "required": ["value"], "additionalProperties": False}}
            schema["$defs"] = defs
        validator = jsonschema.Draft202012Validator(schema, format_checker=checker)
        texts = {True: [], False: []}
        for _ in range(40):
            instance = maker.sample(schema, defs)
            separators = rng.choice([(",", ":"), (", ", ": ")])
            text = json.dumps(instance, ensure_ascii=False, separators=separators)
            of_kind = texts[validator.is_valid(instance)]
            if text not in of_kind and len(of_kind) < 6 and len(text) < 400:
                of_kind.append(text)
        if texts[True]:  # else it may have no instance, which the grammar refuses
            yield {"schema": schema, "valid": texts[True], "invalid": texts[False]}


class PatternMaker:
    """A random pattern, and texts near to it."""

    ATOMS = [("a", "a"), ("b", "b"), ("\u00e9", "\u00e9"), (".", "abz\u4e2d"), (r"\d", "059"), (r"\w", "a_7"), (r"\s", " \t"), (r"\D", "a-"),
             (r"\.", "."), (r"\\", "\\"), ("[abc]", "abc"), ("[^abc]", "dz\u4e2d"), ("[a-c0-3]", "b2"), (r"[\d_]", "4_"), (r"[^\W\d]", "aZ"),
             ("[\u4e00-\u4eff]", "\u4e2d"), (r"\x41", "A"), (r"\u00e9", "\u00e9"), ("[]x]", "]x"), (r"[\]\-a]", "]-a"), ("\U0001f600", "\U0001f600")]

    def __init__(self, rng):
        self.rng = rng

    def make(self, depth, is_repeated=False):
        """(pattern, a function that makes a text)"""
        rng = self.rng
        # A repetition of a repetition can take the module re for ever.
        kind = rng.randrange(4 if is_repeated else 6) if depth > 0 else 0
        if kind <= 1:
            pattern, samples = rng.choice(self.ATOMS)
            return pattern, lambda: rng.choice(samples)
        if kind == 2:
            parts = [self.make(depth - 1, is_repeated) for _ in range(rng.randint(1, 4))]
            return "".join(p for p, _ in parts), lambda: "".join(make() for _, make in parts)
        if kind == 3:
            parts = [self.make(depth - 1, is_repeated) for _ in range(rng.randint(2, 3))]
            opening = rng.choice(["(", "(?:", f"(?P<g{rng.randrange(10**9)}>"])
            return opening + "|".join(p for p, _ in parts) + ")", lambda: rng.choice(parts)[1]()
        pattern, make = self.make(depth - 1, True)
        low = rng.randint(0, 3)
        quantifier, low, high = rng.choice([("*", 0, 4), ("+", 1, 4), ("?", 0, 1), (f"{{{low}}}", low, low), (f"{{{low},}}", low, low + 2),
                                            (f"{{{low},{low + 2}}}", low, low + 2), ("*?", 0, 3), ("+?", 1, 3)])
        return f"(?:{pattern}){quantifier}", lambda: "".join(make() for _ in range(rng.randint(low, high)))


def make_patterns(rng):
    while True:
        pattern, make = PatternMaker(rng).make(4)
        if rng.random() < 0.3:
            pattern = rng.choice(["^", ""]) + f"(?:{pattern})" + rng.choice(["$", ""])
        compiled = re.compile(pattern, re.ASCII)
        texts = []
        for _ in range(12):
            text = make()
            if rng.random() < 0.5:
                at = rng.randint(0, len(text))
                text = text[:at] + rng.choice(["", "a", "\u4e2d", "5", "_"]) + text[at + rng.randint(0, 1):]
            if len(text) < 30 and text not in [each["text"] for each in texts]:
                texts.append({"text": text, "fullmatch": bool(compiled.fullmatch(text)), "search": bool(compiled.search(text))})
        yield {"pattern": pattern, "texts": texts}


def write(name, lines, count):
    with open(OUT / name, "w", encoding="utf-8") as file:
        for _ in range(count):
            file.write(json.dumps(next(lines), ensure_ascii=False) + "\n")


def main():
    OUT.mkdir(parents=True, exist_ok=True)
    write("json_schema.jsonl", make_schemas(random.Random(1)), NUM_SCHEMAS)
    write("regex.jsonl", make_patterns(random.Random(2)), NUM_PATTERNS)


if __name__ == "__main__":
    main()
