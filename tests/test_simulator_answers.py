"""What the simulated gateway answers where JSON or a tool is asked for: what the client's own checker accepts."""

import json
from typing import Any

import jsonschema_rs
import pytest

from batchrunner.simulator.answers import Manner, answer, example
from batchrunner.simulator.chat import ChatRequest, read_request
from batchrunner.simulator.script import directive

TOOLS = [
    {"type": "function", "function": {"name": "first"}},
    {"type": "function", "function": {"name": "second", "parameters": {"properties": {"n": {"type": "integer"}}}}},
]


def asking(**said: Any) -> ChatRequest:
    return read_request(json.dumps({"model": "m", "messages": [{"role": "user", "content": "x"}], **said}).encode())


@pytest.mark.parametrize(
    "schema",
    [
        {},
        {"type": "object", "properties": {"a": {"type": "string"}, "b": {"type": "number"}}, "required": ["b"]},
        {"properties": {"a": {"type": ["integer", "null"]}}},
        {"type": "array", "items": {"type": "boolean"}, "minItems": 3},
        {"enum": [None, 1]},
        {"const": {"a": 1}},
        {"type": "string", "minLength": 20},
        {"type": "string", "maxLength": 3},
        {"type": "integer", "minimum": 100},
        {"type": "integer", "maximum": -100},
        {"anyOf": [{"type": "null"}, {"type": "string"}]},
        {"$ref": "#/$defs/a", "$defs": {"a": {"type": "array", "items": {"$ref": "#/$defs/b"}}, "b": {"const": 5}}},
    ],
)
def test_an_example_fits_its_schema(schema: dict[str, Any]) -> None:
    jsonschema_rs.validate(schema, example(schema))


def test_a_schema_that_contains_itself_has_an_example_too() -> None:
    schema = {"properties": {"a": {"$ref": "#"}}, "required": ["a"]}
    assert "a" in example(schema)


@pytest.mark.parametrize(("choice", "name"), [("required", "first"), ({"function": {"name": "second"}}, "second")])
def test_a_tool_is_called_where_one_is_required(choice: object, name: str) -> None:
    spoken, finish = answer(asking(tools=TOOLS, tool_choice=choice), "x", None, number=3)
    assert finish == "tool_calls"
    assert spoken.tool_calls is not None
    assert spoken.tool_calls[0].function.name == name
    json.loads(spoken.tool_calls[0].function.arguments)


def test_a_tool_is_called_by_itself_only_where_the_prompt_says_so() -> None:
    for said in ({"tools": TOOLS}, {"tools": TOOLS, "tool_choice": "none"}, {}):
        assert answer(asking(**said), "x", None, number=1)[0].tool_calls is None
    assert answer(asking(tools=TOOLS), "x", Manner.CALL, number=1)[0].tool_calls is not None


@pytest.mark.parametrize("manner", list(Manner))
def test_every_manner_is_a_directive_with_or_without_a_count(manner: Manner) -> None:
    always, once = directive(f"a [[{manner}]] b"), directive(f"[[{manner}x2]]")
    assert always is not None
    assert once is not None
    assert (always.manner, always.times) == (manner, None)
    assert (once.manner, once.applies(1), once.applies(2)) == (manner, True, False)
