"""Prompt templates: what they give, what they refuse, and that no row can make them do harm."""

import tracemalloc
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from batchrunner.errors import UsageError
from batchrunner.records import Failure, Kind, Row
from batchrunner.source.template import compile_template, missing_columns


def render(text: str, **columns: Any) -> str | Failure:
    return compile_template(text).render(columns)


def failure_of(text: str, **columns: Any) -> str:
    failure = render(text, **columns)
    assert isinstance(failure, Failure)
    assert failure.kind is Kind.INVALID_ROW
    assert failure.message.isprintable()
    assert len(failure.message) < 250
    return failure.message


def row(**columns: Any) -> Row:
    return Row(number=0, id="0", columns=columns)


GIVEN = {
    "Solve.\n\n{{ q }}\n": ({"q": "1 < 2 & 'x'"}, "Solve.\n\n1 < 2 & 'x'\n"),
    "{{ q | upper }}{% if n > 1 %}!{% endif %}": ({"q": "a", "n": 2}, "A!"),
    "{% for m in turns %}{{ m.role }}: {{ m['text'] }}\n{% endfor %}": (
        {"turns": [{"role": "u", "text": "hi"}]},
        "u: hi\n",
    ),
    "{{ x | default('none') }}": ({}, "none"),
    "{% if x is defined %}{{ x }}{% endif %}": ({}, ""),
    "{{ x | tojson }}": ({"x": {"a": "<é>'", "b": None}}, '{"a":"<é>\'","b":null}'),
    "{{ x | tojson(indent=2) }}": ({"x": [1]}, "[\n  1\n]"),
    "{{ '%.2f' | format(x) }} {{ '%03d' % 7 }}": ({"x": 1.5}, "1.50 007"),
    "{{ x | indent(2) }}": ({"x": "a\nb"}, "a\n  b"),
    "{{ '-' * 3 }} {{ 6 * 7 }} {{ 2 ** 10 }} {{ 2.5 * 2 }}": ({}, "--- 42 1024 5.0"),
    "{{ range }}": ({"range": "a column may be called anything"}, "a column may be called anything"),
    "no columns": ({}, "no columns"),
}


@pytest.mark.parametrize("text", GIVEN)
def test_a_template_gives_the_prompt(text: str) -> None:
    columns, expected = GIVEN[text]
    assert render(text, **columns) == expected


def test_a_row_s_text_is_never_a_template() -> None:
    assert render("{{ q }}", q="{{ 7 * 7 }}{% raw %}") == "{{ 7 * 7 }}{% raw %}"


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("{{ q", 1),
        ("\n\n{% if q %}", 3),
        ("a\n{{ q | nonsense }}", 2),
        ("{% for %}", 1),
        ("\n{{ lipsum( }}", 2),
        ("{{ q | random }}", 1),
    ],
)
def test_a_template_that_is_wrong_is_told_with_its_line(text: str, line: int) -> None:
    with pytest.raises(UsageError, match=rf"line {line}: "):
        compile_template(text)


@pytest.mark.parametrize(
    "text",
    [
        "{% include 'x' %}",
        "{% extends 'x' %}",
        "{% import 'x' as y %}",
        "{% from 'x' import y %}",
        "{% if a %}{% include n %}{% endif %}",
    ],
)
def test_a_template_must_stand_alone(text: str) -> None:
    with pytest.raises(UsageError, match="line 1: it must stand alone"):
        compile_template(text)


@pytest.mark.parametrize(
    "text",
    [
        "{% if a %}" * 3000 + "{% endif %}" * 3000,
        "{{ " + "(" * 3000 + "1" + ")" * 3000 + " }}",
        "{% for a in b %}" * 50 + "{% endfor %}" * 50,
    ],
)
def test_a_template_nested_too_deep_is_refused(text: str) -> None:
    with pytest.raises(UsageError):
        compile_template(text)


def test_a_template_names_its_columns() -> None:
    template = compile_template("{{ a }}{% for b in c %}{{ b }}{{ d | default('') }}{% endfor %}{{ range(3) }}")
    assert template.names == {"a", "c", "d"}


@pytest.mark.parametrize(
    ("text", "named"),
    [("{{ question }}", "question"), ("{{ a.b }}", "'b'"), ("{{ a['c d'] }}", "c d"), ("{{ lipsum() }}", "lipsum")],
)
def test_a_missing_column_fails_the_row_and_is_named(text: str, named: str) -> None:
    assert named in failure_of(text, a={})


HARMFUL = [
    "{{ q.__class__.__mro__ }}",
    "{{ q['__class__'] }}",
    "{{ q | attr('__class__') }}",
    "{{ ''.__class__.__base__.__subclasses__() }}",
    "{{ '{0.__class__}'.format(q) }}",
    "{{ cycler.__init__.__globals__ }}",
    "{{ self.__init__.__globals__ }}",
    "{{ items.append(1) }}",
    "{{ d.update({'a': 1}) }}",
    "{{ 'a' * 10**8 }}",
    "{{ 10**8 * 'a' }}",
    "{{ [1] * 10**8 }}",
    "{{ 'a' * n }}",
    "{{ 10 ** n }}",
    "{{ 10 ** (10 ** 10) }}",
    "{{ big * big }}",
    "{{ '%99999999d' % 1 }}",
    "{{ '%*d' % (99999999, 1) }}",
    "{{ '%99999999d' | format(1) }}",
    "{{ q.ljust(n) }}",
    "{{ q.center(n) }}",
    "{{ q | indent(n) }}",
    "{{ range(n) | list }}",
    "{% for i in range(100000) %}{{ long }}{% endfor %}",
    "{{ long }}",
    "{{ q + 1 }}",
    "{{ 1 / 0 }}",
    "{{ q | int / 0 }}",
    "{{ 10.0 ** 1000 }}",
    "{{ cycle | tojson }}",
    "{% macro f() %}{{ f() }}{% endmacro %}{{ f() }}",
]


@pytest.mark.timeout(10)
@pytest.mark.parametrize("text", HARMFUL)
def test_what_does_harm_fails_the_row_and_nothing_else(text: str) -> None:
    cycle: list[Any] = []
    cycle.append(cycle)
    items, d = [0], {"a": 0}
    long = "x" * (5 * 1024 * 1024)
    tracemalloc.start()
    try:
        failure_of(text, q="x\n\x1b", n=10**9, big=2**4000, long=long, items=items, d=d, cycle=cycle)
        assert tracemalloc.get_traced_memory()[1] < 30_000_000
    finally:
        tracemalloc.stop()
    assert (items, d) == ([0], {"a": 0})


def test_a_failure_says_little_of_the_row() -> None:
    assert "x" * 101 not in failure_of("{{ d[q] + 1 }}{{ q.nothing }}", q="x" * 5000, d={"x" * 5000: "x" * 5000})


@given(st.text(max_size=60))
def test_no_text_stops_the_compiler_but_with_its_own_error(text: str) -> None:
    try:
        template = compile_template("{{ " + text)
    except UsageError:
        return
    assert isinstance(template.render({}), str | Failure)


MISSING = {
    "a name that no row has": ("{{ quesiton }}", [{"question": 1}, {}], {"quesiton"}),
    "two names": ("{{ a }}{{ b }}", [{"c": 1}], {"a", "b"}),
    "one of two": ("{{ a }}{{ b }}", [{"a": 1}], {"b"}),
    "a name with a default": ("{{ a | default('') }}", [{}], set()),
    "a default beside a needed one": ("{{ a | default('') }}{{ b }}", [{}], {"b"}),
    "a name that one row has": ("{{ a }}", [{}, {"a": 1}], set()),
    "each row lacks what another has": ("{{ a }}{{ b }}", [{"a": 1}, {"b": 1}], set()),
    "either of two, by row": ("{% if c %}{{ a }}{% else %}{{ b }}{% endif %}", [{"c": 1}, {"c": 0}], {"a", "b"}),
    "a row that does without": ("{% if c %}{{ a }}{% endif %}", [{"c": 1}, {"c": 0}], set()),
    "an attribute, which is the row's affair": ("{{ a.b }}", [{"a": {}}], set()),
    "another error": ("{{ 1 / 0 }}", [{}], set()),
    "no rows": ("{{ a }}", [], set()),
}


@pytest.mark.parametrize("name", MISSING)
def test_columns_that_no_row_has_are_told_before_anything_is_sent(name: str) -> None:
    text, columns, expected = MISSING[name]
    assert missing_columns(compile_template(text), [row(**each) for each in columns]) == expected


def test_rows_that_cannot_be_read_are_no_witnesses() -> None:
    broken = Row(number=0, id="0", columns={}, failure=Failure(kind=Kind.INVALID_ROW, message="line 1: broken"))
    template = compile_template("{{ a }}")
    assert missing_columns(template, [broken, row(a=1)]) == set()
    assert missing_columns(template, [broken]) == set()
    assert missing_columns(template, [broken, row(b=1)]) == {"a"}
