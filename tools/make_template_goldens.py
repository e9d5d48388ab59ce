#!/usr/bin/env python3
"""Writes tests/data/chat_template: templates and expressions of our own, with what jinja2 makes of them.

<name>.jinja is a chat template in the manner of a family of models, <name>.json has its renders of the conversations in
_conversations.json; _expressions.json has small templates on one context. The environment is that of transformers'
apply_chat_template (ImmutableSandboxedEnvironment, trim_blocks, lstrip_blocks, loopcontrols, the `generation` tag, its own
tojson, raise_exception and strftime_now).
"""

import copy
import datetime
import itertools
import json
import warnings
from pathlib import Path

import jinja2
import jinja2.ext
from jinja2.sandbox import ImmutableSandboxedEnvironment

OUT = Path(__file__).resolve().parent.parent / "tests" / "data" / "chat_template"
NOW = datetime.datetime(2025, 3, 4, 5, 6, 7)


class Generation(jinja2.ext.Extension):
    """The tag that marks what the assistant says: it prints its body."""

    tags = {"generation"}

    def parse(self, parser):
        line = next(parser.stream).lineno
        body = parser.parse_statements(["name:endgeneration"], drop_needle=True)
        return jinja2.nodes.CallBlock(self.call_method("_print"), [], [], body).set_lineno(line)

    def _print(self, caller):
        return caller()


def environment():
    def raise_exception(message):
        raise jinja2.exceptions.TemplateError(message)

    def tojson(x, ensure_ascii=False, indent=None, separators=None, sort_keys=False):
        return json.dumps(x, ensure_ascii=ensure_ascii, indent=indent, separators=separators, sort_keys=sort_keys)

    env = ImmutableSandboxedEnvironment(trim_blocks=True, lstrip_blocks=True,
                                        extensions=[Generation, jinja2.ext.loopcontrols])
    env.filters["tojson"] = tojson
    env.globals["raise_exception"] = raise_exception
    env.globals["strftime_now"] = NOW.strftime
    return env


ENV = environment()

CONTEXT = {
    "s": "Hello World", "e": "", "n": 7, "neg": -3, "f": 2.5, "big": 12345678901234567890, "t": True, "z": None,
    "l": [3, 1, 2], "ls": ["b", "A", "c"], "mixed": [1, "a", None, True, 2.5, [1], {"k": 1}], "empty": [],
    "d": {"b": 1, "a": "x", "C": [1, {"k": None}]}, "u": "\u00c4\u00df\u00e9 \u65e5\u672c\U0001f600 \u03a3\u03a3",
    "ws": " \t two\nlines \n", "html": "<a href='x'>&\"</a>", "nested": [[1, [2, 3]], [4]],
    "people": [{"name": "Bo", "age": 3}, {"name": "al", "age": 5}, {"name": "Cy", "age": 3}, {"name": "bo"}],
}

FILTERS = [
    "abs", "capitalize", "center(15)", "default('q')", "default('q', true)", "escape", "first", "float", "float(-1)",
    "forceescape", "indent(2)", "indent('> ', first=true)", "indent(1, true, true)", "int", "int(5)", "join", "join('-')",
    "last", "length", "list", "lower", "max", "min", "replace('l', 'LL')", "replace('', '.', 3)", "reverse|list", "round",
    "round(1)", "round(0, 'ceil')", "string", "striptags", "sum", "title", "tojson", "tojson(indent=2)",
    "tojson(ensure_ascii=true)", "tojson(separators=(',', ':'), sort_keys=true)", "trim", "trim('Hd')", "truncate(6)",
    "truncate(8, true, '..', 0)", "unique|list", "upper", "wordcount", "sort", "sort(reverse=true)",
    "sort(case_sensitive=true)", "batch(2)|list", "batch(2, 0)|list", "slice(2)|list", "slice(2, 'f')|list",
    "select|list", "reject|list", "map('string')|list", "urlencode", "safe", "dictsort", "dictsort(by='value')",
    "dictsort(true, reverse=true)", "items|list", "filesizeformat", "count",
]
FILTER_INPUTS = ["s", "e", "n", "f", "z", "t", "l", "ls", "d", "u", "ws", "html", "people", "mixed", "missing"]

METHODS = [
    "upper()", "lower()", "title()", "capitalize()", "swapcase()", "casefold()", "strip()", "strip(' H')", "lstrip()",
    "rstrip('d')", "split()", "split('l')", "split(none, 1)", "rsplit(' ', 1)", "splitlines()", "splitlines(true)",
    "partition('o')", "rpartition('o')", "startswith('H')", "endswith(('x', 'd'))", "find('o')", "rfind('o', 0, 6)",
    "index('o')", "count('l')", "count('')", "replace('o', '0')", "replace('', '-')", "join(['x', 'y'])", "center(17, '*')",
    "ljust(13)", "rjust(13, '.')", "zfill(13)", "expandtabs(4)", "removeprefix('He')", "removesuffix('ld')", "isalpha()",
    "isdigit()", "isspace()", "isupper()", "istitle()", "isidentifier()", "format(1)", "encode", "get('a')", "items()",
    "keys()|list", "append(1)", "pop", "__class__",
]
METHOD_INPUTS = ["s", "e", "u", "ws", "'-42'", "'a{}b{{}}'", "d", "l"]

TESTS = ["defined", "none", "string", "number", "integer", "float", "boolean", "true", "mapping", "iterable", "sequence",
         "callable", "lower", "upper", "odd", "eq(7)", "ne 7", "gt(2)", "le(2.5)", "in([7, 'x'])", "sameas(none)", "escaped"]
TEST_INPUTS = ["s", "e", "n", "f", "z", "t", "l", "d", "missing", "range(3)", "html|safe"]

OPERATORS = ["+", "-", "*", "/", "//", "%", "**", "~", "==", "<", ">=", "in", "and", "or"]
OPERANDS = ["n", "neg", "f", "t", "z", "s", "l", "(1, 2)", "d", "missing", "big", "0"]

SLICES = ["[1:]", "[:2]", "[-2:]", "[::-1]", "[::2]", "[4:1:-1]", "[:-9]", "[0]", "[-1]", "[99]", "['a']"]
SLICE_INPUTS = ["s", "u", "l", "(1, 2, 3)", "range(5)", "d", "missing"]

STATEMENTS = [
    "{% for x in l %}{{ loop.index }}/{{ loop.length }}{{ loop.first }}{{ loop.last }}{{ loop.previtem }}{{ loop.nextitem }};{% endfor %}",
    "{% for x in [] %}x{% else %}none{% endfor %}|{% for x in l %}{% continue %}{% else %}all continued{% endfor %}",
    "{% for x in l %}{% break %}{% else %}broken{% endfor %}|{% for x in l if x > 1 %}{{ x }}{{ loop.index }}{% endfor %}",
    "{% for k, v in d.items() %}{{ k }}={{ v }}{{ ',' if not loop.last }}{% endfor %}",
    "{% for x in nested recursive %}{{ loop.depth }}{% if x is sequence %}[{{ loop(x) }}]{% else %}{{ x }}{% endif %}{% endfor %}",
    "{% for x in l %}{% set y = x %}{% endfor %}{{ y }}|{% set y = 0 %}{% for x in l %}{% set y = y + x %}{% endfor %}{{ y }}",
    "{% set ns = namespace(a=1, b='x') %}{% for x in l %}{% set ns.a = ns.a + x %}{% endfor %}{{ ns.a }}{{ ns.b }}{{ ns.c }}{{ ns }}",
    "{% set a, b = 1, [2] %}{{ a }}{{ b }}{% set (c, d2) = 'xy' %}{{ c }}{{ d2 }}{% set x.y = 1 %}",
    "{% set a, b = l %}", "{% set x %}a{{ n }}{% endset %}{{ x ~ x }}{% set y | upper | replace('A', 'b') %}aa{% endset %}{{ y }}",
    "{% macro m(a, b=2, *c) %}{% endmacro %}", "{% macro m(a, b=a) %}{{ a }}{{ b }}{% endmacro %}{{ m(1) }}{{ m(1, 3) }}{{ m(b=1, a=2) }}{{ m() }}",
    "{% macro m(a) %}{{ a }}{{ varargs }}{{ kwargs }}{% endmacro %}{{ m(1, 2, 3, x=4) }}{{ m }}",
    "{% macro m(a) %}{{ a }}{% endmacro %}{{ m(1, 2) }}", "{% macro m(a) %}{{ a }}{% endmacro %}{{ m(b=2) }}",
    "{% macro m() %}[{{ caller('x') }}]{% endmacro %}{% call(v) m() %}{{ v }}{{ n }}{% endcall %}{{ caller is defined }}",
    "{% macro m() %}{{ caller is defined }}{% if caller %}{{ caller() }}{% endif %}{% endmacro %}{{ m() }}{% call m() %}c{% endcall %}",
    "{% macro f(n) %}{{ n if n < 2 else f(n - 1)|int + f(n - 2)|int }}{% endmacro %}{{ f(10) }}",
    "{% with a = 1, b = n %}{{ a + b }}{% set n = 9 %}{{ n }}{% endwith %}{{ n }}{{ a }}",
    "{% filter upper %}a{{ s }}{% endfilter %}{% filter replace('a', 'b')|indent(2) %}a\na{% endfilter %}",
    "{% if n > 5 and not z %}A{% elif n %}B{% else %}C{% endif %}{% if missing %}D{% endif %}{{ 'E' if false }}",
    "{% generation %}{{ s }}{% endgeneration %}{% block b %}[{{ s }}]{% endblock %}{% print n, s %}",
    "{{ raise_exception('told ' ~ n) }}", "{{ strftime_now('%Y-%m-%d %H:%M:%S %j %a %B %d') }}", "{% include 'x' %}", "{% break %}",
    "{{ cycler('a', 'b').next() }}{% set c = cycler(1, 2) %}{{ c.next() }}{{ c.next() }}{{ c.current }}{% set j = joiner('; ') %}{{ j() }}{{ j() }}",
    "{% for x in l %}{{ loop.cycle('a', 'b') }}{{ loop.changed(x > 1) }}{{ loop.revindex }}{% endfor %}{{ loop }}",
    "a\n  {% if t %}\n  b\n  {%- endif %}\n c {{- n -}} \n d\n{%+ if t %}\n e{% endif +%}\n", "  {# c #}\n{#- x -#}  y {%- raw -%}  {{ z }} {% endraw %}\n",
    "{% raw %}\n{% if %}{% endraw %}|{% raw -%} x {%- endraw -%} y", "{{ 'a' 'b' \"c\" }}{{ 'q\\'\\n\\x41\\u00e9\\101\\q' }}{{ 1_000 }}{{ 0x1F }}{{ 1e3 }}{{ 2.50 }}",
    "{{ {'a': 1, 'b': [1, (2,)], 3: none, 'a': 2} }}{{ [1, ] }}{{ () }}{{ (1, 2)[0] }}{{ 'x' in {'x': 1} }}{{ d.a }}{{ d['a'] }}{{ d.get('q', 3) }}",
    "{{ people|map(attribute='name')|join(',') }}{{ people|map(attribute='age', default=0)|sum }}{{ ls|map('upper')|list }}{{ ls|map('replace', 'A', 'z')|list }}",
    "{{ people|selectattr('age')|map(attribute='name')|list }}{{ people|selectattr('age', 'gt', 3)|list }}{{ people|rejectattr('age', 'defined')|list }}",
    "{{ people|groupby('age', default=0) }}{% for g in people|groupby('name') %}{{ g.grouper }}:{{ g.list|length }};{% endfor %}",
    "{{ people|sort(attribute='name')|map(attribute='name')|list }}{{ people|unique(attribute='name')|list|length }}{{ people|max(attribute='name') }}",
    "{{ l|select('odd')|list }}{{ l|reject('gt', 1)|list }}{{ mixed|select('string')|list }}{{ l|select }}"[:-14],
    "{{ '%s %r %5.1f|%-5d|%05d|%x|%%|%e' % (s, s, f, n, neg, 255, 12345.678) }}{{ '%(a)s' % d }}{{ '%s' % l }}",
    "{{ '{} {1}'.format(1, 2) }}", "{{ '{0!r:>8}|{1:^9}|{2:,}|{3:.3f}|{a[0]}|{b.k}'.format(s[0], s[:3], 1234567, f, a=l, b={'k': 1}) }}",
    "{{ '{:08.3f}|{:+d}|{:#x}|{:%}|{:*<5}|{:e}'.format(f, n, 255, 0.5, 'ab', 12345.678) }}", "{{ 'a' + html|safe + '<' }}{{ html|safe|upper }}{{ (html|escape)|escape }}",
    "{{ n is divisibleby 7 }}{{ n is not odd }}{{ 'upper' is filter }}{{ 'odd' is test }}{{ s is in [s] }}", "{{ s|nope }}", "{% if false %}{{ s|nope }}{% endif %}ok",
    "{{ s is nope }}", "{{ s.nope.more }}", "{{ l[9].x }}", "{{ z.x }}|{{ z.x.y }}", "{{ nope() }}", "{{ s() }}", "{{ d.keys() }}{{ d.values() }}{{ d.items()|length }}",
    "{{ range(10**6) }}", "{{ 2**100 }}{{ 10**20 + 1 }}{{ -7 // 2 }}{{ -7 % 3 }}{{ 7 % -3 }}{{ 7.5 // -2 }}{{ 1 / 3 }}{{ 1e16 }}{{ 1e-5 }}{{ 0.1 + 0.2 }}{{ 100000.0 }}",
    "{{ 1 < 2 < 3 }}{{ 1 < 3 < 2 }}{{ 1 == 1.0 == true }}{{ 'a' < 'b' }}{{ [1, 2] < [1, 3] }}{{ not 1 in l }}{{ 4 not in l }}", "{{ -2 ** 2 }}{{ 2 ** 3 ** 2 }}{{ -n|abs }}{{ n|abs ~ 'x' }}",
    "{{ dict(d, q=1) }}{{ dict([('a', 1)]) }}{{ dict(a=1)|tojson }}{{ namespace(x=1).x }}", "{{ [[1, 2], [3]]|sum(start=[]) }}{{ ['a', 'b']|sum }}", "{{ (1, 2)|tojson }}{{ missing|tojson }}",
    "{{ {'k': {1: 1.0, none: true}}|tojson }}{{ '\u2028</script>\\x7f'|tojson }}{{ '\u00e9\U0001f600'|tojson(ensure_ascii=true) }}", "{{ [nested, d]|tojson(indent=1) }}{{ [[], {}]|tojson(indent='--') }}",
    "{{ u|length }}{{ u|upper }}{{ u|lower }}{{ u|title }}{{ u.title() }}{{ u.swapcase() }}{{ u[-2:] }}{{ [u] }}", "{{ 'x' * 3 }}{{ [0] * 3 }}{{ 'x' * -1 }}{{ 2 * 'ab' }}",
    "{% for x in 'a\u00e9\U0001f600' %}{{ x }}.{% endfor %}{{ 'abc'|list }}{{ 'abc'|first }}{{ d|first }}{{ d|list }}", "{{ s | default('x') | upper | trim | length + 1 }}",
    "{% set x = 1 %}{% if t %}{% set x = 2 %}{% endif %}{{ x }}{% macro m() %}{{ x }}{% endmacro %}{% set x = 3 %}{{ m() }}",
    "{% set g = l|select('gt', 1) %}{{ g|list }}{{ g|list }}{{ g is iterable }}", "{{ l|map('nope') }}"[:0] + "{{ l|map('nope')|list }}", "{{ x if x is defined else 'undefined' }}{{ (s, n) }}{{ l.index(1) }}{{ l.count(1) }}",
    "{%- if s %}\n    x\n{%- else -%}\n y\n{%- endif %}\n\n", "{{ s }}\n", "\n\n{{ s }}\n\n",
    "{% for i in l %}{% for j in [1] %}{{ n }}{% endfor %}{% set n = i %}{% endfor %}{{ n }}", "{% macro m() %}{{ n }}{% set n = 1 %}{{ n }}{% endmacro %}{{ m() }}",
]


def expressions():
    for operand, name in itertools.product(FILTER_INPUTS, FILTERS):
        yield f"{{{{ {operand}|{name} }}}}"
    for operand, name in itertools.product(METHOD_INPUTS, METHODS):
        yield f"{{{{ {operand}.{name} }}}}" if operand[0] != "'" else f"{{{{ ({operand}).{name} }}}}"
    for operand, name in itertools.product(TEST_INPUTS, TESTS):
        yield f"{{{{ {operand} is {name} }}}}"
    for a, b in itertools.product(OPERANDS, OPERANDS):
        for operator in OPERATORS:
            if operator in ("*", "**") and "big" in (a, b):
                continue  # Python would compute for ever, or fill the memory
            if (a, operator, b) == ("neg", "**", "f"):
                continue  # a complex number
            yield f"{{{{ {a} {operator} {b} }}}}"
    for operand, part in itertools.product(SLICE_INPUTS, SLICES):
        yield f"{{{{ {operand}{part} }}}}"
    yield from STATEMENTS


def outcome(source, context):
    """What jinja2 does: {"rendered"}, {"raises": {type, message}} or {"compile_error"}; None when it is not to be repeated."""
    try:
        template = ENV.from_string(source)
    except (jinja2.TemplateSyntaxError, SyntaxError) as failure:
        return {"compile_error": str(failure)}
    try:
        text = template.render(**copy.deepcopy(context))
    except Exception as failure:  # each kind is a golden
        return {"raises": {"type": type(failure).__name__, "message": str(failure)}}
    if " at 0x" in text:
        return None  # an address
    return {"rendered": text}


def write_expressions():
    cases, seen = [], set()
    for i, source in enumerate(expressions()):
        # Of operators on pairs, which are many, every third; the rest whole.
        is_operator = any(f" {operator} " in source for operator in OPERATORS) and source.count("{") == 2
        if source in seen or (is_operator and i % 3 != 0):
            continue
        seen.add(source)
        result = outcome(source, CONTEXT)
        if result is not None:
            cases.append({"template": source, **result})
    write("_expressions.json", {"context": CONTEXT, "now": NOW.isoformat(), "cases": cases}, one_a_line="cases")
    return len(cases)


WEATHER = {"type": "function", "function": {
    "name": "get_weather", "description": "Weather \"now\" at a place <here>.",
    "parameters": {"type": "object", "properties": {"place": {"type": "string", "description": "City, e.g. Z\u00fcrich"},
                                                    "days": {"type": "integer", "default": 1}}, "required": ["place"]}}}
CALL = {"id": "abcdef123", "type": "function",
        "function": {"name": "get_weather", "arguments": {"place": "Rome", "days": 2}}}

CONVERSATIONS = {
    "user": ([("user", "Hi there")], None, {}),
    "system": ([("system", "Be brief.\n"), ("user", " Hi \n")], None, {}),
    "turns": ([("user", "1?"), ("assistant", "one"), ("user", "2?"), ("assistant", "two"), ("user", "3?")], None, {}),
    "thinking": ([("user", "1+1"), ("assistant", "<think>\neasy\n</think>\n\n2"), ("user", "2+2")], None, {"enable_thinking": False}),
    "tools": ([("system", "Use tools."), ("user", "Weather?")], [WEATHER], {}),
    "two_users": ([("user", "a"), ("user", "b")], None, {}),
    "parts": ([("user", [{"type": "text", "text": "look"}, {"type": "image"}, {"type": "text", "text": " here"}])], None, {}),
    "unicode": ([("user", "\u4f60\u597d \U0001f600 <b>&amp;</b> \u2028"), ("assistant", "\u0645\u0631\u062d\u0628\u0627")], None, {}),
    "called": ([("user", "Weather in Rome?"), {"role": "assistant", "content": None, "tool_calls": [CALL]},
                {"role": "tool", "name": "get_weather", "tool_call_id": "abcdef123", "content": "{\"sky\": \"clear\"}"},
                ("assistant", "Clear."), ("user", "Thanks")], [WEATHER], {}),
}


def conversations():
    def message(given):
        return given if isinstance(given, dict) else {"role": given[0], "content": given[1]}

    return {name: {"messages": [message(m) for m in messages], "tools": tools, "kwargs": kwargs}
            for name, (messages, tools, kwargs) in CONVERSATIONS.items()}


def write_templates():
    all_of_them = conversations()
    write("_conversations.json", all_of_them)
    count = 0
    for path in sorted(OUT.glob("*.jinja")):
        source = path.read_text(encoding="utf-8")
        tokens = {"bos_token": "<s>", "eos_token": "</s>"}
        cases = []
        for (name, one), adds in itertools.product(all_of_them.items(), [False, True]):
            context = {"messages": one["messages"], "tools": one["tools"], "documents": None,
                       "add_generation_prompt": adds, **tokens, **one["kwargs"]}
            cases.append({"conv": name, "add_generation_prompt": adds, **outcome(source, context)})
        write(path.stem + ".json", {"template": path.stem, **tokens, "now": NOW.isoformat(), "cases": cases}, one_a_line="cases")
        count += len(cases)
    return count


def write(name, value, one_a_line=None):
    if one_a_line is None:
        text = json.dumps(value, indent=1)
    else:
        head = json.dumps({k: v for k, v in value.items() if k != one_a_line})
        text = head[:-1] + f', "{one_a_line}": [\n' + ",\n".join(json.dumps(c) for c in value[one_a_line]) + "\n]}"
    (OUT / name).write_text(text + "\n", encoding="utf-8")


def main():
    warnings.simplefilter("ignore")
    print(f"{write_expressions()} expressions, {write_templates()} renders")


if __name__ == "__main__":
    main()
