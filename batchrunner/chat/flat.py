"""The fields that answers have by their schema, where it is a flat object: scalars, and lists of scalars.

The types are named as the columns of a table are: `bool`, `int64`, `double`, `string`, `list int64`. Pure.
"""

from collections.abc import Mapping
from typing import Any

_SCALARS = {"boolean": "bool", "integer": "int64", "number": "double", "string": "string"}
_COMBINED = ("anyOf", "oneOf", "allOf", "not", "if", "$ref", "$dynamicRef", "patternProperties")


def flat_fields(response_format: object) -> dict[str, str]:
    """The types of the fields by name, in the schema's order; none where it is no flat object."""
    named = response_format.get("json_schema") if isinstance(response_format, Mapping) else None
    schema = named.get("schema") if isinstance(named, Mapping) else None
    if not isinstance(schema, Mapping) or schema.get("type") != "object" or _says_more(schema):
        return {}
    properties = schema.get("properties")
    if not isinstance(properties, Mapping):
        return {}
    fields = {str(name): _type_of(one) for name, one in properties.items()}
    return {} if None in fields.values() else {name: word for name, word in fields.items() if word is not None}


def _says_more(schema: Mapping[str, Any]) -> bool:
    return any(key in schema for key in _COMBINED) or isinstance(schema.get("additionalProperties"), Mapping)


def _type_of(schema: object) -> str | None:
    """A scalar, or a list of scalars."""
    one = _without_null(schema)
    if one.get("type") != "array":
        return _scalar(one)
    inner = None if "prefixItems" in one else _scalar(_without_null(one.get("items")))
    return None if inner is None else f"list {inner}"


def _scalar(schema: Mapping[str, Any]) -> str | None:
    kind = schema.get("type")
    if kind is None and _texts(schema.get("enum")):
        return "string"
    return _SCALARS.get(kind) if isinstance(kind, str) else None


def _texts(values: object) -> bool:
    return isinstance(values, list) and bool(values) and all(isinstance(value, str) for value in values)


def _without_null(schema: object) -> Mapping[str, Any]:
    """The schema of what a value may be beside null: every column of a table may be empty."""
    if not isinstance(schema, Mapping):
        return {}
    choices = schema.get("anyOf")
    if isinstance(choices, list):
        others = [one for one in choices if one != {"type": "null"}]
        return _without_null(others[0]) if len(others) == 1 else {}
    kinds = schema.get("type")
    if isinstance(kinds, list):
        rest = [kind for kind in kinds if kind != "null"]
        return {**schema, "type": rest[0]} if len(rest) == 1 else {}
    return schema
