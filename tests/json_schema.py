"""JSON Schema as far as the server's OpenAPI document uses it."""

import math
import re

TYPES = {"object": dict, "array": list, "string": str, "boolean": bool, "null": type(None)}
KNOWN = {"$ref", "type", "enum", "const", "anyOf", "minimum", "maximum", "minLength", "maxLength", "pattern", "items",
         "prefixItems", "minItems", "maxItems", "properties", "required", "additionalProperties", "propertyNames",
         "maxProperties", "description", "default"}


def is_type(value, name):
    if name == "integer":
        return isinstance(value, int) and not isinstance(value, bool)
    if name == "number":
        return isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)
    return isinstance(value, TYPES[name])


def equal(a, b):
    return a == b and isinstance(a, bool) == isinstance(b, bool)


class Validator:
    """`is_strict`: an object has no members but those that its schema names, whatever additionalProperties says."""

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
        assert KNOWN >= schema.keys(), schema.keys() - KNOWN
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
            if value < schema.get("minimum", -math.inf) or value > schema.get("maximum", math.inf):
                yield f"{at}: {value} is out of range"
        elif isinstance(value, str):
            yield from self.of_string(schema, value, at)
        elif isinstance(value, list):
            yield from self.of_array(schema, value, at)
        elif isinstance(value, dict):
            yield from self.of_object(schema, value, at)

    def of_string(self, schema, value, at):
        if not schema.get("minLength", 0) <= len(value) <= schema.get("maxLength", math.inf):
            yield f"{at}: {len(value)} characters"
        if "pattern" in schema and not re.search(schema["pattern"], value):
            yield f"{at}: {value!r} does not match {schema['pattern']}"

    def of_array(self, schema, value, at):
        if not schema.get("minItems", 0) <= len(value) <= schema.get("maxItems", math.inf):
            yield f"{at}: {len(value)} items"
        prefix = schema.get("prefixItems", [])
        for i, item in enumerate(value):
            yield from self.violations(prefix[i] if i < len(prefix) else schema.get("items", {}), item, f"{at}[{i}]")

    def of_object(self, schema, value, at):
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
