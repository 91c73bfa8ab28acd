"""The columns of a row that its output row has, too, as JSON under the names that they have there.

A column that a row lacks is null where it was asked for by name, and so is all of a row that can't be read; a value
that JSON can't hold is null, too.
"""

from collections.abc import Iterable, Sequence
from typing import Any

import msgspec

from batchrunner.records import Row, name_in_output


class Keep:
    """Which columns: those of these names, or all."""

    def __init__(self, names: Sequence[str] | None) -> None:
        self.names = names
        self._in_output = {name: name_in_output(name) for name in names or ()}

    def taken(self, row: Row) -> Row:
        """The row with what is kept of it."""
        columns = row.columns
        if self.names is None:
            pairs: Iterable[tuple[str, Any]] = ((name_in_output(name), value) for name, value in columns.items())
        else:
            pairs = ((there, columns.get(name)) for name, there in self._in_output.items())
        return msgspec.structs.replace(row, kept=msgspec.Raw(_encoded(dict(pairs))))


def _encoded(kept: dict[str, Any]) -> bytes:
    try:
        return msgspec.json.encode(kept)
    except (UnicodeEncodeError, TypeError, ValueError, RecursionError):
        return msgspec.json.encode({name: msgspec.Raw(_one(value)) for name, value in kept.items()})


def _one(value: Any) -> bytes:
    try:
        return msgspec.json.encode(value)
    except (UnicodeEncodeError, TypeError, ValueError, RecursionError):
        return b"null"
