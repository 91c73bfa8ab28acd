"""What an output has beside the columns that every one has, and of which types these are in a table. Pure.

A kept column's type is found in its values: `bool`, `int64`, `double`, `string`; where they are of several, or are
lists or objects, it is `json`, their JSON as text. Where the input was a table it is the input's own: see arrow.py.
"""

from collections.abc import Iterable, Mapping

import msgspec

from batchrunner.errors import StorageError
from batchrunner.records import COLUMNS

JSON = "json"
_EXACT_IN_DOUBLE = 2**53
_LARGEST_INTEGER = 2**63
_BY_FIRST_BYTE = {ord('"'): "string", ord("t"): "bool", ord("f"): "bool", ord("{"): JSON, ord("["): JSON}
_NULL = ord("n")

Kinds = dict[str, list[str]]


class Columns(msgspec.Struct, frozen=True, kw_only=True):
    """`raw`: the gateway's bodies are among them; `parsed`: the fields of the answers' JSON, with their types, none
    where that is to be text; `keeps`: input columns are, too, and `kept` says what kinds of values these have by name,
    or None where that is to be found in the rows."""

    raw: bool = False
    parsed: dict[str, str] = {}
    keeps: bool = False
    kept: Kinds | None = None


NATIVE = Columns()


def kinds_in(rows: Iterable[bytes]) -> Kinds:
    """The kinds of values in all columns of these JSON objects but the native ones, in order of appearance."""
    decode = msgspec.json.Decoder(dict[str, msgspec.Raw]).decode
    found: dict[str, set[str]] = {}
    for row in rows:
        try:
            members = decode(row)
        except (msgspec.DecodeError, ValueError, RecursionError) as error:
            raise StorageError(f"an outcome in the run store is damaged: {str(error)[:100]}") from error
        for name, value in members.items():
            if name not in _NATIVE:
                kinds = found.setdefault(name, set())
                if (kind := _kind_of(bytes(value))) is not None:
                    kinds.add(kind)
    return {name: sorted(kinds) for name, kinds in found.items()}


def joined(one: Mapping[str, list[str]], other: Mapping[str, list[str]]) -> Kinds:
    """The kinds of both."""
    names = dict.fromkeys((*one, *other))
    return {name: sorted({*one.get(name, ()), *other.get(name, ())}) for name in names}


def type_of(kinds: Iterable[str]) -> str:
    """The type of a column with values of these kinds; one without values is text."""
    found = {*kinds}
    if found <= {"int64", "large"}:
        return "int64" if found else "string"
    if found == {"double", "int64"}:
        return "double"
    return found.pop() if len(found) == 1 else JSON


_NATIVE = frozenset(COLUMNS)


def _kind_of(value: bytes) -> str | None:
    """The kind of a JSON value; `large` is a whole number that a double can't hold. None for null."""
    first = value[0]
    if first == _NULL:
        return None
    if (kind := _BY_FIRST_BYTE.get(first)) is not None:
        return kind
    try:
        number = int(value)
    except ValueError:  # a fraction
        return "double"
    if -_EXACT_IN_DOUBLE <= number <= _EXACT_IN_DOUBLE:
        return "int64"
    return "large" if -_LARGEST_INTEGER <= number < _LARGEST_INTEGER else JSON
