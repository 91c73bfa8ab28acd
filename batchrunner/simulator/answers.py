"""What an answer says: text, JSON that fits the schema asked for, tool calls, or what the prompt's directive wants.

Of schemas it knows what people use: types, enum, const, properties, items, bounds, $ref within the document, the first
of anyOf, oneOf and allOf.
"""

from collections.abc import Mapping
from enum import StrEnum
from typing import Any

import msgspec

from batchrunner.simulator.chat import Call, ChatRequest, Function, Spoken

DEEPEST = 16  # schemas may contain themselves


class Manner(StrEnum):
    """How an answer may differ from a plain one; the values are the directives' names."""

    INVALID = "invalid"  # no JSON, where JSON was asked for
    MISFIT = "misfit"  # JSON of another form than was asked for
    REFUSAL = "refusal"  # in message.refusal; ends with `stop`, as gateways do it
    LENGTH = "length"  # cut short in the middle
    CONTENT_FILTER = "content_filter"  # cut by the filter
    CALL = "call"  # a tool is called, where there is one


def answer(request: ChatRequest, text: str, manner: Manner | None, *, number: int) -> tuple[Spoken, str | None]:
    """The message that answers this prompt, and why it ends where that is not plainly `stop`."""
    if manner is Manner.REFUSAL:
        return Spoken(content=None, refusal="I can't help with that."), None
    if manner is Manner.CONTENT_FILTER:
        return Spoken(content=""), "content_filter"
    if request.tools and (manner is Manner.CALL or request.tool_choice not in (None, "auto", "none")):
        return Spoken(content=None, tool_calls=(_call(request, number),)), "tool_calls"
    content = _content(request, text, manner)
    if manner is Manner.LENGTH:
        return Spoken(content=content[: len(content) // 2]), "length"
    return Spoken(content=content), None


def example(schema: object, root: object = None, depth: int = 0) -> Any:
    """A value that fits the schema."""
    root = schema if root is None else root
    if not isinstance(schema, Mapping) or depth > DEEPEST:
        return None
    for name in ("const", "default"):
        if name in schema:
            return schema[name]
    if schema.get("enum"):
        return schema["enum"][0]
    if "$ref" in schema:
        return example(_referred(str(schema["$ref"]), root), root, depth + 1)
    for name in ("anyOf", "oneOf", "allOf"):
        if schema.get(name):
            return example(schema[name][0], root, depth + 1)
    return _of_type(schema, root, depth)


def _of_type(schema: Mapping[str, Any], root: object, depth: int) -> Any:
    kind = schema.get("type", "object" if "properties" in schema else "string")
    match kind[0] if isinstance(kind, list) else kind:
        case "object":
            properties = schema.get("properties", {})
            return {name: example(properties.get(name), root, depth + 1) for name in schema.get("required", properties)}
        case "array":
            return [example(schema.get("items", {}), root, depth + 1) for _ in range(schema.get("minItems", 1))]
        case "integer" | "number":
            return schema.get("minimum", schema.get("maximum", 7))
        case "boolean":
            return True
        case "null":
            return None
        case _:
            return "simulated".ljust(schema.get("minLength", 0), "x")[: schema.get("maxLength")]


def _referred(reference: str, root: object) -> object:
    for name in reference.removeprefix("#").split("/")[1:]:
        root = root.get(name) if isinstance(root, Mapping) else None
    return root


def _content(request: ChatRequest, text: str, manner: Manner | None) -> str:
    wanted = request.response_format or {}
    plain = f"Simulated answer to: {text}"
    if wanted.get("type") not in ("json_schema", "json_object") or manner is Manner.INVALID:
        return plain
    if manner is Manner.MISFIT:
        return '["a misfit"]'
    if wanted["type"] == "json_object":
        return msgspec.json.encode({"answer": plain}).decode()
    return msgspec.json.encode(example((wanted.get("json_schema") or {}).get("schema"))).decode()


def _call(request: ChatRequest, number: int) -> Call:
    """Of the tool that `tool_choice` names, or the first one."""
    tools = [tool.get("function") or {} for tool in request.tools or ()]
    choice = request.tool_choice
    wanted = (choice.get("function") or {}).get("name") if isinstance(choice, dict) else None
    tool = next((tool for tool in tools if tool.get("name") == wanted), tools[0])
    arguments = msgspec.json.encode(example(tool.get("parameters", {"type": "object"}))).decode()
    return Call(id=f"call_sim_{number}", function=Function(name=str(tool.get("name")), arguments=arguments))
