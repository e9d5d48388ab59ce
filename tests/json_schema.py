"""JSON Schema as far as the server's OpenAPI document uses it: what is wrong with a value, and values to try."""

import math
import re

TYPES = {"object": dict, "array": list, "string": str, "boolean": bool, "null": type(None)}
KEYWORDS = {"$ref", "type", "enum", "const", "anyOf", "minimum", "maximum", "minLength", "maxLength", "pattern",
            "items", "prefixItems", "minItems", "maxItems", "properties", "required", "additionalProperties",
            "propertyNames", "maxProperties", "description", "default", "examples"}
# One of each kind, whatever a schema says.
ANY = [None, True, False, 0, 1, -1, 0.5, 2**31, 2**64, "", "x", [], ["x"], [""], [0], [[0]], {}, {"x": 1}]


def is_type(value, name):
    if name == "integer":
        return isinstance(value, int) and not isinstance(value, bool)
    if name == "number":
        return isinstance(value, (int, float)) and not isinstance(value, bool)
    return isinstance(value, TYPES[name])


def equal(a, b):
    return a == b and isinstance(a, bool) == isinstance(b, bool)


class Schemas:
    """The schemas of a document. With `is_strict` an object has no members but those that its schema names."""

    def __init__(self, document, is_strict=False):
        self.document = document
        self.is_strict = is_strict

    def resolve(self, schema):
        while "$ref" in schema:
            node = self.document
            for part in schema["$ref"].removeprefix("#/").split("/"):
                node = node[part]
            schema = node
        return schema

    def is_valid(self, schema, value):
        return not any(self.violations(schema, value))

    def violations(self, schema, value, at="$"):
        """Yields a line for whatever is wrong."""
        if schema is False:
            yield f"{at}: should not be there"
            return
        schema = self.resolve(schema)
        assert KEYWORDS >= schema.keys(), schema.keys() - KEYWORDS
        types = schema.get("type", [])
        types = [types] if isinstance(types, str) else types
        if types and not any(is_type(value, name) for name in types):
            yield f"{at}: {value!r} is not of type {types}"
            return
        if "enum" in schema and not any(equal(value, each) for each in schema["enum"]):
            yield f"{at}: {value!r} is none of {schema['enum']}"
        if "const" in schema and not equal(value, schema["const"]):
            yield f"{at}: {value!r} is not {schema['const']!r}"
        if "anyOf" in schema:
            tries = [list(self.violations(each, value, at)) for each in schema["anyOf"]]
            if all(tries):
                yield f"{at}: none of anyOf: " + "; ".join(found[0] for found in tries)
        if is_type(value, "number"):
            if not schema.get("minimum", -math.inf) <= value <= schema.get("maximum", math.inf):
                yield f"{at}: {value} is out of range"
        elif isinstance(value, str):
            if not schema.get("minLength", 0) <= len(value) <= schema.get("maxLength", math.inf):
                yield f"{at}: {len(value)} characters"
            if not re.search(schema.get("pattern", ""), value):
                yield f"{at}: {value!r} does not match {schema['pattern']}"
        elif isinstance(value, list):
            yield from self._violations_of_array(schema, value, at)
        elif isinstance(value, dict):
            yield from self._violations_of_object(schema, value, at)

    def _violations_of_array(self, schema, value, at):
        if not schema.get("minItems", 0) <= len(value) <= schema.get("maxItems", math.inf):
            yield f"{at}: {len(value)} items"
        prefix = schema.get("prefixItems", [])
        for i, item in enumerate(value):
            yield from self.violations(prefix[i] if i < len(prefix) else schema.get("items", {}), item, f"{at}[{i}]")

    def _violations_of_object(self, schema, value, at):
        properties = schema.get("properties", {})
        if len(value) > schema.get("maxProperties", math.inf):
            yield f"{at}: {len(value)} members"
        for name in schema.get("required", []):
            if name not in value:
                yield f"{at}: has no {name!r}"
        rest = schema.get("additionalProperties", not (self.is_strict and properties))
        rest = {} if rest is True else rest
        for name, member in value.items():
            if "propertyNames" in schema:
                yield from self.violations(schema["propertyNames"], name, f"{at}: the name {name!r}")
            yield from self.violations(properties.get(name, rest), member, f"{at}.{name}")

    def example(self, schema):
        """A value that is right and as small as can be."""
        schema = self.resolve(schema)
        if "examples" in schema:
            return schema["examples"][0]
        if "anyOf" in schema:
            return self.example(schema["anyOf"][0])
        if "enum" in schema or "const" in schema:
            return schema.get("enum", [schema.get("const")])[0]
        types = schema.get("type", "string")
        name = types if isinstance(types, str) else types[0]
        if name == "object":
            return {key: self.example(schema["properties"][key]) for key in schema.get("required", [])}
        if name == "array":
            items = schema.get("prefixItems") or [schema.get("items", {})] * schema.get("minItems", 0)
            return [self.example(each) for each in items]
        if name == "string":
            return "x"
        return {"boolean": False, "null": None}.get(name, max(0, schema.get("minimum", 0)))

    def candidates(self, schema):
        """Yields values on both sides of each limit, at any depth, one thing wrong at a time. May repeat itself."""
        schema = self.resolve(schema)
        yield from ANY
        yield from schema.get("examples", [])
        yield from schema.get("enum", [])
        yield from [schema["const"]] if "const" in schema else []
        for each in schema.get("anyOf", []):
            yield from self.candidates(each)
        for key in ("minimum", "maximum"):
            yield from [schema[key] + step for step in (-1, 0, 1)] if key in schema else []
        for key in ("minLength", "maxLength"):
            yield from ["x" * max(schema[key] + step, 0) for step in (-1, 0, 1)] if key in schema else []
        if "pattern" in schema:
            yield from ("a b", "ü", "x" * 64, "x" * 65)
        yield from self._candidates_of_array(schema)
        yield from self._candidates_of_object(schema)

    def _candidates_of_array(self, schema):
        right = self.example(schema) if "prefixItems" in schema else []
        for i, each in enumerate(schema.get("prefixItems", [])):
            for value in self.candidates(each):
                yield right[:i] + [value] + right[i + 1:]
        if right:
            yield from (right[:-1], right + [0])
        items = schema.get("items")
        if not items:
            return
        for value in self.candidates(items):
            yield [value]
        for key in ("minItems", "maxItems"):
            yield from [[self.example(items)] * (schema[key] + step) for step in (-1, 0, 1)] if key in schema else []

    def _candidates_of_object(self, schema):
        if "additionalProperties" in schema and schema["additionalProperties"] is not False:
            for value in self.candidates(schema["additionalProperties"]):
                yield {"1": value}
            yield from ({"-1": 0}, {"1" * 10: 0})
        if "properties" not in schema:
            return
        right = self.example(schema)
        yield right | {"x": 1}
        for name in schema.get("required", []):
            yield {key: value for key, value in right.items() if key != name}
        for name, member in schema["properties"].items():
            for value in self.candidates(member):
                yield right | {name: value}
