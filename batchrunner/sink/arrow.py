"""The types of a table's columns beyond the native ones, and their values: from the JSON of a row, and back into it.

Columns that come from a Parquet input have that input's types: numbers, texts, booleans, and lists and objects of
these as they are; timestamps (nanoseconds cut to microseconds), dates and decimals, which are texts in JSON. Others
are the text that they are in JSON, or JSON as text.
"""

import base64
from collections.abc import Callable, Sequence
from datetime import date, datetime
from decimal import Decimal
from typing import Any

import msgspec
import pyarrow as pa

from batchrunner.records import name_in_output
from batchrunner.sink.columns import JSON, Kinds, type_of

_ARROW = "arrow "
_LIST = "list "
_SCALARS: "dict[str, pa.DataType]" = {
    "bool": pa.bool_(),
    "int64": pa.int64(),
    "double": pa.float64(),
    "string": pa.string(),
    JSON: pa.string(),
}
_TOLD_AS_TEXT: dict[Callable[[pa.DataType], bool], Callable[[str], Any]] = {
    pa.types.is_timestamp: datetime.fromisoformat,
    pa.types.is_date: date.fromisoformat,
    pa.types.is_decimal: Decimal,
}
_KEPT = b"batchrunner"
_BEYOND_DOUBLE = 2**1023
_BEYOND_INTEGER = 2**63
_decode = msgspec.json.Decoder().decode


def kinds_of_schema(schema: bytes, names: Sequence[str] | None) -> Kinds:
    """The kinds of the columns of this schema (in Arrow's own form) that are kept: those of these names, or all."""
    fields = {field.name: field for field in pa.ipc.read_schema(pa.py_buffer(schema))}
    wanted = list(fields) if names is None else names
    return {name_in_output(name): _kinds(fields[name].type) if name in fields else [] for name in wanted}


def field_of(name: str, kinds: Sequence[str]) -> "pa.Field[Any]":
    """The kept column of this name; what it takes to read it back stands with it."""
    word = type_of(kinds)
    return pa.field(name, arrow_type(word), metadata={_KEPT: JSON if word == JSON else "value"})


def is_kept(field: "pa.Field[Any]") -> bool:
    """Whether a table's column is a kept one."""
    return _KEPT in (field.metadata or {})


def arrow_type(word: str) -> pa.DataType:
    """The type that a word stands for."""
    if word.startswith(_LIST):
        return pa.list_(arrow_type(word.removeprefix(_LIST)))
    if word.startswith(_ARROW):
        schema = pa.ipc.read_schema(pa.py_buffer(base64.b64decode(word.removeprefix(_ARROW))))
        kind: pa.DataType = schema.field(0).type
        return kind
    return _SCALARS[word]


def array_of(values: Sequence[msgspec.Raw], field: "pa.Field[Any]") -> Any:
    """The column of these JSON values. ArrowException, OverflowError where one does not fit."""
    if _is_json(field):
        return pa.array([text_of(value) for value in values], field.type)
    found = [_decode(value) for value in values]
    told_as_text = next((parse for check, parse in _TOLD_AS_TEXT.items() if check(field.type)), None)
    if told_as_text is not None:
        found = [None if text is None else told_as_text(text) for text in found]
    return pa.array(found, field.type)


def json_of(value: Any, field: "pa.Field[Any]") -> Any:
    """A value of the kept column as its row's JSON has it."""
    if _is_json(field):
        return None if value is None else msgspec.Raw(value.encode())
    match value:
        case datetime() | date():
            return value.isoformat()
        case Decimal():
            return format(value, "f")
        case _:
            return value


def text_of(value: msgspec.Raw) -> str | None:
    """JSON as text, without null."""
    text = bytes(value).decode()
    return None if text == "null" else text


def fitted(value: Any, word: str) -> Any:
    """A value of the answer's JSON as its field has it; None where it does not fit."""
    if word.startswith(_LIST):
        inner = word.removeprefix(_LIST)
        return [fitted(one, inner) for one in value] if isinstance(value, list) else None
    if word in ("int64", "double"):
        return _number(value, word)
    return value if isinstance(value, bool if word == "bool" else str) else None


def _number(value: Any, word: str) -> float | None:
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    if word == "double":
        return float(value) if abs(value) < _BEYOND_DOUBLE else None
    return int(value) if value == value // 1 and -_BEYOND_INTEGER <= value < _BEYOND_INTEGER else None


def _is_json(field: "pa.Field[Any]") -> bool:
    return (field.metadata or {}).get(_KEPT) == JSON.encode()


def _kinds(kind: pa.DataType) -> list[str]:
    if pa.types.is_null(kind):
        return []
    found = _simple(kind)
    if found is None:
        nested = pa.types.is_nested(kind)
        return [JSON] if nested else ["string"]
    return [_ARROW + base64.b64encode(pa.schema([("", found)]).serialize().to_pybytes()).decode()]


def _simple(kind: pa.DataType) -> pa.DataType | None:
    """The type in the output of a column that has this one in the input; None where that is text."""
    if pa.types.is_dictionary(kind):
        return _simple(kind.value_type)
    if pa.types.is_timestamp(kind):
        return pa.timestamp("us" if kind.unit == "ns" else kind.unit, kind.tz)
    if pa.types.is_date(kind):
        return pa.date32()
    return kind if pa.types.is_decimal(kind) else _plain(kind)


def _plain(kind: pa.DataType) -> pa.DataType | None:
    """A type whose values are in JSON as they are, or None."""
    if pa.types.is_list(kind) or pa.types.is_large_list(kind) or pa.types.is_fixed_size_list(kind):
        inner = _plain(kind.value_type)
        return None if inner is None else pa.list_(inner)
    if pa.types.is_struct(kind):
        fields = {field.name: inner for field in kind if (inner := _plain(field.type)) is not None}
        return pa.struct([*fields.items()]) if 0 < len(fields) == kind.num_fields else None
    if pa.types.is_float16(kind):
        return pa.float32()
    if pa.types.is_boolean(kind) or pa.types.is_integer(kind) or pa.types.is_floating(kind):
        return kind
    texts = (pa.types.is_string, pa.types.is_large_string, pa.types.is_string_view)
    return pa.string() if any(check(kind) for check in texts) else None
