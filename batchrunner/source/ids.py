"""Ids of rows, and the search for doubled ones over inputs of any length.

A row's id is its `id`, else its `custom_id`, else its number (counted from 0, as in the column `row`); null and
the empty text count as none, and the number 1 and the text "1" are one id. A default id that another row bears as its
own counts as doubled: the output could not tell the two apart. Rows that can't be read bear no id here: a broken row
stops no run.

Refuses ids that are neither text nor whole numbers. Memory is 8 bytes a row and the candidates of one round, whatever
the ids are.
"""

from array import array
from collections.abc import Callable, Iterable, Iterator
from itertools import islice
from typing import NamedTuple

from batchrunner.errors import InputError
from batchrunner.source.failed import shown

BUCKETS = 256  # the search looks at one bucket at a time, so its working memory is a 256th of the input's ids
CANDIDATES = 100_000  # looked at in one further pass over the input


class PlacedId(NamedTuple):
    """An id and where it stands: "line 3", "b.jsonl, line 3"; the row for Parquet."""

    place: str
    id: str


def bears_id(own: object, custom: object) -> bool:
    """Whether either of a row's two columns is an id."""
    return own not in (None, "") or custom not in (None, "")


def id_of(own: object, custom: object, number: int) -> str:
    """The id of a row from its two columns; TypeError where the one that counts is neither text nor whole number."""
    given = custom if own is None or own == "" else own
    if given is None or given == "":
        return str(number)
    if isinstance(given, str):
        return given
    if isinstance(given, int) and not isinstance(given, bool):
        return str(given)
    column = "custom_id" if own is None or own == "" else "id"
    raise TypeError(f"{column} must be text or a whole number, not {type(given).__name__}")


class SeenIds:
    """Hashes of every id seen in a first pass. Python's own hash is keyed by process, so no input can aim at it."""

    def __init__(self, hash_of: Callable[[str], int] = hash) -> None:
        self.may_be_numbers = False
        self._hash_of = hash_of
        self._buckets = [array("q") for _ in range(BUCKETS)]
        self._appends = [bucket.append for bucket in self._buckets]

    def add_all(self, ids: Iterable[str]) -> None:
        """`may_be_numbers` tells afterwards whether one of them could be the number of a row."""
        known = ids if isinstance(ids, list) else list(ids)
        appends = self._appends
        for hashed in map(self._hash_of, known):
            appends[hashed % BUCKETS](hashed)
        self.may_be_numbers = self.may_be_numbers or any(map(str.isdecimal, known))

    def refuse_doubled(self, read: Callable[[], Iterable[PlacedId]]) -> None:
        """Raise InputError with both places of the first doubled id.

        `read` gives the ids again. It is asked only where two hashes are alike: ids may collide without being doubled.
        """
        candidates = self._alike()
        while several := set(islice(candidates, CANDIDATES)):
            first: dict[str, str] = {}
            for place, row_id in read():
                if self._hash_of(row_id) not in several:
                    continue
                if row_id in first:
                    raise InputError(_told(row_id, first[row_id], place))
                first[row_id] = place

    def _alike(self) -> Iterator[int]:
        """Every hash that was seen more than once."""
        for bucket in self._buckets:
            if len(once := set(bucket)) == len(bucket):
                continue
            for hashed in bucket:
                if hashed in once:
                    once.remove(hashed)
                else:
                    yield hashed


def _told(row_id: str, first: str, second: str) -> str:
    """Both places; "lines 3 and 7" where they are in one file that needs no naming."""
    note = " (a row without an id takes its number, counted from 0)" if row_id.isdecimal() else ""
    (unit, one), (_, other) = first.rsplit(" ", 1), second.rsplit(" ", 1)
    places = f"{unit}s {one} and {other}" if unit in ("line", "row") else f"{first} and {second}"
    return f"the id {shown(row_id)!r} stands twice, in {places}{note}; ids must be unique"
