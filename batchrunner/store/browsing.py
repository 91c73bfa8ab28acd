"""What a browser of rows asks of a run store: some units in order, forwards and backwards.

Each question reads the narrow table of units from where it stands to as many as are wanted; memory does not grow.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import msgspec

from batchrunner.store.reading import Reader, TryRow

_COLUMNS = "number, ok, kind, message, digest"
_TRIES = (
    "SELECT number, sent_at, latency_s, first_token_s, kind, status, substr(message, 1, 1000), prompt_tokens, "
    "completion_tokens, cached_tokens, reasoning_tokens, model, cost FROM tries WHERE number = ? ORDER BY rowid"
)
_CONDITIONS = {
    "ok": "ok = :ok",
    "kind": "kind = :kind",
    "variant": "number % :arms / :samples = :variant",
}


class Ended(NamedTuple):
    """How a unit ended; `digest` tells what was asked for it."""

    number: int
    ok: int
    kind: str | None
    message: str | None
    digest: bytes | None


class Choice(msgspec.Struct, frozen=True, kw_only=True):
    """Units below `total`, and of these, where they are not None: those that were answered, or not; that failed of this
    kind; of the variant at this place, each row having so many `arms`, and each variant so many `samples`."""

    total: int
    ok: bool | None = None
    kind: str | None = None
    variant: int | None = None
    arms: int = 1
    samples: int = 1


class Browser:
    """The chosen units of a store that have ended, and that `found` has, where it is not None."""

    def __init__(self, store: Reader, choice: Choice, found: Callable[[int], bool] | None = None) -> None:
        conditions = [sql for name, sql in _CONDITIONS.items() if getattr(choice, name) is not None]
        if found is not None:
            store.define("found", found)
            conditions.append("found(number)")
        self._where = " AND ".join(["number >= :first AND number < :end", *conditions])
        self._values = msgspec.structs.asdict(choice)
        self._total = choice.total
        self._select = store.select

    def count(self, end: int | None = None) -> int:
        """How many there are, of those below `end`."""
        return int(self._rows("count(*)", 0, self._total if end is None else end)[0][0])

    def from_on(self, first: int, most: int) -> list[Ended]:
        """The first of those from this number on, in order."""
        return [Ended(*row) for row in self._rows(_COLUMNS, first, self._total, "ORDER BY number LIMIT :most", most)]

    def before(self, end: int, most: int) -> list[Ended]:
        """The last of those below this number, in order."""
        rows = self._rows(_COLUMNS, 0, end, "ORDER BY number DESC LIMIT :most", most)
        return [Ended(*row) for row in reversed(rows)]

    def _rows(self, columns: str, first: int, end: int, rest: str = "", most: int = 0) -> list[Any]:
        values = self._values | {"first": first, "end": end, "most": most}
        return self._select(f"SELECT {columns} FROM units WHERE {self._where} {rest}", values)  # noqa: S608 - constants


def ended_unit(store: Reader, number: int) -> Ended | None:
    """How this unit ended; None where it has not."""
    rows = store.select(f"SELECT {_COLUMNS} FROM units WHERE number = ?", (number,))  # noqa: S608 - a constant
    return Ended(*rows[0]) if rows else None


def tries_of(store: Reader, number: int) -> list[TryRow]:
    """The tries of this unit, in the order of their recording."""
    return [TryRow(*row) for row in store.select(_TRIES, (number,))]
