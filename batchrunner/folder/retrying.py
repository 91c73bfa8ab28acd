"""Which failed units are asked again: those whose output row meets every condition. Pure.

A condition is FIELD=VALUE or FIELD!=VALUE over the fields of the native row, dotted: error.kind=timeout. Numbers
are compared as numbers, everything else as text; a field that is null equals the empty text.
"""

import difflib
import re
from collections.abc import Sequence
from typing import Any

import msgspec

from batchrunner.errors import UsageError
from batchrunner.records import COLUMNS, ErrorColumn, Usage

_CONDITION = re.compile(r"([^=!]+)(!?=)(.*)", re.DOTALL)
_WITHIN: dict[str, type[msgspec.Struct]] = {"error": ErrorColumn, "usage": Usage}
FIELDS = tuple(
    field
    for name in COLUMNS
    for field in ([f"{name}.{inner}" for inner in _WITHIN[name].__struct_fields__] if name in _WITHIN else [name])
)


class Condition(msgspec.Struct, frozen=True, kw_only=True):
    """What one field must be, or must not be."""

    path: tuple[str, ...]
    value: str
    equal: bool

    def met_by(self, row: Any) -> bool:
        """Whether this output row, decoded from JSON, meets it."""
        for name in self.path:
            row = row.get(name) if isinstance(row, dict) else None
        return _is(row, self.value) is self.equal


def parse_condition(text: str) -> Condition:
    """FIELD=VALUE or FIELD!=VALUE. UsageError for anything else and for unknown fields."""
    found = _CONDITION.fullmatch(text)
    if found is None:
        raise UsageError(f"--where {text!r} is no FIELD=VALUE or FIELD!=VALUE: write error.kind=timeout, say.")
    field = found[1].strip()
    if field not in FIELDS:
        raise UsageError(f"--where: rows have no field {field!r}; {_advice(field)}.")
    return Condition(path=tuple(field.split(".")), value=found[3].strip(), equal=found[2] == "=")


def matches(outcome: bytes, conditions: Sequence[Condition]) -> bool:
    """Whether an output row, as JSON, meets every condition."""
    if not conditions:
        return True
    row = msgspec.json.decode(outcome)
    return all(condition.met_by(row) for condition in conditions)


def _is(found: Any, value: str) -> bool:
    match found:
        case None:
            return value in ("", "null")
        case bool():
            return value == str(found).lower()
        case int() | float():
            return _number(value) == found
        case str():
            return value == found
        case _:
            return value == msgspec.json.encode(found).decode()


def _number(text: str) -> float | None:
    try:
        return float(text)
    except ValueError:
        return None


def _advice(field: str) -> str:
    near = difflib.get_close_matches(field, FIELDS, n=1, cutoff=0.5)
    within = [one for one in FIELDS if one.split(".")[-1] == field or one.split(".")[0] == field]
    if within or near:
        return f"did you mean {' or '.join(repr(one) for one in within or near)}?"
    return f"known here: {', '.join(FIELDS)}"
